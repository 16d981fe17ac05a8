"""The measured process: one row on one loop, timed by the processor time that the whole process uses.

Prints one JSON object: nanoseconds of processor time for an operation, and of wall-clock time beside it. Processor time
holds what the kernel and other threads of the process do for the row, and not what other programs do meanwhile. The
garbage collector runs as in any program.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from typing import Any

from benches.scheduling.rows import ROWS, Row
from benches.suite import loops


def run(row: Row, loop: asyncio.AbstractEventLoop, operations: int) -> dict[str, float]:
    """Warm up with some of it, then time all of it."""
    warm_up = max(operations // 4 // row.at_once, 1) * row.at_once

    async def session() -> dict[str, float]:
        running = asyncio.get_running_loop()
        await row.program(running, warm_up, **row.on_the_clock)
        gc.collect()
        wall, processor = time.perf_counter_ns(), time.process_time_ns()
        await row.program(running, operations, **row.on_the_clock)
        processor, wall = time.process_time_ns() - processor, time.perf_counter_ns() - wall
        return {"processor": processor / operations, "wall": wall / operations}

    try:
        return loop.run_until_complete(session())
    finally:
        loop.close()


def main(key: str, name: str) -> dict[str, Any]:
    row = ROWS[key]
    if row.lacking:
        return {"unavailable": row.lacking}
    try:
        return {**run(row, loops.factory(name)(), row.timed)}
    except Exception as error:  # a loop that cannot do it is a cell of the table, not a crash
        return {"unavailable": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
