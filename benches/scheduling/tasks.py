"""Rows: tasks that are made, that give way, and that wait for futures."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from benches.scheduling.row import BATCH, Loop, expect, row

EAGER = "" if sys.version_info >= (3, 12) else "eager tasks came with Python 3.12"
ITEMS = 10


@row("sleep0", "sleep(0)", n=1000, timed=60_000, target=1.6, quick=True)
async def sleep_zero(loop: Loop, n: int) -> None:
    """A task that gives way: one task step and one tick."""
    for _ in range(n):
        await asyncio.sleep(0)


async def one() -> int:
    return 1


@row("spawn", "create_task and await", n=1000, timed=40_000, target=1.5, quick=True)
async def spawn_and_await(loop: Loop, n: int) -> None:
    """A task that returns at once, made and awaited."""
    total = 0
    for _ in range(n):
        total += await loop.create_task(one())
    expect(total, n)


@row("gather", "gather of 1,000, each", n=BATCH, timed=40 * BATCH, target=1.4)
async def gather_thousand(loop: Loop, n: int) -> None:
    """A thousand coroutines that return at once, awaited together."""
    total = 0
    for _ in range(n // BATCH):
        total += sum(await asyncio.gather(*[one() for _ in range(BATCH)]))
    expect(total, n)


@row("task-group", "TaskGroup of 1,000, each", n=BATCH, timed=40 * BATCH, target=1.4)
async def task_group_of_a_thousand(loop: Loop, n: int) -> None:
    """The same in a TaskGroup."""
    total = 0
    for _ in range(n // BATCH):
        async with asyncio.TaskGroup() as group:
            made = [group.create_task(one()) for _ in range(BATCH)]
        total += sum(task.result() for task in made)
    expect(total, n)


@row("eager", "eager task, made and awaited", n=1000, timed=60_000, lacking=EAGER)
async def eager_tasks(loop: Loop, n: int) -> None:
    """A task that ends before `create_task` returns."""
    before = loop.get_task_factory()
    if sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
    total = 0
    for _ in range(n):
        total += await loop.create_task(one())
    loop.set_task_factory(before)
    expect(total, n)


@row("pingpong", "future ping-pong", n=1000, timed=40_000, target=1.5, quick=True)
async def future_ping_pong(loop: Loop, n: int) -> None:
    """Two tasks that wake each other: one operation is a future made, set and awaited."""
    serves = [loop.create_future(), loop.create_future()]

    async def player(me: int, other: int, hits: int) -> int:
        for hit in range(hits):
            await serves[me]
            serves[me] = loop.create_future()
            serves[other].set_result(hit)
        return hits

    ping = loop.create_task(player(0, 1, n // 2))
    pong = loop.create_task(player(1, 0, n // 2))
    serves[0].set_result(0)
    expect(await ping + await pong, n)


@row("done-future", "await of a done future", n=1000, timed=300_000)
async def await_of_a_done_future(loop: Loop, n: int) -> None:
    """A future that has its result before it is awaited: nothing is scheduled."""
    total = 0
    for _ in range(n):
        future = loop.create_future()
        future.set_result(1)
        total += await future
    expect(total, n)


async def items() -> AsyncIterator[int]:
    for _ in range(ITEMS):
        yield 1


@row("async-generator", "async generator of ten items", n=500, timed=60_000)
async def async_generators(loop: Loop, n: int) -> None:
    """One made and iterated to its end: the loop is told of its beginning, and keeps track of it."""
    total = 0
    for _ in range(n):
        async for item in items():
            total += item
    expect(total, n * ITEMS)
