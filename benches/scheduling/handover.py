"""Rows: tasks that hand something over to each other through asyncio's own synchronisation."""

from __future__ import annotations

import asyncio

from benches.scheduling.row import Loop, expect, row


@row("queue", "Queue hand-over", n=1000, timed=30_000, target=1.3, quick=True)
async def queue_hand_over(loop: Loop, n: int) -> None:
    """An item put into a queue that holds one, and taken by another task."""
    queue: asyncio.Queue[int] = asyncio.Queue(1)

    async def produce() -> None:
        for _ in range(n):
            await queue.put(1)

    producer = loop.create_task(produce())
    total = 0
    for _ in range(n):
        total += await queue.get()
    await producer
    expect(total, n)


@row("event", "Event hand-over", n=1000, timed=40_000, target=1.3)
async def event_hand_over(loop: Loop, n: int) -> None:
    """Two tasks that wait for each other's event in turn: one operation is an event set, seen and cleared."""
    events = [asyncio.Event(), asyncio.Event()]

    async def player(me: int, other: int) -> int:
        seen = 0
        for _ in range(n // 2):
            await events[me].wait()
            events[me].clear()
            seen += 1
            events[other].set()
        return seen

    players = [loop.create_task(player(0, 1)), loop.create_task(player(1, 0))]
    events[0].set()
    expect(sum([await one for one in players]), n)


@row("lock", "Lock hand-over", n=1000, timed=40_000, target=1.3)
async def lock_hand_over(loop: Loop, n: int) -> None:
    """Ten tasks that queue up for a lock: whoever lets go of it finds others waiting, and waits behind them."""
    lock, tasks = asyncio.Lock(), 10

    async def worker() -> int:
        held = 0
        for _ in range(n // tasks):
            await lock.acquire()
            held += 1
            lock.release()
        return held

    await lock.acquire()
    workers = [loop.create_task(worker()) for _ in range(tasks)]
    await asyncio.sleep(0)  # all of them wait now, so that there is always somebody to hand over to
    lock.release()
    expect(sum([await one for one in workers]), n)
