"""How long a run takes: what its rows are expected to cost, and how a limit of time is shared among them.

A row costs a start of each loop and of each limit in every session, and a slice of each in every round of it, and rows
differ by a factor of ten in what these take. So a limit is shared by cost, and what a row leaves of its share goes to
those that come after it. A row divides its share among its sessions, each of which begins no further round once its
part is used up: with less time there are fewer slices, and as many sessions. No row is dropped, however short the time.

The costs are of a machine that does nothing else. They decide how a limit is shared, never what a figure is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from benches.suite.group import Spec

# Of a full run of all groups, unless the user says how long or how many sessions.
MINUTES = 60


def cost(spec: Spec, loops: int) -> float:
    """Seconds of one row, its warm-up rounds with it."""
    return spec.sessions * (loops + len(spec.limits)) * (spec.start + (spec.discarded + spec.rounds) * spec.seconds)


def total(specs: Sequence[Spec], loops: int) -> float:
    return sum(cost(spec, loops) for spec in specs)


class Budget:
    """A limit of time, from now on, that rows share by what they cost, in the order in which they run."""

    def __init__(self, specs: Sequence[Spec], loops: int, seconds: float, clock: Callable[[], float]) -> None:
        self._costs = [cost(spec, loops) for spec in specs]
        self._clock = clock
        self._end = clock() + seconds

    def next_deadline(self) -> float:
        """When the row that begins now is to be over."""
        now = self._clock()
        left = max(self._end - now, 0)
        among = sum(self._costs)
        own = self._costs.pop(0)
        return now + (left if math.isinf(left) else left * own / among)


def words(seconds: float) -> str:
    """As exact as a guess can be."""
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes > 1 else "a minute or less"
