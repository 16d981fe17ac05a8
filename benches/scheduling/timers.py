"""Rows: timers that are set, cancelled and fired."""

from __future__ import annotations

import asyncio
import time
from itertools import count

from benches.scheduling.row import BATCH, Loop, expect, row


@row("timer-cancel", "call_later and cancel", n=2 * BATCH, timed=100 * BATCH, target=1.2, quick=True)
async def timers_cancelled(loop: Loop, n: int) -> None:
    """A timeout that was not needed. The loop ticks between batches, since some clean up there."""
    fired = count()
    for _ in range(n // BATCH):
        for _ in range(BATCH):
            loop.call_later(60, fired.__next__).cancel()
        await asyncio.sleep(0)
    expect(next(fired), 0)


@row("timer-due", "call_later(0), chain", n=1000, timed=60_000, target=1.2)
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


# On a real clock the deadlines pass in 20 ms, which some loops take for twenty different ones.
SOON = {"ahead": 0.02, "apart": 20e-6}
ROUNDED = 0.002  # how much later than it said a timer may fire where deadlines are rounded up


@row(
    "timer-fire",
    "timers set and fired, 1,000 at once",
    n=2 * BATCH,
    timed=20 * BATCH,
    target=1.2,
    on_the_clock=SOON,
    seconds=0.045,
    rounds=12,
)
async def timers_fired(loop: Loop, n: int, ahead: float = 1.0, apart: float = 0.01) -> None:
    """A thousand different deadlines, set in mixed order, which all pass while the thread sleeps.

    They lie ten milliseconds apart where that costs nothing, which is on the clock that clock.c provides: some loops
    round deadlines to milliseconds, and a delay of less to no timer at all.
    """
    fired = count()
    for _ in range(n // BATCH):
        now = loop.time()
        for i in range(BATCH):
            loop.call_at(now + ahead + i * 617 % BATCH * apart, fired.__next__)
        time.sleep(ahead + BATCH * apart + ROUNDED)  # noqa: ASYNC251 - the loop is to miss every deadline
        # Twice: some loops look at their timers only after what was ready before.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    expect(next(fired), n)


@row("timeout", "asyncio.timeout, not needed", n=1000, timed=30_000, target=1.1)
async def timeout_not_needed(loop: Loop, n: int) -> None:
    """A block under a timeout that gives way once and ends in time."""
    for _ in range(n):
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
