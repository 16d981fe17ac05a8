"""The memory group: bytes for each thing that waits, and the price of importing a loop and of an empty run."""

from __future__ import annotations

from collections.abc import Sequence

from benches.memory.rows import ROWS
from benches.suite.child import ask
from benches.suite.environment import Bench
from benches.suite.group import Sample, Spec

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
            pairs=row.pairs,
            seconds=row.seconds,
        )
        for row in ROWS.values()
    ]


def prepare(bench: Bench) -> None:
    """Everything is there."""


def measure(row: Spec, subject: str, bench: Bench) -> Sample:
    told = ask(bench, "benches.memory.child", row.key, subject)
    return Sample(told["value"], told.get("extra", {}))
