"""One session of a row: a process of each loop at once, idle while another has its slice, in rounds, until time is up.

What fails keeps nobody else from being measured: the reason is kept, and that subject takes no further part in the row.
Nothing here waits for a subject: whoever makes stations sees to it that each of their answers has a deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from benches.suite import pairs
from benches.suite.group import NoFigure, Sample, Station

T = TypeVar("T")

# Whatever time it is, after those that are a warm-up.
FEWEST_ROUNDS = 3
# Starting is what most of a session's time would go to otherwise, and is not measured.
AT_ONCE = 2

Open = Callable[[str], AbstractContextManager[Station]]


@dataclass(frozen=True)
class Session:
    """The slices of each subject, those of one round at the same index, and what was measured beside them."""

    taken: Mapping[str, Sequence[Sample]]
    beside: Mapping[str, Mapping[str, float]]

    def values(self, subject: str) -> list[float]:
        return [sample.value for sample in self.taken[subject]]

    def sample(self, subject: str) -> Sample:
        """The subject's figure, and the medians of what else its slices told."""
        told = [sample.extra for sample in self.taken[subject]]
        # A figure that one slice has not is none of the row: a throughput, where the client was once at its limit.
        names = [name for name in told[0] if all(name in extra for extra in told)]
        extra = {name: median(extra[name] for extra in told) for name in names}
        return Sample(median(self.values(subject)), {**extra, **self.beside.get(subject, {})})


def hold(
    subjects: Sequence[str],
    opened: Open,
    failed: dict[str, str],
    *,
    rounds: int,
    discarded: int,
    seed: int,
    enough: Callable[[], bool],
    further: bool = False,
) -> Session:
    """One session; who fails in it is entered in `failed`. `further`: with the figures that have loads of their own."""
    with ExitStack() as held:
        stations: dict[str, Station] = {}

        def enter(subject: str) -> None:
            def entered() -> Station:
                context = opened(subject)
                station = context.__enter__()
                held.callback(leave, context)
                return station

            if (station := attempt(subject, entered, failed)) is not None:
                stations[subject] = station

        with ThreadPoolExecutor(AT_ONCE) as starting:
            chosen = [subject for subject in subjects if subject not in failed]
            for _ in starting.map(enter, chosen):
                pass
        taken: dict[str, list[Sample]] = {subject: [] for subject in subjects if subject in stations}
        for number, order in zip(range(discarded + rounds), pairs.orders([*taken], seed), strict=False):
            if number >= discarded + FEWEST_ROUNDS and enough():
                break
            for subject in order:
                if subject in failed:
                    continue
                sample = attempt(subject, stations[subject].slice, failed)
                if number >= discarded and sample is not None:
                    taken[subject].append(sample)
        beside: dict[str, Mapping[str, float]] = {}
        for subject in taken if further else ():
            # These are told beside the row's figure, which stands without them.
            told = attempt(subject, stations[subject].beside, {}) if subject not in failed else None
            beside[subject] = told or {}
    return Session({subject: slices for subject, slices in taken.items() if subject not in failed}, beside)


def leave(context: AbstractContextManager[Station]) -> None:
    """Ends it. What was measured stands, whatever its end is like."""
    with suppress(Exception):
        context.__exit__(None, None, None)


def attempt(subject: str, step: Callable[[], T], failed: dict[str, str]) -> T | None:
    """What the step gives; None if it fails, whatever with: rivals crash in ways that nobody could list."""
    try:
        return step()
    except NoFigure as none:
        failed[subject] = str(none)
    except Exception as error:  # one cell of a table that takes an hour
        failed[subject] = f"{type(error).__name__}: {error}"
    return None
