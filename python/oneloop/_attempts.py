"""Connecting to one of several addresses, by the loop's own ``sock_connect()``.

Every attempt has a ``socket.socket`` from its beginning and goes through ``loop.sock_connect()``, as asyncio's do:
audit hooks, a replaced ``socket.socket`` (proxies, tests without network) and an overridden ``sock_connect()`` are to
see each of them. That is why the engine's own ``net::connect``, which knows of no Python, is not used here.

An attempt answers with its socket, or with what failed, as values: an exception holds the frames that it went through,
so no frame may end that holds the exception, or only the garbage collector would find the two.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from ._addresses import AddressInfo
from ._checks import reason

_Outcome = tuple[socket.socket | None, list[OSError]]
_Attempt = Callable[[], Coroutine[Any, Any, _Outcome]]
# The attempts that are under way, each with the list that takes what fails in it.
_Running = dict[asyncio.Task[_Outcome], list[OSError]]


async def connect(
    loop: asyncio.AbstractEventLoop,
    infos: Sequence[AddressInfo],
    local_infos: Sequence[AddressInfo] | None,
    delay: float | None,
) -> _Outcome:
    """Return a socket that is connected to the first of ``infos`` that answers, or ``None``, and what failed before.

    Args:
        infos: where to connect, in the order of preference.
        local_infos: what to bind to before, the first that works; those of another family are passed over.
        delay: seconds after which the next address is tried beside those that do not answer (happy eyeballs, RFC
            8305); ``None`` tries one after the other.
    """
    attempts = [partial(_connect_one, loop, info, local_infos) for info in infos]
    return await (_one_by_one(attempts) if delay is None else _race(loop, attempts, delay))


async def _one_by_one(attempts: Sequence[_Attempt]) -> _Outcome:
    failures: list[OSError] = []
    failed: list[OSError] = []
    try:
        for attempt in attempts:
            sock, failed = await attempt()
            failures += failed
            if sock is not None:
                return sock, failures
        return None, failures
    finally:
        del failures, failed  # on 3.13 the frame that one was raised in may hold this one


async def _race(loop: asyncio.AbstractEventLoop, attempts: Sequence[_Attempt], delay: float) -> _Outcome:
    """Start an attempt whenever the latest one has failed or had its time, until one wins; the others end with it."""
    # A list for each attempt, so that the failures come in the order of the addresses.
    failures: list[list[OSError]] = [[] for _ in attempts]
    running: _Running = {}
    winner = None
    try:
        for attempt, failed in zip(attempts, failures, strict=True):
            latest = loop.create_task(attempt())
            running[latest] = failed
            winner = await _first_success(running, latest, loop.time() + delay)
            if winner is not None:
                break
        else:
            winner = await _first_success(running, None, None)
    finally:
        _call_off(running)
    return winner, [failure for failed in failures for failure in failed]


async def _first_success(
    running: _Running, latest: asyncio.Task[_Outcome] | None, deadline: float | None
) -> socket.socket | None:
    """Wait until a task succeeds, and return its socket; or ``None`` when ``latest`` has failed or the time is over.

    Tasks that are done leave ``running``.
    """
    loop = asyncio.get_running_loop()
    while running if latest is None else latest in running:
        left = None if deadline is None else deadline - loop.time()
        done, _ = await asyncio.wait(running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            return None
        # In the order of preference; of two that are connected at once the other one is called off.
        for task in [task for task in running if task in done]:
            winner = _take_outcome(task, running.pop(task))
            if winner is not None:
                return winner
    return None


def _take_outcome(task: asyncio.Task[_Outcome], failures: list[OSError]) -> socket.socket | None:
    """The socket of an attempt that is done, if it has one. A failure that is no ``OSError`` counts and is not told."""
    if task.cancelled() or isinstance(task.exception(), Exception):
        return None
    winner, failed = task.result()  # which raises SystemExit and KeyboardInterrupt
    failures += failed
    return winner


def _call_off(running: _Running) -> None:
    """End what is still being tried. Not awaited: whoever is cancelled meanwhile would lose the winner."""
    for task in running:
        task.add_done_callback(_close_result)
        task.cancel()


def _close_result(task: asyncio.Task[_Outcome]) -> None:
    # It may have been connected before it could be cancelled.
    if not task.cancelled() and task.exception() is None:
        winner, _ = task.result()
        if winner is not None:
            winner.close()


async def _connect_one(
    loop: asyncio.AbstractEventLoop, info: AddressInfo, local_infos: Sequence[AddressInfo] | None
) -> _Outcome:
    family, kind, proto, _, address = info
    failures: list[OSError] = []
    sock = None
    try:
        sock = socket.socket(family=family, type=kind, proto=proto)
        sock.setblocking(False)
        if local_infos is not None and not _bind_to_one(sock, local_infos, failures):
            sock.close()
            return None, failures
        await loop.sock_connect(sock, address)
    except BaseException as failure:
        if sock is not None:
            sock.close()
        if not isinstance(failure, OSError):
            raise
        failures.append(failure)
        return None, failures
    else:
        return sock, failures
    finally:
        del failures  # those that were raised hold this frame


def _bind_to_one(sock: socket.socket, local_infos: Sequence[AddressInfo], failures: list[OSError]) -> bool:
    """Bind to the first address of the socket's family that works; whether there was one. What fails is put down."""
    family = sock.family
    fitting = [address for local_family, _, _, _, address in local_infos if local_family == family]
    for address in fitting:
        try:
            sock.bind(address)
        except OSError as failure:
            message = f"error while attempting to bind on address {address!r}: {reason(failure)}"
            failures.append(OSError(failure.errno, message))
        else:
            return True
    if not fitting:
        failures.append(OSError(f"no matching local address with {family=} found"))
    return False
