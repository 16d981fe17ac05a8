"""The network group: what a server pays for a request, on each loop and on a plain epoll server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benches.network import generator
from benches.network.measure import QUICK, Equipment, Length
from benches.network.rows import BY_KEY, ROWS
from benches.suite.environment import Bench
from benches.suite.group import Sample, Spec

TITLE = "Network: processor time per request"
REQUIREMENTS: Sequence[str] = ()

_generator: Path | None = None


def rows() -> Sequence[Spec]:
    return [row.spec for row in ROWS]


def prepare(bench: Bench) -> None:
    global _generator
    _generator = generator.build()


def measure(row: Spec, subject: str, bench: Bench) -> Sample:
    assert _generator is not None, "the suite prepares first"
    length = QUICK if row.pairs < BY_KEY[row.key].spec.pairs else Length()
    return Equipment(bench.python, _generator, length).sample(BY_KEY[row.key].shape, subject)
