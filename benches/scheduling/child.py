"""The measured process: one row on one loop, timed by the processor time that the whole process uses.

    PYTHON -m benches.scheduling.child ROW LOOP [CORE]

It warms up, finds how many operations make a slice, and says that it is ready. Then it answers each line of its input
with a slice: nanoseconds of processor time for an operation, and of wall-clock time beside it. Between slices the loop
does not run. Processor time holds what the kernel and other threads of the process do for the row, and not what other
programs do meanwhile. The garbage collector runs as in any program.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from benches.scheduling.rows import ROWS, Row
from benches.suite import loops

# Of wall-clock time: short beside the machine's moods, long beside a young generation of garbage.
SLICE = 0.01


def timed(row: Row, loop: asyncio.AbstractEventLoop, operations: int) -> dict[str, float]:
    async def session() -> dict[str, float]:
        running = asyncio.get_running_loop()
        wall, processor = time.perf_counter_ns(), time.process_time_ns()
        await row.program(running, operations, **row.on_the_clock)
        processor, wall = time.process_time_ns() - processor, time.perf_counter_ns() - wall
        return {"processor": processor / operations, "wall": wall / operations}

    return loop.run_until_complete(session())


def ready(row: Row, loop: asyncio.AbstractEventLoop, seconds: float = SLICE) -> int:
    """Warms up, and says how many operations last about that long."""
    quarter = max(row.timed // 4 // row.at_once, 1) * row.at_once
    told = timed(row, loop, quarter)
    gc.collect()
    told = timed(row, loop, max(quarter // 4 // row.at_once, 1) * row.at_once)
    return max(round(seconds * 1e9 / told["wall"] / row.at_once), 1) * row.at_once


def main(key: str, name: str, core: str = "") -> Iterator[dict[str, Any]]:
    """What is to be printed; the second and all further answers are to lines of the input."""
    row = ROWS[key]
    if row.lacking:
        yield {"unavailable": row.lacking}
        return
    if core:
        os.sched_setaffinity(0, {int(core)})
    try:
        loop = loops.factory(name)()
        operations = ready(row, loop)
        yield {"ready": operations}
        for _ in sys.stdin:
            yield {**timed(row, loop, operations)}
        loop.close()
    except Exception as error:  # a loop that cannot do it is a cell of the table, not a crash
        yield {"unavailable": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    for answer in main(*sys.argv[1:]):
        print(json.dumps(answer), flush=True)
