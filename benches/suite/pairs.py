"""Comparing subjects on a machine that has moods: short slices side by side, the ratios of neighbours, an interval.

One processor of a virtual machine may need twice as long for the same work as it did a moment before, for tens of
milliseconds or for seconds. So every subject of a row is measured in many short slices, in rounds of one slice of each,
and nothing is left out but the first round:

- A subject's figure in a session is the median of its slices.
- The ratio of two subjects in a session is the median, over its rounds, of the ratio of their two slices in the round.
  Two neighbours are at the same pace more often than not, whichever that is; where they are not, the ratio is wrong by
  as much one way as the other, and a median does not ask how much.

A low quantile of the slices would be that of the fast pace in one subject and of the slow one in another wherever the
fast pace is about as rare as the quantile; so would be what remains of slices that are left out for being slow.
(Measured, ten sessions of one loop beside itself on a busy machine: 0.92 to 1.06 by neighbours, 0.85 to 1.38 by a low
quantile.)

A session has processes of its own, and the row's figure and ratio are the medians over its sessions. Where its memory
lies moves a process's figure by more than its slices scatter, so slices never make an interval: it is the one between
order statistics of the sessions, which follows from the sign test and assumes neither a distribution nor a variance.
Below six no such interval reaches the confidence, and the range stands for it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median as middle

CONFIDENCE = 0.95
SESSIONS = 6  # the fewest whose range is an interval of that confidence
MORE = 9  # the fewest whose interval leaves out the outermost, for rows that are ready soon
FEWEST = 2


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


def ratio(ours: Sequence[float], theirs: Sequence[float], better: str) -> float:
    """The ratio of two subjects in one session, above 1 where ours is better; a round is an index."""
    if better == "lower":
        return middle(other / own for own, other in zip(ours, theirs, strict=True))
    return middle(own / other for own, other in zip(ours, theirs, strict=True))


def orders(subjects: Sequence[str], seed: int) -> Iterator[Sequence[str]]:
    """The order of each round, another each time, so that everybody is everybody's neighbour as often."""
    drawn = random.Random(seed)
    while True:
        yield drawn.sample(list(subjects), len(subjects))
