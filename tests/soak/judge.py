"""Whether figures that were taken window after window are flat.

What is compared are the medians of the first and the last third of what follows a warm-up, so that one odd window
decides nothing and a steady leak, however slow, is seen as soon as it is more than what a figure is allowed. It knows
nothing of what the figures mean.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WARM_UP = 4  # the first of so many parts is not looked at: caches and pools fill
FEWEST = 8

MIB = 1024 * 1024
# Of what is counted exactly nothing may be left over; only the loop's threads for names come and go with what they have
# to do. The interpreter's own caches may grow by some objects. Memory is the allocators' too, which keep what they may
# need again, and give a thread's arena to another one.
ALLOWED = {
    "descriptors": 0,
    "threads": 3,
    "children": 0,
    "objects": 150,
    "blocks": 600,
    "resident": 6 * MIB,
}


@dataclass(frozen=True)
class Growth:
    """How one figure went from the first to the last windows."""

    name: str
    first: int
    last: int
    allowed: int

    @property
    def flat(self) -> bool:
        return self.last - self.first <= self.allowed

    def __str__(self) -> str:
        verdict = "flat" if self.flat else f"GROWS, by more than {self.allowed:,}"
        return f"{self.name:11} {self.first:13,} -> {self.last:13,}  ({self.last - self.first:+,})  {verdict}"


def judge(windows: Sequence[Mapping[str, int]], allowed: Mapping[str, int] = ALLOWED) -> list[Growth]:
    """The growth of every figure, in the order of `allowed`.

    Raises:
        ValueError: if there are too few windows to compare.
    """
    if len(windows) < FEWEST:
        raise ValueError(f"{len(windows)} windows are too few to say what grows: {FEWEST} are needed")
    calm = windows[len(windows) // WARM_UP :]
    third = len(calm) // 3
    return [
        Growth(name, middle(calm[:third], name), middle(calm[-third:], name), bound) for name, bound in allowed.items()
    ]


def middle(windows: Sequence[Mapping[str, int]], name: str) -> int:
    return statistics.median_low(window[name] for window in windows)
