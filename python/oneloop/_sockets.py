"""The ``sock_*`` methods that are more than one attempt after another: connecting to a name, and sending a file.

The rest of them is native. What users see is asyncio's: which addresses are resolved, when a file is sent by the system
and when by hand, where its position is afterwards, and the messages.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import socket
from asyncio import base_events, constants, unix_events
from typing import Any

from . import _addresses, _core
from ._checks import refuse_ssl_socket

_MOST_AT_ONCE = 2**30
"""How much of a file the system is asked to send at once, so that it cannot overflow anywhere."""

# The name that is looked up first says whether it seeks whatever the offset is, or only to one that is not zero (up to
# 3.13): then a file that stands elsewhere is sent from there.
_FALLBACK = vars(base_events.BaseEventLoop).get("_sock_sendfile_fallback")
_ALWAYS_SEEKS: bool = _FALLBACK is None or _FALLBACK.__code__.co_names[0] == "hasattr"
# Where the system sends it, the file's position is set even if nothing was sent, unless it is asked how much was.
_UPDATE = vars(unix_events.SelectorEventLoop).get("_sock_sendfile_update_filepos")
_ALWAYS_SETS_POSITION: bool = _UPDATE is None or "total_sent" not in _UPDATE.__code__.co_varnames


class Sockets(_core.Loop, asyncio.AbstractEventLoop):
    """The loop's methods on sockets of the user's that are written in Python."""

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a non-blocking socket. Follows ``asyncio.loop.sock_connect``.

        Args:
            sock: of any family; it stays the caller's.
            address: what ``sock.connect()`` takes. Of an IPv4 or IPv6 socket, a host's name is resolved by
                ``getaddrinfo()``.

        Raises:
            TypeError: for a TLS socket.
            ValueError: in debug mode, for a socket that blocks.
            OSError: if it cannot be connected. Where a Unix server's backlog is full, that is ``BlockingIOError``.
        """
        refuse_ssl_socket(sock)
        _refuse_blocking(self, sock)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            infos = await _addresses.resolve(self, address, family=sock.family, kind=sock.type, proto=sock.proto)
            address = infos[0][4]
        await self._sock_connect(sock, address)

    async def sock_sendfile(
        self,
        sock: socket.socket,
        file: Any,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool | None = True,
    ) -> int:
        """Send a file over a stream socket; return how much was sent. Follows ``asyncio.loop.sock_sendfile``.

        The system does it where it can. Afterwards the file stands behind what was sent, also if that was less than
        asked for.

        Args:
            sock: a connected non-blocking stream socket; it stays the caller's.
            file: opened in binary mode.
            offset: where to begin.
            count: how much; ``None`` is up to the file's end.
            fallback: whether to read and send by hand where the system cannot do it.

        Raises:
            TypeError, ValueError: for wrong arguments.
            asyncio.SendfileNotAvailableError: if the system cannot do it, and it is not to be done by hand.
            OSError: if the connection fails.
        """
        _refuse_blocking(self, sock)
        refuse_ssl_socket(sock)
        _check_sendfile_arguments(sock, file, offset, count)
        try:
            sent: int = await self._sock_sendfile_native(sock, file, offset, count)
        except asyncio.SendfileNotAvailableError:
            if not fallback:
                raise
            sent = await self._sock_sendfile_fallback(sock, file, offset, count)
        return sent

    async def _sock_sendfile_native(self, sock: socket.socket, file: Any, offset: int, count: int | None) -> int:
        if not hasattr(os, "sendfile"):
            raise asyncio.SendfileNotAvailableError("os.sendfile() is not available")
        try:
            source = file.fileno()
        except (AttributeError, io.UnsupportedOperation):
            raise asyncio.SendfileNotAvailableError("not a regular file") from None
        try:
            size = os.fstat(source).st_size
        except OSError:
            raise asyncio.SendfileNotAvailableError("not a regular file") from None
        at_once = count or size
        if not at_once:
            return 0
        sent = 0
        try:
            while True:
                if count:
                    at_once = count - sent
                    if at_once <= 0:
                        return sent
                now = _send_part(sock, source, offset + sent, min(at_once, _MOST_AT_ONCE), sent)
                if now == 0:
                    return sent
                sent += now or 0
                await self._sock_writable(sock)
        finally:
            if sent > 0 or _ALWAYS_SETS_POSITION:
                os.lseek(source, offset + sent, os.SEEK_SET)

    async def _sock_sendfile_fallback(self, sock: socket.socket, file: Any, offset: int, count: int | None) -> int:
        if hasattr(file, "seek") if _ALWAYS_SEEKS else offset:
            file.seek(offset)
        at_once: int = vars(constants)["SENDFILE_FALLBACK_READBUFFER_SIZE"]
        buffer = memoryview(bytearray(min(count, at_once) if count else at_once))
        sent = 0
        try:
            while not count or sent < count:
                part = buffer[: count - sent] if count else buffer
                read = await self.run_in_executor(None, file.readinto, part)
                if not read:
                    break
                await self.sock_sendall(sock, part[:read])
                sent += read
            return sent
        finally:
            if sent > 0 and hasattr(file, "seek"):
                file.seek(offset + sent)


def _refuse_blocking(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    if loop.get_debug() and sock.gettimeout() != 0:
        raise ValueError("the socket must be non-blocking")


def _check_sendfile_arguments(sock: socket.socket, file: Any, offset: int, count: int | None) -> None:
    if "b" not in getattr(file, "mode", "b"):
        raise ValueError("file should be opened in binary mode")
    if sock.type != socket.SOCK_STREAM:
        raise ValueError("only SOCK_STREAM type sockets are supported")
    if count is not None:
        if not isinstance(count, int):
            raise TypeError(f"count must be a positive integer (got {count!r})")
        if count <= 0:
            raise ValueError(f"count must be a positive integer (got {count!r})")
    if not isinstance(offset, int):
        raise TypeError(f"offset must be a non-negative integer (got {offset!r})")
    if offset < 0:
        raise ValueError(f"offset must be a non-negative integer (got {offset!r})")


def _send_part(sock: socket.socket, source: int, offset: int, size: int, sent_before: int) -> int | None:
    """Return how much the system sent, zero at the file's end, ``None`` if it would block.

    What fails at the very beginning may be the file's fault: then it is to be sent by hand, which reports what is
    the socket's.
    """
    try:
        return os.sendfile(sock.fileno(), source, offset, size)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError as error:
        if sent_before == 0:
            raise asyncio.SendfileNotAvailableError("os.sendfile call failed") from None
        if error.errno == errno.ENOTCONN and type(error) is not ConnectionError:
            # As on all systems: the connection was closed meanwhile.
            raise ConnectionError("socket is not connected", errno.ENOTCONN) from error
        raise
