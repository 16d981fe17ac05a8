"""The future of a job in an executor: `run_in_executor`'s answer, chained to the executor's own future.

What `asyncio.wrap_future` does, with fewer calls for what nearly every job is: an exact `concurrent.futures.Future`
that ends with a result. Everything else (errors, cancelled jobs, futures of other kinds) is asyncio's own code.

It needs three of asyncio's and concurrent.futures' private names. Where one is missing or works otherwise, which is
tried out at import, and with `ONELOOP_FAST_EXECUTOR=0` in the environment, `asyncio.wrap_future` does everything.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import os
from asyncio import events, futures
from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")

_SWITCH = "ONELOOP_FAST_EXECUTOR"

# asyncio's own way from a concurrent future to one of a loop's, errors and cancellation included.
_copy: Callable[[concurrent.futures.Future[Any], asyncio.Future[Any]], None] | None = getattr(
    futures, "_copy_future_state", None
)


class _Link:
    """What the job's future calls at its end. Like asyncio's, it does not hold that future, which keeps it for ever."""

    __slots__ = ("_destination", "_loop")

    def __init__(self, destination: asyncio.Future[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._destination = destination
        self._loop = loop

    def __call__(self, source: concurrent.futures.Future[Any]) -> None:
        """The job is done. Called on whatever thread ended it."""
        loop = self._loop
        if loop.is_closed():
            return
        if _SETTLES_AT_ONCE and events._get_running_loop() is loop:
            _settle(source, self._destination)
        else:
            loop.call_soon_threadsafe(_settle, source, self._destination)


def _settle(source: concurrent.futures.Future[Any], destination: asyncio.Future[Any]) -> None:
    # Ended for good, and read without the lock that each of the public methods takes, as 3.14's asyncio does.
    if source._state == "FINISHED" and source._exception is None and not destination.done():
        destination.set_result(source._result)
    elif _copy is not None:
        _copy(source, destination)


def _check_cancel(source: concurrent.futures.Future[Any], destination: asyncio.Future[Any]) -> None:
    """The loop's future is done: if by being cancelled, so is the job."""
    if destination.cancelled():
        source.cancel()


def wrap(source: concurrent.futures.Future[_T], loop: asyncio.AbstractEventLoop) -> asyncio.Future[_T]:
    """A future of ``loop``'s that ends as ``source`` does, and whose cancellation cancels it.

    Follows ``asyncio.wrap_future``.
    """
    if type(source) is not concurrent.futures.Future or not _IS_AS_KNOWN:
        return asyncio.wrap_future(source, loop=loop)
    destination: asyncio.Future[_T] = loop.create_future()
    destination.add_done_callback(functools.partial(_check_cancel, source))
    source.add_done_callback(_Link(destination, loop))
    return destination


def _settles_at_once() -> bool:
    """Whether asyncio needs no other turn of the loop if the job ends on the loop's own thread: from 3.14 on."""
    chain = getattr(futures, "_chain_future", None)
    codes = [code for code in chain.__code__.co_consts if hasattr(code, "co_names")] if chain else []
    return any("_get_running_loop" in code.co_names for code in codes)


def _is_as_known() -> bool:
    """Whether the private state of a concurrent future is what `_settle` takes it for."""
    if _copy is None or os.environ.get(_SWITCH) == "0":
        return False
    done: concurrent.futures.Future[object] = concurrent.futures.Future()
    failed: concurrent.futures.Future[object] = concurrent.futures.Future()
    before = getattr(done, "_state", None)
    result, error = object(), Exception()
    done.set_result(result)
    failed.set_exception(error)
    return (
        before != "FINISHED"
        and getattr(done, "_state", None) == "FINISHED"
        and getattr(done, "_result", None) is result
        and getattr(done, "_exception", error) is None
        and getattr(failed, "_exception", None) is error
    )


_SETTLES_AT_ONCE = _settles_at_once()
_IS_AS_KNOWN = _is_as_known()
