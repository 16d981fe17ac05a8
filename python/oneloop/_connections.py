"""Connecting: ``create_connection()`` and the other calls that make one transport and its protocol.

Arguments are checked here, with asyncio's messages, and what a program may override is awaited here; the network is
native.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import socket
import sys
from asyncio import base_events
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from . import _addresses, _attempts, _core
from ._addresses import AddressInfo
from ._checks import (
    check_tls_timeouts,
    logger,
    refuse_ssl_socket,
    require_stream_socket,
    require_unix_socket,
)
from ._sockets import Sockets
from ._tls import Tls

# As an int: what becomes of it is a number, and enumerations are looked at by Python code.
_TCP = int(socket.IPPROTO_TCP)
# Where the system makes sockets that do not block, that is a system call less than to tell them so.
_NONBLOCK = int(getattr(socket, "SOCK_NONBLOCK", 0))
_STREAM_NONBLOCK = int(socket.SOCK_STREAM) | _NONBLOCK
_SOCKET = socket.socket

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)

# From 3.15 on all callbacks of a connection run in one copy of the context in which it was asked for; before, each in
# one of its own.
_ONE_CONTEXT = sys.version_info >= (3, 15)


def _closes_given() -> bool:
    """Whether this asyncio closes a given socket too if it cannot make the transport: some patch of 3.14 began it."""

    class Given:
        is_closed = False

        def setblocking(self, flag: bool) -> None:
            pass

        def close(self) -> None:
            self.is_closed = True

    given = Given()
    asyncio_loop: Any = base_events.BaseEventLoop
    # It fails, since None makes no protocol; or since the method is another one, in an asyncio that is not known yet.
    with contextlib.suppress(Exception):
        asyncio_loop._create_connection_transport(None, given, None, None, None).send(None)
    return given.is_closed


_CLOSES_GIVEN = _closes_given()


class Connections(Tls):
    """The loop's methods that make one connection."""

    async def create_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        host: str | bytes | None = None,
        port: str | bytes | int | None = None,
        *,
        ssl: Any = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: socket.socket | None = None,
        local_addr: tuple[Any, ...] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """Connect a stream to ``host`` and ``port``, or take a socket that is connected.

        Follows ``asyncio.loop.create_connection``.

        Args:
            protocol_factory: makes the protocol once the connection stands.
            host, port: where to; a name or a literal, a number or a service's name.
            ssl: an ``ssl.SSLContext``, or ``True`` for the default one: the connection begins with TLS.
            server_hostname: the name that the server is to show a certificate for; ``host`` by default.
            ssl_handshake_timeout: seconds after which a handshake is given up; 60 by default.
            ssl_shutdown_timeout: seconds after which a connection that is being closed is aborted; 30 by default.
            family, proto, flags: as in ``socket.getaddrinfo()``.
            sock: a connected stream socket, instead of host and port; it becomes the transport's.
            local_addr: host and port to bind to.
            happy_eyeballs_delay: seconds after which the next address is tried as well (RFC 8305); ``None`` tries one
                address after the other.
            interleave: how many addresses of the first family come before the families take turns; 1 if a delay is
                given.
            all_errors: raise an ``ExceptionGroup`` of everything that failed.

        Raises:
            OSError: if no address could be connected to.
            ValueError: if arguments contradict each other.
        """
        if server_hostname is not None and not ssl:
            raise ValueError("server_hostname is only meaningful with ssl")
        if server_hostname is None and ssl and not host:
            raise ValueError("You must set server_hostname when using ssl without a host")
        check_tls_timeouts(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        is_ours = sock is None
        if sock is not None:
            refuse_ssl_socket(sock)
        if host is not None or port is not None:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            literal = None
            if local_addr is None and happy_eyeballs_delay is None and not all_errors and self._connects_itself():
                literal = _core._literal(host, port, family, proto)
                if literal is None:
                    info = _addresses.literal(host, port, family, socket.SOCK_STREAM, proto)
                    literal = None if info is None else (info[0], info[4])
            if literal is not None:
                sock = await self._connect_literal(*literal)
            else:
                hints = {"family": family, "proto": proto, "flags": flags}
                infos = await self._resolve_or_fail((host, port), hints)
                local_infos = None if local_addr is None else await self._resolve_or_fail(local_addr, hints)
                if interleave is None and happy_eyeballs_delay is not None:
                    interleave = 1
                if interleave:
                    infos = _addresses.interleave(infos, interleave)
                sock = await self._connect(infos, local_infos, happy_eyeballs_delay, all_errors)
        elif sock is None:
            raise ValueError("host and port was not specified and no sock specified")
        else:
            require_stream_socket(sock)

        name = host if server_hostname is None else server_hostname
        tls = (False, name, ssl_handshake_timeout, ssl_shutdown_timeout)
        transport, protocol = await self._make_connection(sock, protocol_factory, is_ours, ssl, tls)
        if self.get_debug():
            sock = transport.get_extra_info("socket")
            logger().debug("%r connected to %s:%r: (%r, %r)", sock, host, port, transport, protocol)
        return transport, protocol

    async def create_unix_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        path: str | bytes | os.PathLike[str] | None = None,
        *,
        ssl: Any = None,
        sock: socket.socket | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """Connect a stream to the Unix socket at ``path``, or take a Unix socket that is connected.

        Follows ``asyncio.loop.create_unix_connection``.

        Args:
            protocol_factory: makes the protocol once the connection stands.
            path: a path, or the name of an abstract socket, which begins with a zero byte.
            ssl, ssl_handshake_timeout, ssl_shutdown_timeout: as in ``create_connection()``.
            server_hostname: the name that the server is to show a certificate for; ``""`` is any.
            sock: a connected Unix stream socket, instead of a path; it becomes the transport's.

        Raises:
            OSError: if nobody listens there.
            ValueError: if arguments contradict each other.
        """
        if ssl and server_hostname is None:
            raise ValueError("you have to pass server_hostname when using ssl")
        if server_hostname is not None and not ssl:
            raise ValueError("server_hostname is only meaningful with ssl")
        check_tls_timeouts(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        is_ours = sock is None
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                await self.sock_connect(sock, os.fspath(path))
            except BaseException:
                sock.close()
                raise
        elif sock is None:
            raise ValueError("no path and sock were specified")
        else:
            require_unix_socket(sock)
        tls = (False, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
        return await self._make_connection(sock, protocol_factory, is_ours, ssl, tls)

    async def connect_accepted_socket(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        sock: socket.socket,
        *,
        ssl: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """Take a connection that was accepted elsewhere. Follows ``asyncio.loop.connect_accepted_socket``.

        Args:
            protocol_factory: makes the protocol.
            sock: a connected stream socket; it becomes the transport's.
            ssl: an ``ssl.SSLContext``: the connection begins with TLS, of which this side is the server.
            ssl_handshake_timeout, ssl_shutdown_timeout: as in ``create_connection()``.

        Raises:
            ValueError: if it is no stream socket.
        """
        require_stream_socket(sock)
        check_tls_timeouts(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        refuse_ssl_socket(sock)
        tls = (True, "", ssl_handshake_timeout, ssl_shutdown_timeout)
        transport, protocol = await self._make_connection(sock, protocol_factory, False, ssl, tls)
        if self.get_debug():
            logger().debug("%r handled: (%r, %r)", transport.get_extra_info("socket"), transport, protocol)
        return transport, protocol

    async def connect_read_pipe(
        self, protocol_factory: Callable[[], _ProtocolT], pipe: Any
    ) -> tuple[asyncio.ReadTransport, _ProtocolT]:
        """Read from the pipe, socket or character device ``pipe``. Follows ``asyncio.loop.connect_read_pipe``.

        Args:
            protocol_factory: makes the protocol.
            pipe: a file object with ``fileno()`` and ``close()``; it becomes the transport's.

        Raises:
            ValueError: if it is a file of another kind.
        """
        protocol = protocol_factory()
        waiter = self.create_future()
        transport = self._make_read_pipe_transport(pipe, protocol, waiter)
        await _connected(transport, waiter)
        if self.get_debug():
            logger().debug("Read pipe %r connected: (%r, %r)", pipe.fileno(), transport, protocol)
        return transport, protocol

    async def connect_write_pipe(
        self, protocol_factory: Callable[[], _ProtocolT], pipe: Any
    ) -> tuple[asyncio.WriteTransport, _ProtocolT]:
        """Write to the pipe, socket or character device ``pipe``. Follows ``asyncio.loop.connect_write_pipe``.

        Args:
            protocol_factory: makes the protocol.
            pipe: a file object with ``fileno()`` and ``close()``; it becomes the transport's.

        Raises:
            ValueError: if it is a file of another kind.
        """
        protocol = protocol_factory()
        waiter = self.create_future()
        transport = self._make_write_pipe_transport(pipe, protocol, waiter)
        await _connected(transport, waiter)
        if self.get_debug():
            logger().debug("Write pipe %r connected: (%r, %r)", pipe.fileno(), transport, protocol)
        return transport, protocol

    async def _resolve_or_fail(self, address: tuple[Any, ...], hints: dict[str, int]) -> Sequence[AddressInfo]:
        infos = await _addresses.resolve(self, address, **hints)
        if not infos:
            raise OSError("getaddrinfo() returned empty list")
        return infos

    def _connects_itself(self) -> bool:
        """Whether ``sock_connect()`` is the loop's own: one in its place would have to be called."""
        return type(self).sock_connect is Sockets.sock_connect and "sock_connect" not in self.__dict__

    async def _connect_literal(self, family: int, address: Any) -> socket.socket:
        """Connect to the one address that there is.

        What ``_connect()`` does of one address, without resolving again what is resolved: programs connect to literals
        more often than to all else.
        """
        # A class in the place of Python's own (a proxy's) is asked for what asyncio asks for.
        blocks = socket.socket is not _SOCKET or not _NONBLOCK
        sock = socket.socket(family, socket.SOCK_STREAM if blocks else _STREAM_NONBLOCK, _TCP)
        try:
            if blocks:
                sock.setblocking(False)
            await self._sock_connect(sock, address, family)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _connect(
        self,
        infos: Sequence[AddressInfo],
        local_infos: Sequence[AddressInfo] | None,
        delay: float | None,
        all_errors: bool,
    ) -> socket.socket:
        sock, failures = await _attempts.connect(self, infos, local_infos, delay)
        if sock is not None:
            return sock
        try:
            if all_errors:
                raise ExceptionGroup("create_connection failed", failures)
            if not failures:  # none of those that failed in the race was an OSError
                raise TimeoutError("create_connection failed")
            if len({str(failure) for failure in failures}) == 1:
                raise failures[0]
            raise OSError(f"Multiple exceptions: {', '.join(str(failure) for failure in failures)}")
        finally:
            failures.clear()  # each holds the frames that it went through, this one too

    async def _make_connection(
        self,
        sock: socket.socket,
        protocol_factory: Callable[[], _ProtocolT],
        is_ours: bool,
        ssl: Any,
        tls: tuple[bool, Any, float | None, float | None],
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """Make protocol and transport around a connected socket.

        If that fails, a socket that is ours is closed, and a user's where asyncio closes it.

        Args:
            is_ours: the socket was made here, does not block, and nobody else has it.
            ssl: a context, or ``True``, if the connection is to begin with TLS.
            tls: then, whether this is the server's side, the name to expect, and the limits of handshake and shutdown.
        """
        try:
            if not is_ours:
                sock.setblocking(False)
            context = contextvars.copy_context() if _ONE_CONTEXT else None
            protocol = protocol_factory()
            waiter = self.create_future()
            if ssl:
                sslcontext = None if isinstance(ssl, bool) else ssl
                server_side, server_hostname, handshake_timeout, shutdown_timeout = tls
                # Who has put another method in the place of this one knows the arguments that asyncio passes.
                given: dict[str, Any] = {"context": context} if _ONE_CONTEXT else {}
                transport = self._make_ssl_transport(
                    sock,
                    protocol,
                    sslcontext,
                    waiter,
                    server_side=server_side,
                    server_hostname=server_hostname,
                    ssl_handshake_timeout=handshake_timeout,
                    ssl_shutdown_timeout=shutdown_timeout,
                    **given,
                )
            else:
                transport = self._make_socket_transport(sock, protocol, waiter, context=context, is_ours=is_ours)
        except BaseException:
            if is_ours or _CLOSES_GIVEN:
                sock.close()
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            del waiter  # it holds the exception, whose traceback holds this frame
            raise
        return transport, protocol


async def _connected(transport: asyncio.BaseTransport, waiter: Awaitable[None]) -> None:
    """Wait until the protocol has been told of its connection."""
    try:
        await waiter
    except BaseException:
        transport.close()
        raise
