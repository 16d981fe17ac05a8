"""The network group: what a server pays for a request, on each loop and on a plain epoll server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benches.network import generator
from benches.network.measure import QUICK, Equipment, Length
from benches.network.rows import BY_KEY, ROWS, Shape
from benches.suite.environment import Bench
from benches.suite.group import Sample, Spec

TITLE = "Network: processor time per request"
REQUIREMENTS: Sequence[str] = ()

_generator: Path | None = None


def rows() -> Sequence[Spec]:
    return [replace(row.spec, seconds=expected(row.shape)) for row in ROWS]


def expected(shape: Shape) -> float:
    """About how many seconds a sample takes: the server's start, its connections, and one load or two."""
    length = Length()
    each = 0.001 if shape.carrier == "tls" else 0.0001
    loads = [length.measured] + ([length.latency] if shape.rate else [])
    return 0.09 + sum(length.warmup + load + each * shape.connections for load in loads)


def prepare(bench: Bench) -> None:
    global _generator
    _generator = generator.build()


def measure(row: Spec, subject: str, bench: Bench) -> Sample:
    assert _generator is not None, "the suite prepares first"
    length = QUICK if row.pairs < BY_KEY[row.key].spec.pairs else Length()
    return Equipment(bench.python, _generator, length).sample(BY_KEY[row.key].shape, subject)
