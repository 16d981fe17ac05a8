"""The scheduling group: processor time per operation for every row, each sample from a fresh process."""

from __future__ import annotations

from collections.abc import Sequence

from benches.scheduling.rows import ROWS
from benches.suite.child import ask
from benches.suite.environment import Bench
from benches.suite.group import Sample, Spec, usual_pairs

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
            pairs=usual_pairs(row.target),
            seconds=row.seconds,
        )
        for row in ROWS.values()
    ]


def prepare(bench: Bench) -> None:
    """Everything is there."""


def measure(row: Spec, subject: str, bench: Bench) -> Sample:
    told = ask(bench, "benches.scheduling.child", row.key, subject)
    return Sample(told["processor"], {"ns of wall-clock time per operation": told["wall"]})
