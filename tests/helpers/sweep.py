"""Cancel a call at each of its suspension points, and a little later each time, and look at what is left.

A call is run again and again. In the run (k, d) its task is cancelled when it has suspended k times and the loop has
made d more iterations, so that for some d what it waits for has happened and it was not told yet. The sweep ends when
the call comes to its end in fewer than k suspensions. After each run the descriptors of the process and the tasks of
the loop are what they were, a cancellation was never swallowed, and the loop goes on.

asyncio itself may take a byte from the kernel for a call that is cancelled before it hears of it, and leave a socket to
the collector. Its half shows that a sweep is sound; ours has to do better, which is what `strict` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import socket
import time
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest

from helpers.descriptors import none_left
from helpers.loops import goes_on, run_once, steps
from helpers.peers import abstract_name

DELAYS = 5
LIMIT = 10.0

HOST = "127.0.0.1"
DATA = bytes(number % 251 for number in range(700_000))


def _nothing(_: object) -> None:
    pass


@dataclasses.dataclass
class Swept:
    """A call with the world around it, made anew for each run."""

    call: Callable[[], Coroutine[Any, Any, Any]]
    # What others do meanwhile, before each iteration; it is given the iteration's number.
    help: Callable[[int], object] = _nothing
    # What must hold when the call was cancelled: nothing is lost, everything can be done again.
    cancelled: Callable[[asyncio.AbstractEventLoop], object] = _nothing
    # What must hold when it was not.
    finished: Callable[[Any], object] = _nothing


class _Counted:
    """A coroutine whose suspensions are counted."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine, self.suspensions = coroutine, 0

    async def run(self) -> Any:
        return await self._drive()

    @types.coroutine
    def _drive(self) -> Generator[Any, Any, Any]:
        advance: Callable[[], Any] = lambda: self.coroutine.send(None)  # noqa: E731
        while True:
            try:
                awaited = advance()
            except StopIteration as end:
                return end.value
            self.suspensions += 1
            try:
                yield awaited
            except BaseException as exc:
                advance = lambda exc=exc: self.coroutine.throw(exc)  # type: ignore[misc]  # noqa: E731
            else:
                advance = lambda: self.coroutine.send(None)  # noqa: E731


def _run(loop: asyncio.AbstractEventLoop, swept: Swept, k: int, d: int) -> bool:
    """One run; whether it was cancelled."""
    counted = _Counted(swept.call())
    task = loop.create_task(counted.run())
    deadline, iteration, later = time.monotonic() + LIMIT, 0, 0
    while not task.done():
        if counted.suspensions >= k:
            if later == d:
                break
            later += 1
        swept.help(iteration)
        run_once(loop)
        iteration += 1
        assert time.monotonic() < deadline, "the call did not come to its end"
    if task.done():
        swept.finished(task.result())
        return False
    assert task.cancel("swept")
    while not task.done():
        run_once(loop)
        assert time.monotonic() < deadline, "the call did not end when it was cancelled"
    assert task.cancelled(), "the cancellation was swallowed"
    # Its exception holds frames, and they sockets.
    del task, counted
    swept.cancelled(loop)
    return True


def sweep(
    loop: asyncio.AbstractEventLoop,
    make: Callable[[asyncio.AbstractEventLoop, contextlib.ExitStack], Swept],
    *,
    collect: bool = False,
    delays: int = DELAYS,
) -> int:
    """Sweep a call; return at how many points it was cancelled. `collect` lets the collector close what was left;
    `delays` is more where others have more to do while the call waits."""
    run_once(loop)
    cancelled, k = 0, 1
    while True:
        hit = 0
        for d in range(delays):
            with none_left(collect=collect), contextlib.ExitStack() as stack:
                swept = make(loop, stack)
                hit += _run(loop, swept, k, d)
                del swept
                stack.close()
                steps(loop, 4)
                assert asyncio.all_tasks(loop) == set()
        goes_on(loop)
        if not hit:
            return cancelled
        cancelled += hit
        k += 1
        assert k < 100


Make = Callable[[asyncio.AbstractEventLoop, contextlib.ExitStack, bool], Swept]


def sweep_on(
    loop_name: str,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    monkeypatch: pytest.MonkeyPatch,
    make: Make,
    *,
    never_suspends: bool = False,
    asyncio_fails: bool = False,
) -> None:
    """Sweep a call on a new loop of this kind. `asyncio_fails` if asyncio's own is known to leave something."""
    strict = loop_name == "oneloop"
    if not strict:
        # What asyncio leaves to the collector it warns about.
        monkeypatch.setattr("sys.unraisablehook", lambda *_: None)
    with contextlib.closing(loop_factory()) as loop:
        # So that its threads are there before anything is counted.
        run(loop, loop.getaddrinfo("localhost", 80))
        loop.run_until_complete(loop.run_in_executor(None, int))
        faults = (AssertionError,) if asyncio_fails and not strict else ()
        with contextlib.suppress(*faults):
            points = sweep(loop, lambda loop, stack: make(loop, stack, strict), collect=not strict)
            assert points > 0 or never_suspends
        run(loop, loop.shutdown_default_executor())
    if not strict:
        gc.collect()


# What the calls that are swept need.


def run(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run something that is not swept, for a moment."""
    return loop.run_until_complete(asyncio.wait_for(coroutine, 5))


def listener(stack: contextlib.ExitStack, family: int = socket.AF_INET) -> socket.socket:
    """A socket that listens, and whoever connects is in its queue."""
    made = stack.enter_context(socket.socket(family))
    made.bind((HOST, 0) if family == socket.AF_INET else abstract_name())
    made.listen()
    made.setblocking(False)
    return made


def hung_up(loop: asyncio.AbstractEventLoop, server: socket.socket, strict: bool) -> None:
    """Whoever connected to this listener has gone again."""
    steps(loop, 4)
    if not strict:
        gc.collect()
    with contextlib.suppress(BlockingIOError):
        while True:
            end, _ = server.accept()
            with end, contextlib.suppress(ConnectionResetError):
                end.settimeout(5)
                assert end.recv(1) == b""


def close_server(server: asyncio.Server) -> None:
    """What becomes of a server that was made after all."""
    assert server.is_serving() in (True, False)
    server.close()


def equal(one: object, other: object) -> None:
    """An assertion, as an expression."""
    assert one == other
