"""Connecting to one of several addresses, by the loop's own ``sock_connect()``.

Every attempt has a ``socket.socket`` from its beginning and goes through ``loop.sock_connect()``, as asyncio's do:
audit hooks, a replaced ``socket.socket`` (proxies, tests without network) and an overridden ``sock_connect()`` are to
see each of them. That is why the engine's own ``net::connect``, which knows of no Python, is not used here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ._addresses import AddressInfo
from ._checks import reason

_Attempt = Callable[[], Coroutine[Any, Any, socket.socket]]


async def connect(
    loop: asyncio.AbstractEventLoop,
    infos: Sequence[AddressInfo],
    local_infos: Sequence[AddressInfo] | None,
    delay: float | None,
) -> tuple[socket.socket | None, list[OSError]]:
    """Return a socket that is connected to the first of ``infos`` that answers, or ``None``, and what failed before.

    Args:
        infos: where to connect, in the order of preference.
        local_infos: what to bind to before, the first that works; those of another family are passed over.
        delay: seconds after which the next address is tried beside those that do not answer (happy eyeballs, RFC
            8305); ``None`` tries one after the other.
    """
    # A list for each attempt, so that the failures come in the order of the addresses.
    failures: list[list[OSError]] = [[] for _ in infos]

    def attempt(info: AddressInfo, failed: list[OSError]) -> _Attempt:
        return lambda: _connect_one(loop, info, local_infos, failed)

    attempts = [attempt(info, failed) for info, failed in zip(infos, failures, strict=True)]
    sock = await (_one_by_one(attempts) if delay is None else _race(loop, attempts, delay))
    return sock, [failure for failed in failures for failure in failed]


async def _one_by_one(attempts: list[_Attempt]) -> socket.socket | None:
    for attempt in attempts:
        with contextlib.suppress(OSError):
            return await attempt()
    return None


async def _race(loop: asyncio.AbstractEventLoop, attempts: list[_Attempt], delay: float) -> socket.socket | None:
    """Start an attempt whenever the latest one has failed or had its time, until one wins; the others end with it."""
    running: list[asyncio.Task[socket.socket]] = []
    try:
        for attempt in attempts:
            latest = loop.create_task(attempt())
            running.append(latest)
            winner = await _first_success(running, latest, loop.time() + delay)
            if winner is not None:
                return winner
        return await _first_success(running, None, None)
    finally:
        _call_off(running)


async def _first_success(
    running: list[asyncio.Task[socket.socket]], latest: asyncio.Task[socket.socket] | None, deadline: float | None
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
            running.remove(task)
            with contextlib.suppress(OSError):
                return task.result()
    return None


def _call_off(running: list[asyncio.Task[socket.socket]]) -> None:
    """End what is still being tried. Not awaited: whoever is cancelled meanwhile would lose the winner."""
    for task in running:
        task.add_done_callback(_close_result)
        task.cancel()


def _close_result(task: asyncio.Task[socket.socket]) -> None:
    # It may have been connected before it could be cancelled.
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _connect_one(
    loop: asyncio.AbstractEventLoop,
    info: AddressInfo,
    local_infos: Sequence[AddressInfo] | None,
    failures: list[OSError],
) -> socket.socket:
    family, kind, proto, _, address = info
    try:
        sock = socket.socket(family=family, type=kind, proto=proto)
    except OSError as failure:
        failures.append(failure)
        raise
    try:
        sock.setblocking(False)
        if local_infos is not None:
            _bind_to_one(sock, local_infos, failures)
        await loop.sock_connect(sock, address)
    except BaseException as failure:
        sock.close()
        if isinstance(failure, OSError) and failure not in failures:
            failures.append(failure)
        raise
    return sock


def _bind_to_one(sock: socket.socket, local_infos: Sequence[AddressInfo], failures: list[OSError]) -> None:
    family = sock.family
    failed = None
    for local_family, _, _, _, address in local_infos:
        if local_family != family:
            continue
        try:
            sock.bind(address)
        except OSError as failure:
            message = f"error while attempting to bind on address {address!r}: {reason(failure)}"
            failed = OSError(failure.errno, message)
            failures.append(failed)
        else:
            return
    raise failed or OSError(f"no matching local address with {family=} found")
