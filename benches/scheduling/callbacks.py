"""Rows: callbacks that the loop's own thread schedules."""

from __future__ import annotations

import asyncio
from itertools import count

from benches.scheduling.row import BATCH, Loop, expect, row


@row("chain", "call_soon, chain", n=1000, timed=100_000, target=1.2, quick=True)
async def call_soon_chain(loop: Loop, n: int) -> None:
    """A callback that schedules itself again: one operation is one tick of the loop."""
    done = loop.create_future()

    def step(left: int) -> None:
        if left:
            loop.call_soon(step, left - 1)
        else:
            done.set_result(None)

    loop.call_soon(step, n - 1)
    await done


@row("batch", "call_soon, batch of 1,000", n=2 * BATCH, timed=200 * BATCH, target=1.2)
async def call_soon_batch(loop: Loop, n: int) -> None:
    """A thousand callbacks that one tick runs."""
    calls = count()
    for _ in range(n // BATCH):
        for _ in range(BATCH):
            loop.call_soon(calls.__next__)
        await asyncio.sleep(0)
    expect(next(calls), n)


@row("batch-arguments", "call_soon with arguments", n=2 * BATCH, timed=200 * BATCH, target=1.2)
async def call_soon_with_arguments(loop: Loop, n: int) -> None:
    """The same with two arguments each: `insert` behind the end is a C method that counts by appending."""
    total = 0
    for _ in range(n // BATCH):
        ran: list[None] = []
        for _ in range(BATCH):
            loop.call_soon(ran.insert, BATCH, None)
        await asyncio.sleep(0)
        total += len(ran)
    expect(total, n)


@row("threadsafe", "call_soon_threadsafe, own thread", n=2 * BATCH, timed=100 * BATCH, target=1.2)
async def threadsafe_from_own_thread(loop: Loop, n: int) -> None:
    """A batch that the loop's own thread posts, as libraries do that do not know where they are."""
    calls = count()
    for _ in range(n // BATCH):
        # The last one says that all ran: some loops keep posted callbacks in a queue of their own.
        last = loop.create_future()
        for _ in range(BATCH - 1):
            loop.call_soon_threadsafe(calls.__next__)
        loop.call_soon_threadsafe(last.set_result, None)
        await last
    expect(next(calls), n - n // BATCH)
