"""The measured process of the memory group: one row on one loop. Prints one JSON object.

    PYTHON -m benches.memory.child ROW LOOP [COUNT]

Memory is the process's anonymous pages that are resident: the kernel's own count of what it had to give, whoever asked
for it (CPython's allocator, malloc, Rust, libuv). Pages of files are left out, since code that is read in for the first
time belongs to no connection; so are the kernel's socket buffers, which are the same for all. Huge pages are refused,
or the figure would come in steps of 2 MB.
"""

from __future__ import annotations

import sys
import time

# What is timed comes before all other imports, which would bring most of what a loop needs.
STARTED = time.process_time_ns()
if sys.argv[1:2] == ["import"]:
    __import__(sys.argv[2])
IMPORTED = time.process_time_ns() - STARTED

import asyncio  # noqa: E402
import ctypes  # noqa: E402
import gc  # noqa: E402
import importlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
from contextlib import ExitStack  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from benches.memory.rows import ROWS, Waiting  # noqa: E402
from benches.suite import loops  # noqa: E402

PR_SET_THP_DISABLE = 41
RUNS = 200


def resident() -> int:
    """Bytes of anonymous memory."""
    gc.collect()
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this kernel does not count anonymous memory")


def grown(waiting: Waiting, name: str, n: int) -> float:
    """Bytes that each of `n` things more needs, where a tenth as many wait already."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
    resident()  # what the measurement itself needs

    async def session() -> float:
        loop = asyncio.get_running_loop()
        await waiting(loop, held, n // 10)
        before = resident()
        await waiting(loop, held, n)
        return (resident() - before) / n

    with ExitStack() as held:
        loop = loops.factory(name)()
        return loop.run_until_complete(session())


def empty_runs(name: str) -> float:
    """Microseconds of one run: the package's own `run`, or asyncio's with its loop."""

    async def empty() -> None:
        return

    package = importlib.import_module(loops.package(name))
    own = getattr(package, "run", None)

    def once() -> None:
        if own is not None:
            own(empty())
        else:
            with asyncio.Runner(loop_factory=loops.factory(name)) as runner:
                runner.run(empty())

    for _ in range(RUNS // 4):
        once()
    started = time.process_time_ns()
    for _ in range(RUNS):
        once()
    return (time.process_time_ns() - started) / RUNS / 1000


def main(key: str, name: str, n: str = "") -> dict[str, Any]:
    row = ROWS[key]
    try:
        if row.waiting is not None:
            return {"value": grown(row.waiting, name, int(n or row.n))}
        return {"value": IMPORTED / 1e6 if key == "import" else empty_runs(name)}
    except Exception as error:  # a loop that cannot do it is a cell of the table, not a crash
        return {"unavailable": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])), flush=True)
    os._exit(0)  # thousands of tasks and connections are not to be told of their end, one by one
