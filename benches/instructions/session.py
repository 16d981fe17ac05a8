"""What is counted: a row's operations inside one running loop, between two marks.

Knows neither valgrind nor how loops are made: it takes a loop factory, and tells a `Meter` where counting begins and
ends.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from typing import Protocol

from benches.scheduling.row import Loop, Row


class Meter(Protocol):
    """Where counting begins and ends."""

    def begin(self) -> None: ...

    def end(self, name: str) -> None: ...


def run(row: Row, loop_factory: Callable[[], Loop], meter: Meter) -> None:
    """Warm up, then count `n` operations and `3 n` operations inside one running loop.

    Two counts, because their difference holds nothing but `2 n` operations: what a row needs once
    (its first callback, its thread, the way in and out) cancels out.
    """

    async def session() -> None:
        loop = asyncio.get_running_loop()
        await row.program(loop, row.n)
        for name, n in (("short", row.n), ("long", 3 * row.n)):
            gc.collect()
            meter.begin()
            await row.program(loop, n)
            meter.end(name)

    # The same for every loop: no collection and no forced switch of threads in what is counted,
    # since neither happens at a point that could be repeated.
    gc.disable()
    sys.setswitchinterval(1000)
    ballast = fill_holes()
    loop = loop_factory()
    try:
        loop.run_until_complete(session())
    finally:
        loop.close()
        del ballast


def fill_holes() -> list[object]:
    """Objects of every size that CPython's own allocator serves, to be kept while rows run.

    Start-up leaves holes behind, and whether a row's objects fall into them or into fresh memory
    would otherwise depend on such things as which modules a loop imports: about 1% of a figure.
    """
    smallest: list[object] = [made() for made in (object, time.time) for _ in range(20_000)]
    return smallest + [bytes(size) for size in range(0, 480, 16) for _ in range(4_000)]
