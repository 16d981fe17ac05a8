"""The rows: what one operation is, as small programs that any event loop can run.

Each row is a coroutine function of `(loop, n)` which performs `n` operations and checks that all of
them happened. Rows know neither valgrind nor how loops are made: `run` takes a loop factory, and
tells a `Meter` where counting begins and ends.

Callbacks are as cheap as they can be (a C method that counts its calls) wherever an operation does
not need Python code, so that the figure is the loop's and not the callback's.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Protocol

Loop = asyncio.AbstractEventLoop
Program = Callable[[Loop, int], Awaitable[None]]

BATCH = 1000


class Meter(Protocol):
    """Where counting begins and ends."""

    def begin(self) -> None: ...

    def end(self, name: str) -> None: ...


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    key: str
    title: str
    n: int
    program: Program


ROWS: dict[str, Row] = {}


def row(key: str, title: str, n: int) -> Callable[[Program], Program]:
    def register(program: Program) -> Program:
        ROWS[key] = Row(key, title, n, program)
        return program

    return register


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


def expect(happened: int, wanted: int) -> None:
    """A loop that lost an operation, or ran one twice, has no figure."""
    if happened != wanted:
        raise RuntimeError(f"{happened} operations ran where {wanted} were asked for")


@row("chain", "call_soon, chain", 1000)
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


@row("batch", "call_soon, batch of 1,000", 2 * BATCH)
async def call_soon_batch(loop: Loop, n: int) -> None:
    """A thousand callbacks that one tick runs."""
    calls = count()
    for _ in range(n // BATCH):
        for _ in range(BATCH):
            loop.call_soon(calls.__next__)
        await asyncio.sleep(0)
    expect(next(calls), n)


@row("sleep0", "sleep(0)", 1000)
async def sleep_zero(loop: Loop, n: int) -> None:
    """A task that gives way: one task step and one tick."""
    for _ in range(n):
        await asyncio.sleep(0)


@row("pingpong", "future ping-pong", 1000)
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


@row("spawn", "spawn and await a task", 1000)
async def spawn_and_await(loop: Loop, n: int) -> None:
    """A task that returns at once, made and awaited."""

    async def one() -> int:
        return 1

    total = 0
    for _ in range(n):
        total += await loop.create_task(one())
    expect(total, n)


@row("timer-cancel", "call_later and cancel", 2 * BATCH)
async def timers_cancelled(loop: Loop, n: int) -> None:
    """A timeout that was not needed. The loop ticks between batches, since some clean up there."""
    fired = count()
    for _ in range(n // BATCH):
        for _ in range(BATCH):
            loop.call_later(60, fired.__next__).cancel()
        await asyncio.sleep(0)
    expect(next(fired), 0)


@row("timer-due", "call_later(0), chain", 1000)
async def timers_due_at_once(loop: Loop, n: int) -> None:
    """A timer that is due as soon as it is set, which sets the next one."""
    done = loop.create_future()

    def step(left: int) -> None:
        if left:
            loop.call_later(0, step, left - 1)
        else:
            done.set_result(None)

    loop.call_later(0, step, n - 1)
    await done


@row("timer-fire", "timers set and fired, 1,000 at once", 2 * BATCH)
async def timers_fired(loop: Loop, n: int) -> None:
    """A thousand different deadlines, set in mixed order, which all pass while the thread sleeps.

    They lie ten milliseconds apart: some loops round deadlines to milliseconds, and a delay of less
    to no timer at all. The sleep costs nothing on the clock that clock.c provides.
    """
    ahead, apart = 1.0, 0.01
    fired = count()
    for _ in range(n // BATCH):
        now = loop.time()
        for i in range(BATCH):
            loop.call_at(now + ahead + i * 617 % BATCH * apart, fired.__next__)
        time.sleep(ahead + BATCH * apart)  # noqa: ASYNC251 - the loop is to miss every deadline
        # Twice: some loops look at their timers only after what was ready before.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    expect(next(fired), n)


@row("threadsafe", "call_soon_threadsafe, own thread", 2 * BATCH)
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


@row("threadsafe-thread", "call_soon_threadsafe, other thread", 2 * BATCH)
async def threadsafe_from_other_thread(loop: Loop, n: int) -> None:
    """A batch that another thread posts while the loop is busy.

    The loop's thread waits inside a task until the batch is posted, so the two never race, and the
    loop is never parked: this is the price of a post, without that of waking a sleeping loop.
    """
    calls = count()
    post, posted = threading.Semaphore(0), threading.Semaphore(0)
    last = loop.create_future()

    def poster() -> None:
        for _ in range(n // BATCH):
            post.acquire()
            for _ in range(BATCH - 1):
                loop.call_soon_threadsafe(calls.__next__)
            loop.call_soon_threadsafe(last.set_result, None)
            posted.release()

    thread = threading.Thread(target=poster)
    thread.start()
    for _ in range(n // BATCH):
        post.release()
        posted.acquire()
        await last
        last = loop.create_future()
    thread.join()
    expect(next(calls), n - n // BATCH)
