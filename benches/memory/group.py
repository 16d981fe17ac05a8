"""The memory group: bytes for each thing that waits, and the price of importing a loop and of an empty run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from benches.memory.rows import ROWS
from benches.suite.child import ask
from benches.suite.environment import Bench
from benches.suite.group import Sample, Spec, Station

TITLE = "Memory: bytes for each thing that waits; start-up"
REQUIREMENTS: Sequence[str] = ()


def rows() -> Sequence[Spec]:
    return [
        Spec(
            row.key,
            row.title,
            row.unit,
            target=row.target,
            quick=row.quick,
            rounds=row.rounds,
            discarded=0,
            start=0,
            seconds=row.seconds,
        )
        for row in ROWS.values()
    ]


def prepare(bench: Bench) -> None:
    """Everything is there."""


def measure(row: Spec, subject: str, bench: Bench) -> Sample:
    """One figure, from a process of its own."""
    told = ask(bench, "benches.memory.child", row.key, subject)
    return Sample(told["value"], told.get("extra", {}))


class Fresh:
    """A process for each figure: what is measured is how one begins, or how it grows."""

    def __init__(self, row: Spec, subject: str, bench: Bench) -> None:
        self._what = row, subject, bench

    def slice(self) -> Sample:
        return measure(*self._what)

    def beside(self) -> Mapping[str, float]:
        return {}


@contextmanager
def opened(row: Spec, subject: str, bench: Bench) -> Iterator[Station]:
    yield Fresh(row, subject, bench)
