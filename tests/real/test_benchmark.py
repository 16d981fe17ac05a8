"""The programs that benches/real measures, each started once: that they work, not how fast they are."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from benches.real import cpu, group, load, settings, wrk
from benches.real.services import Database, Postgres, Redis
from benches.suite.environment import Bench
from benches.suite.group import NoFigure

REQUESTS = 2 * settings.CONNECTIONS


@pytest.fixture
def start(request: pytest.FixtureRequest) -> settings.Start:
    """This interpreter and the databases of these tests; a database starts when a program asks for it."""

    def database(kind: type[Database]) -> Database:
        found: Database = request.getfixturevalue({Postgres: "postgres", Redis: "redis_server"}[kind])
        return found

    return settings.Start(sys.executable, database)


def test_every_row_is_a_program() -> None:
    assert [row.key for row in group.rows()] == list(settings.ALL)


@pytest.mark.parametrize("name", settings.ALL)
def test_a_program_answers_and_is_answered(name: str, loop_name: str, start: settings.Start) -> None:
    program = settings.ALL[name]
    count = min(REQUESTS, program.warm_up)
    with program.setting(start, loop_name) as scene:
        before = cpu.used(scene.pid)
        assert scene.requests(count).requests == count
        assert scene.requests(1).requests == 1
        assert scene.slice().requests >= 1
        assert cpu.used(scene.pid) > before


def bench() -> Bench:
    return Bench(Path(sys.executable), {}, {}, {})


def test_slices_and_what_wrk_says_beside_them(loop_name: str) -> None:
    row = next(row for row in group.rows() if row.key == "uvicorn")
    with group.opened(row, loop_name, bench()) as station:
        for _ in range(3):
            sample = station.slice()
            assert 1 < sample.value < 1e5
            assert sample.extra.keys() == {"requests per second, in a slice", "share"}
        extra = station.beside()
        assert extra.keys() == {
            *("requests per second, wrk", "share of the processor, wrk", "µs of CPU per request, wrk"),
            *("latency, 50%, ms, wrk", "latency, 99%, ms, wrk"),
        }
        assert 0 < extra["latency, 50%, ms, wrk"] <= extra["latency, 99%, ms, wrk"]
        assert station.slice().value > 1  # wrk took the connections' place, and they are made again


def test_a_loop_that_cannot_run_a_program_has_a_reason() -> None:
    for key in ("uvicorn", "aiohttp-client"):
        row = next(row for row in group.rows() if row.key == key)
        with pytest.raises(NoFigure, match="No module named 'no_such_loop'"):
            group.opened(row, "no_such_loop", bench()).__enter__()


def test_a_wrong_answer_is_no_measurement(start: settings.Start) -> None:
    command = settings.AIOHTTP
    with (
        pytest.raises(load.WrongAnswerError, match="instead of b'something else'"),
        settings.http_server(command, "/plain", "something else", start, "asyncio"),
    ):
        raise AssertionError("nobody noticed")
    with settings.http_server(command, "/plain", settings.BODY, start, "asyncio") as scene:
        assert scene.requests(3).requests == 3


def test_wrk_reports_are_read_and_failures_seen() -> None:
    report = """\
  Latency Distribution
     50%  850.00us
     75%    1.50ms
     99%    1.10s
  26030 requests in 1.10s, 3.45MB read
"""
    assert wrk.read(report) == wrk.Told(26030, 1.1, {0.5: 850e-6, 0.75: 1.5e-3, 0.99: 1.1})
    for complaint in ("  Non-2xx or 3xx responses: 3", "  Socket errors: connect 0, read 1, write 0, timeout 0"):
        with pytest.raises(wrk.FailedRequestsError, match=complaint.strip()):
            wrk.read(report + complaint)
    with pytest.raises(wrk.FailedRequestsError):
        wrk.read("  0 requests in 1.00s, 0.00B read")


def test_pinning_ends() -> None:
    before = os.sched_getaffinity(0)
    with cpu.on(cpu.cores().beside):
        assert os.sched_getaffinity(0) == {cpu.cores().beside}
    assert os.sched_getaffinity(0) == before


def test_processor_time_of_a_process() -> None:
    before = time.process_time()
    seen = cpu.used(os.getpid())
    assert before <= seen <= time.process_time()
