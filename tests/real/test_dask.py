"""A Dask cluster of processes: a scheduler, two workers, one of them with a nanny, and a client.

Each is given the loop by the preload module `oneloop.dask`; on asyncio's half there is none. What the client does and
sees is in apps/dask_client.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import children

from real.web import CommandLine

if sys.version_info >= (3, 15):
    pytest.skip("PyYAML 6.0.3, which Dask needs, has no wheel for 3.15", allow_module_level=True)

from real.apps import dask_client

CLIENT_LIMIT = 90.0


def dask(loop_name: str, *command: str, ready: str) -> CommandLine:
    preload = ["--preload", "oneloop.dask"] if loop_name == "oneloop" else []
    return CommandLine(loop_name, "dask", *command, "--host", "127.0.0.1", "--no-dashboard", *preload, ready=ready)


@pytest.fixture
def cluster(
    loop_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[CommandLine, CommandLine, CommandLine]]:
    """The scheduler, a worker that is alone and a worker with a nanny."""
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path))
    monkeypatch.setenv("DASK_TEMPORARY_DIRECTORY", str(tmp_path))
    if loop_name == "oneloop":  # which is not installed: what is preloaded is heard before what is configured
        monkeypatch.setenv("DASK_DISTRIBUTED__ADMIN__EVENT_LOOP", "uvloop")
    with contextlib.ExitStack() as stack:
        scheduler = dask(loop_name, "scheduler", "--port", "0", ready=r"Scheduler at: +tcp://127\.0\.0\.1:(\d+)")
        address = f"tcp://127.0.0.1:{stack.enter_context(scheduler).port}"
        worker = ("worker", address, "--nthreads", "1", "--name")
        alone = dask(loop_name, *worker, "alone", "--no-nanny", ready="Registered to:")
        nursed = dask(loop_name, *worker, "nursed", ready="Registered to:")
        yield scheduler, stack.enter_context(alone), stack.enter_context(nursed)


@pytest.fixture
def seen(loop_name: str, cluster: tuple[CommandLine, CommandLine, CommandLine]) -> dict[str, Any]:
    """What the client saw. It computes for seconds, beside four other processes: it has a limit of its own."""
    address = f"tcp://127.0.0.1:{cluster[0].port}"
    finished = children.finish(children.start(["-m", "real.apps.dask_client", address], loop_name), limit=CLIENT_LIMIT)
    assert finished.returncode == 0, finished.err + "".join(server.log() for server in cluster)
    said: dict[str, Any] = json.loads(finished.out)
    return said


def squares(first: int, count: int) -> int:
    return sum(number * number for number in range(first, first + count))


def test_a_cluster(loop_name: str, cluster: tuple[CommandLine, CommandLine, CommandLine], seen: dict[str, Any]) -> None:
    scheduler, _, nursed = cluster
    assert [seen[name] for name in ("client", "scheduler", "restarted")] == [loop_name] * 3
    assert seen["nannies"] == [loop_name]
    assert seen["workers"] == {"alone": loop_name, "nursed": loop_name}
    assert seen["computed"] == [squares(0, 200), squares(0, 64)]
    digests = [hashlib.sha256(bytes([byte]) * dask_client.SIZE).hexdigest() for byte in (1, 2)]
    assert seen["moved"] == [[digests[0], "nursed"], [digests[1], "alone"]]
    assert seen["one killed"] == [squares(1000, dask_client.TASKS)] * 2
    assert seen["other killed"] == [squares(2000, dask_client.TASKS)] * 2
    assert seen["left"] == ["nursed"]

    assert nursed.end(signal.SIGTERM) == 0
    assert "End worker" in nursed.log()
    assert scheduler.end(signal.SIGINT) == 0
    assert "End scheduler" in scheduler.log()
    for server in cluster:
        assert ("Run preload setup: oneloop.dask" in server.log()) == (loop_name == "oneloop")
        assert "Failed to start preload" not in server.log()


def test_a_preload_module_that_comes_too_late_says_so() -> None:
    child = children.run_program(
        """
        import asyncio

        async def main():
            import oneloop.dask
            oneloop.dask.dask_setup("the worker")

        asyncio.run(main())
        """,
        "oneloop",
    )
    assert child.returncode == 1
    assert "RuntimeError: 'the worker' runs on asyncio.unix_events._UnixSelectorEventLoop: oneloop.dask" in child.err
