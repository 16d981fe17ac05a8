"""Rows: other threads that post to the loop, and work that it hands to them."""

from __future__ import annotations

import threading
from itertools import count

from benches.scheduling.row import BATCH, Loop, expect, row


@row("threadsafe-thread", "call_soon_threadsafe, one thread", n=2 * BATCH, timed=100 * BATCH, target=1.2, pinned=False)
async def threadsafe_from_other_thread(loop: Loop, n: int) -> None:
    """A batch that another thread posts while the loop is busy."""
    await posted_by(1, loop, n)


@row("threadsafe-four", "call_soon_threadsafe, four threads", n=2 * BATCH, timed=100 * BATCH, target=1.2, pinned=False)
async def threadsafe_from_four_threads(loop: Loop, n: int) -> None:
    """The same batch, a quarter from each of four threads."""
    await posted_by(4, loop, n)


async def posted_by(threads: int, loop: Loop, n: int) -> None:
    """The loop's thread waits inside a task until the batch is posted, so it never races with the others.

    It is never parked either: this is the price of a post, without that of waking a sleeping loop.
    """
    calls = count()
    post, posted = [threading.Semaphore(0) for _ in range(threads)], threading.Semaphore(0)
    each = BATCH // threads

    def poster(turn: threading.Semaphore) -> None:
        for _ in range(n // BATCH):
            turn.acquire()
            for _ in range(each - 1):
                loop.call_soon_threadsafe(calls.__next__)
            loop.call_soon_threadsafe(arrived)
            posted.release()

    last, left = loop.create_future(), threads

    def arrived() -> None:
        nonlocal left
        left -= 1
        if not left:
            last.set_result(None)

    started = [threading.Thread(target=poster, args=(turn,)) for turn in post]
    for thread in started:
        thread.start()
    for _ in range(n // BATCH):
        for turn in post:
            turn.release()
        for _ in post:
            posted.acquire()
        await last
        last, left = loop.create_future(), threads
    for thread in started:
        thread.join()
    expect(next(calls), n - n // BATCH * threads)


@row("executor", "run_in_executor, round trip", n=500, timed=4000, target=1.2, pinned=False)
async def executor_round_trip(loop: Loop, n: int) -> None:
    """A function that does nothing, in the default executor; the loop parks meanwhile."""
    total = 0
    for _ in range(n):
        total += await loop.run_in_executor(None, one)
    expect(total, n)


def one() -> int:
    return 1
