"""The scheduling group: processor time per operation for every row, each loop in a process that is asked for slices."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from benches.scheduling.rows import ROWS
from benches.suite.environment import Bench
from benches.suite.group import Sample, Spec, Station
from benches.suite.pairs import MORE
from benches.suite.talking import Talking

TITLE = "Scheduling: processor time per operation"
REQUIREMENTS: Sequence[str] = ()
UNIT = "ns of CPU per operation"


def rows() -> Sequence[Spec]:
    return [
        Spec(
            row.key,
            row.title,
            UNIT,
            target=row.target,
            quick=row.quick,
            sessions=MORE,
            rounds=row.rounds,
            start=0.12,
            seconds=row.seconds,
        )
        for row in ROWS.values()
    ]


def prepare(bench: Bench) -> None:
    """Everything is there."""


class Running:
    """A process that has warmed up."""

    def __init__(self, process: Talking) -> None:
        self._process = process

    def slice(self) -> Sample:
        told = self._process.ask()
        return Sample(told["processor"], {"ns of wall-clock time per operation": told["wall"]})

    def beside(self) -> Mapping[str, float]:
        return {}


@contextmanager
def opened(row: Spec, subject: str, bench: Bench) -> Iterator[Station]:
    own = [str(max(os.sched_getaffinity(0)))] if ROWS[row.key].pinned else []
    with Talking([bench.python, "-m", "benches.scheduling.child", row.key, subject, *own]) as process:
        yield Running(process)
