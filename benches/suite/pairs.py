"""Comparing subjects on a machine that drifts: interleaved samples, paired ratios, an interval without assumptions.

A machine that others share may slow down by half within a minute, so samples of different subjects are compared only
with what was measured next to them. A round takes one sample of each subject, and the next round runs backwards
(A B, B A, A B …), so that a drift which lasts pushes as often one way as the other. The first round is a warm-up and
is discarded.

The interval of a median is the one between order statistics, which follows from the sign test: it assumes neither a
distribution nor a variance. Below six samples no such interval reaches the confidence, and the range stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median as middle
from typing import TypeVar

T = TypeVar("T")

CONFIDENCE = 0.95
# Of a row that has an aim, and of one that has none: nine are the fewest whose interval leaves out the outermost.
PAIRS = 15
FEWER = 9
FEWEST = 2  # one in each direction


@dataclass(frozen=True)
class Estimate:
    """A median and the interval that holds the true one with `CONFIDENCE`."""

    median: float
    low: float
    high: float


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    if not values:
        raise ValueError("an estimate needs at least one value")
    ordered = sorted(values)
    k = outermost(len(ordered), confidence)
    return Estimate(middle(ordered), ordered[k], ordered[-1 - k])


def outermost(count: int, confidence: float) -> int:
    """How many values may be left out at each end.

    The median lies outside the interval only if that many values or fewer fall on one side of it, each of which is a
    toss of a coin.
    """
    allowed = (1 - confidence) / 2
    tail, k = 0.5**count, 0
    while tail <= allowed:  # all that are left out so far: P(at most k values on one side)
        k += 1
        tail += comb(count, k) * 0.5**count
    return max(k - 1, 0)


def ratios(ours: Sequence[float], theirs: Sequence[float], better: str) -> list[float]:
    """One ratio for each round, above 1 where ours is better."""
    if better == "lower":
        return [other / own for own, other in zip(ours, theirs, strict=True)]
    return [own / other for own, other in zip(ours, theirs, strict=True)]


def rounds(subjects: Sequence[str], pairs: int) -> Iterator[Sequence[str]]:
    """The order of each round, the first of which is the warm-up."""
    backwards = subjects[::-1]
    for turn in range(pairs + 1):
        yield backwards if turn % 2 else subjects


def gather(
    subjects: Sequence[str], pairs: int, sample: Callable[[str], T], enough: Callable[[], bool] = lambda: False
) -> dict[str, list[T]]:
    """Samples of each subject, those of one round at the same index.

    Once `enough` says so no further round begins, but for the fewest that there have to be.
    """
    taken: dict[str, list[T]] = {subject: [] for subject in subjects}
    for turn, order in enumerate(rounds(subjects, pairs)):
        if turn > FEWEST and enough():
            break
        for subject in order:
            value = sample(subject)
            if turn:
                taken[subject].append(value)
    return taken
