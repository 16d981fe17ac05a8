"""Names: ``getaddrinfo()`` and ``getnameinfo()``.

``socket``'s functions answer, as they are when they are asked: who has replaced one is called. What needs no lookup is
answered at once; the rest is asked for in threads of the loop's own, so that a slow resolver keeps nobody waiting who
wants to ``run_in_executor()``.
"""

from __future__ import annotations

import _socket
import asyncio
import contextlib
import operator
import re
import socket
from collections.abc import Callable
from types import BuiltinFunctionType
from typing import Any

from . import _core
from ._addresses import AddressInfo
from ._checks import logger

_Lookup = Callable[..., Any]
_Question = tuple[Any, Any, int, int, int, int]

_GETADDRINFO = socket.getaddrinfo
# Python's own, in both its layers, for which the C library may be asked directly.
_PYTHONS: Any = _GETADDRINFO if getattr(_GETADDRINFO, "__globals__", None) is vars(socket) else None
_PYTHONS_INNER: Any = _socket.getaddrinfo if isinstance(_socket.getaddrinfo, BuiltinFunctionType) else None

# What may be an address and not a name: the system decides, which is asked for an address only. It takes more for one
# than most people know (``1``, ``0x7f.1``).
_LIKE_A_LITERAL = re.compile(r"\d[\da-fx.]*|.*:.*", re.ASCII | re.IGNORECASE | re.DOTALL)

# As an int: the enumeration's own arithmetic makes other numbers of flags that it does not know.
_NUMERIC_HOST = int(socket.AI_NUMERICHOST)


class Names(_core.Loop, asyncio.AbstractEventLoop):
    """The loop's methods that ask for names."""

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002, asyncio's name
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Return the addresses of a host and a service. Follows ``asyncio.loop.getaddrinfo``.

        Args:
            host, port, family, type, proto, flags: as in ``socket.getaddrinfo()``.

        Raises:
            OSError: ``socket.gaierror``, as ``socket.getaddrinfo()``.
            RuntimeError: if the loop is closed.
        """
        lookup = socket.getaddrinfo
        question = (host, port, family, type, proto, flags)
        if self.get_debug():
            return await self._getaddrinfo_debug(lookup, question)
        answer = _without_lookup(lookup, question)
        if answer is None:
            answer = await self._ask_in_thread(lookup, *question)
        return answer

    async def _getaddrinfo_debug(self, lookup: _Lookup, question: _Question) -> list[AddressInfo]:
        text = _in_words(*question)
        logger().debug("Get address info %s", text)
        started = self.time()
        answer, elapsed = _without_lookup(lookup, question), self.time() - started
        if answer is None:
            answer, elapsed = await self._ask_in_thread(_timed, self.time, lookup, question)
        message = f"Getting address info {text} took {elapsed * 1e3:.3f}ms: {answer!r}"
        if elapsed >= self.slow_callback_duration:
            logger().info(message)
        else:
            logger().debug(message)
        return answer

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int = 0) -> tuple[str, str]:
        """Return the names of an address's host and service. Follows ``asyncio.loop.getnameinfo``.

        Args:
            sockaddr: an address of IPv4 or IPv6, whose host is a literal.
            flags: as in ``socket.getnameinfo()``.

        Raises:
            OSError: ``socket.gaierror``, as ``socket.getnameinfo()``.
            RuntimeError: if the loop is closed.
        """
        answer: tuple[str, str] = await self._ask_in_thread(socket.getnameinfo, sockaddr, flags)
        return answer


def _without_lookup(lookup: _Lookup, question: _Question) -> list[AddressInfo] | None:
    """What the question is answered with if no name is to be looked up for it; ``None`` if one is.

    That is, what the system answers if it is told to take the host for an address. Where it does, it would have said
    the same without being told.
    """
    if lookup is _PYTHONS and _socket.getaddrinfo is _PYTHONS_INNER:
        answer = _core._addresses_in_figures(*question)
        if answer is not None:
            return answer
    host, port, family, type_, proto, flags = question
    if lookup is not _GETADDRINFO or not _is_number(port):
        return None
    answer = None
    if host is None:
        answer = lookup(*question)
    elif _may_be_literal(host):
        # A name after all, or an error, which the question itself is to report.
        with contextlib.suppress(socket.gaierror):
            answer = lookup(host, port, family, type_, proto, operator.index(flags) | _NUMERIC_HOST)
    return answer


def _is_number(port: object) -> bool:
    """Whether a service needs no lookup."""
    if isinstance(port, str | bytes):
        return port.isdigit()
    return port is None or isinstance(port, int)


def _may_be_literal(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode("latin-1")
    return isinstance(host, str) and _LIKE_A_LITERAL.fullmatch(host) is not None


def _timed(time: Callable[[], float], lookup: _Lookup, question: _Question) -> tuple[list[AddressInfo], float]:
    started = time()
    return lookup(*question), time() - started


def _in_words(host: Any, port: Any, family: Any, type_: Any, proto: Any, flags: Any) -> str:
    """The question as asyncio's debug mode puts it."""
    given = {"family": family, "type": type_, "proto": proto, "flags": flags}
    return ", ".join([f"{host}:{port!r}", *(f"{name}={value!r}" for name, value in given.items() if value)])
