"""The programs of scheduling and memory, each once, on asyncio's loop and on ours: small, by the code that measures."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from benches.instructions import session
from benches.memory import group as memory
from benches.memory.rows import ROWS as MEMORY_ROWS
from benches.scheduling import child, trees
from benches.scheduling import group as scheduling
from benches.scheduling.row import BATCH, Row
from benches.scheduling.rows import ROWS
from benches.suite.child import ask
from benches.suite.environment import Bench
from benches.suite.group import NoFigure

Factory = Callable[[], asyncio.AbstractEventLoop]


def small(row: Row) -> tuple[int, dict[str, Any]]:
    """As few operations as the row can do, and what its program is told."""
    if "levels" in row.on_the_clock:
        return trees.nodes(1), {"levels": 1}
    return BATCH, {**row.on_the_clock}


@pytest.mark.parametrize("key", ROWS)
def test_a_row_does_what_it_says(key: str, loop_factory: Factory) -> None:
    row = ROWS[key]
    if row.lacking:
        assert sys.version_info < (3, 12)
        return
    n, told = small(row)
    loop = loop_factory()
    try:
        loop.run_until_complete(asyncio.wait_for(row.program(loop, n, **told), 20))
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def test_a_slice_is_processor_time_per_operation(loop_factory: Factory) -> None:
    loop = loop_factory()
    try:
        for _ in range(2):
            told = child.timed(ROWS["chain"], loop, 4000)
            assert told.keys() == {"processor", "wall"}
            assert 10 < told["processor"] < 1_000_000
        # As many as last that long, in whole batches, and one batch at least.
        assert child.ready(ROWS["batch"], loop, 0.001) % BATCH == 0
        assert child.ready(ROWS["batch"], loop, 0) == BATCH
    finally:
        loop.close()


def test_a_loop_is_asked_for_slices_until_it_is_left(loop_name: str) -> None:
    (spec,) = (spec for spec in scheduling.rows() if spec.key == "chain")
    with scheduling.opened(spec, loop_name, HERE) as station:
        assert [station.slice().value > 0 for _ in range(3)] == [True] * 3


def test_a_loop_that_cannot_be_made_has_a_reason() -> None:
    spec = scheduling.rows()[0]
    with pytest.raises(NoFigure, match="ModuleNotFoundError"):
        scheduling.opened(spec, "nonsense", HERE).__enter__()


class Forgetful(asyncio.SelectorEventLoop):
    """A loop that loses one callback."""

    left = 1500

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        Forgetful.left -= 1
        return super().call_soon(callback if Forgetful.left else lambda *_: None, *args, context=context)


@pytest.mark.parametrize("key", ["batch", "batch-arguments"])
def test_a_loop_that_loses_an_operation_has_no_figure(key: str) -> None:
    Forgetful.left = 1500
    with (
        closing(Forgetful()) as loop,
        pytest.raises(RuntimeError, match=r"1999 operations ran where 2000|3999 operations ran where 4000"),
    ):
        child.timed(ROWS[key], loop, 2 * BATCH)


def test_rows_that_the_clock_of_callgrind_would_stop_are_not_counted() -> None:
    assert {row.key for row in ROWS.values() if not row.counted} == {
        f"tree-{kind}{group}{eager}"
        for kind in ("io", "memo", "mixed")
        for group in ("", "-group")
        for eager in ("", "-eager")
    }


class Marks:
    def __init__(self) -> None:
        self.made: list[str] = []

    def begin(self) -> None:
        self.made.append("begin")

    def end(self, name: str) -> None:
        self.made.append(name)


@pytest.fixture
def as_before() -> Generator[None]:
    """What a counted process sets for itself."""
    interval = sys.getswitchinterval()
    yield
    gc.enable()
    sys.setswitchinterval(interval)


def test_n_and_three_times_n_are_counted_after_a_warm_up(loop_factory: Factory, as_before: None) -> None:
    ran, marks, asked = count(), Marks(), []

    async def program(loop: asyncio.AbstractEventLoop, n: int) -> None:
        asked.append((n, list(marks.made)))
        loop.call_soon(ran.__next__)
        await asyncio.sleep(0)

    session.run(Row("made", "Made", program, 7, 70), loop_factory, marks)
    assert asked == [(7, []), (7, ["begin"]), (21, ["begin", "short", "begin"])]
    assert marks.made == ["begin", "short", "begin", "long"]
    assert next(ran) == 3


HERE = Bench(Path(sys.executable), {}, {}, {})
SPECS = {spec.key: spec for spec in memory.rows()}


@pytest.mark.parametrize("key", [key for key, row in MEMORY_ROWS.items() if row.waiting])
def test_what_waits_has_bytes_of_its_own(key: str, loop_name: str) -> None:
    told = ask(HERE, "benches.memory.child", key, loop_name, "100" if key == "idle-tls" else "1000")
    # More than a pointer; and though asyncio's TLS has a buffer of 256 KB for each connection, less than a megabyte.
    assert 50 < told["value"] < 1_000_000


def test_a_run_takes_microseconds(loop_name: str) -> None:
    assert 5 < memory.measure(SPECS["run-empty"], loop_name, HERE).value < 20_000


def test_an_import_takes_milliseconds(loop_name: str) -> None:
    assert 1 < memory.measure(SPECS["import"], loop_name, HERE).value < 5000


def test_a_loop_that_is_not_there_has_a_reason() -> None:
    with pytest.raises(NoFigure, match="ModuleNotFoundError"):
        memory.measure(SPECS["run-empty"], "nonsense", HERE)
