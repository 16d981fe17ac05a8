"""The network group: what a server pays for a request, on each loop and on a plain epoll server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benches.network import generator
from benches.network.measure import Equipment, Length
from benches.network.rows import BY_KEY, ROWS, Shape
from benches.suite.environment import Bench
from benches.suite.group import Spec, Station

TITLE = "Network: processor time per request"
REQUIREMENTS: Sequence[str] = ()
# Slices are longer than the other groups', and there are as many rows as in all of these.
ROUNDS = 12

_generator: Path | None = None


def rows() -> Sequence[Spec]:
    return [replace(row.spec, rounds=ROUNDS, start=start(row.shape), seconds=a_slice(row.shape)) for row in ROWS]


def start(shape: Shape) -> float:
    """About how many seconds it takes until a server and its connections are there, and a load at a rate."""
    each = 0.001 if shape.carrier == "tls" else 0.0001
    return 0.15 + each * shape.connections + (Length().latency + Length().warmup if shape.rate else 0) / 2


def a_slice(shape: Shape) -> float:
    length = Length()
    if shape.load in ("", "echo"):
        return length.slice + 0.005 + 0.00002 * shape.connections
    return length.settling + length.by_itself + 0.02


def prepare(bench: Bench) -> None:
    global _generator
    _generator = generator.build()


@contextmanager
def opened(row: Spec, subject: str, bench: Bench) -> Iterator[Station]:
    assert _generator is not None, "the suite prepares first"
    with Equipment(bench.python, _generator).opened(BY_KEY[row.key].shape, subject) as station:
        yield station
