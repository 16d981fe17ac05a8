"""Listening: ``create_server()``, ``create_unix_server()`` and the servers that they return.

A server is an ``asyncio.Server``, whose own methods are the running version's; accepting is native. What asyncio's
server asks of its loop is ``_start_serving()`` and ``_stop_serving()``, and of the transports that they attach and
detach themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import inspect
import itertools
import os
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import _addresses, _core
from ._addresses import AddressInfo
from ._binding import has_file, remove_own, remove_stale, set_reuse_port
from ._checks import (
    check_server_tls,
    logger,
    reason,
    refuse_ssl_socket,
    require_stream_socket,
    require_unix_socket,
)

_ProtocolFactory = Callable[[], asyncio.BaseProtocol]
_Path = str | bytes | os.PathLike[str]

# From 3.13 on asyncio removes a Unix server's socket file when it closes; before, it leaves it behind.
_CLEANS_UP = "cleanup_socket" in inspect.signature(asyncio.SelectorEventLoop.create_unix_server).parameters

# From 3.13 on an address that this machine does not have is passed over, as long as there is another one.
_PASSES_OVER_FOREIGN_ADDRESSES = sys.version_info >= (3, 13)

# From 3.13 on asyncio's own servers know their connections.
_KNOWS_CLIENTS = hasattr(asyncio.Server, "close_clients")


class Server(asyncio.Server):
    """What ``loop.create_server()`` and ``loop.create_unix_server()`` return. Follows ``asyncio.Server``.

    ``close_clients()`` and ``abort_clients()``, which asyncio has from 3.13 on, are there on every version.
    """

    def __init__(self, *args: Any) -> None:
        # Where the loop finds its transports without calling; see `_core._Clients`.
        clients = self._clients = _core._Clients()
        super().__init__(*args)
        self._clients = clients

    # The version besides, since type checkers ask no attribute: from 3.13 on, all of this is asyncio's.
    if sys.version_info < (3, 13) and not _KNOWS_CLIENTS:
        # Without an argument they are what they are in asyncio there, and what its own tests call.

        def _attach(self, transport: asyncio.Transport | None = None) -> None:
            if transport is None:
                super()._attach()  # type: ignore[misc]
            else:
                assert self._sockets is not None  # type: ignore[attr-defined]
                self._clients.add(transport)

        def _detach(self, transport: asyncio.Transport | None = None) -> None:
            if transport is None:
                super()._detach()  # type: ignore[misc]
                return
            self._clients.discard(transport)
            if self._active_count == 0 and self._sockets is None:  # type: ignore[attr-defined]
                self._wakeup()  # type: ignore[attr-defined]

        @property
        def _active_count(self) -> int:
            """What asyncio's methods count there: the transports, and those that were attached without saying which."""
            return len(self._clients) + self._unnamed

        @_active_count.setter
        def _active_count(self, count: int) -> None:
            self._unnamed = count - len(self._clients)

        def close_clients(self) -> None:
            """Close every connection that is open; what is buffered is sent first."""
            for transport in self._clients.copy():
                transport.close()

        def abort_clients(self) -> None:
            """Close every connection that is open at once; what is buffered is lost."""
            for transport in self._clients.copy():
                transport.abort()


class Servers(_core.Loop, asyncio.AbstractEventLoop):
    """The loop's methods that listen."""

    def __init__(self) -> None:
        super().__init__()
        self._listeners: dict[socket.socket, _core._Listener] = {}
        # The inode of each listening Unix socket's file: another file that took its path is not ours to remove.
        self._socket_files: dict[socket.socket, int] = {}

    def close(self) -> None:
        """Close the loop; see ``Loop.close``. Listening sockets are closed by their servers, or go with them."""
        super().close()
        self._listeners.clear()
        self._socket_files.clear()

    async def create_server(
        self,
        protocol_factory: _ProtocolFactory,
        host: str | bytes | Iterable[str | bytes | None] | None = None,
        port: str | bytes | int | None = None,
        *,
        family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: Any = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server:
        """Listen on every address of ``host`` and ``port``, or on a socket that is bound already.

        Follows ``asyncio.loop.create_server``.

        Args:
            protocol_factory: makes a protocol for each connection.
            host: a name or a literal, or several; ``None`` or ``""`` is every interface.
            port: a number or a service's name; 0 is a free port, another one on each address.
            family, flags: as in ``socket.getaddrinfo()``.
            sock: a bound stream socket, instead of host and port; it becomes the server's.
            backlog: how many connections may wait to be accepted, and how many are accepted in one iteration.
            ssl: an ``ssl.SSLContext``: connections begin with TLS.
            ssl_handshake_timeout: seconds after which a handshake is given up; 60 by default.
            ssl_shutdown_timeout: seconds after which a connection that is being closed is aborted; 30 by default.
            reuse_address: bind although old connections to the port are not forgotten yet; on by default.
            reuse_port: let several servers have the port.
            keep_alive: have the kernel find out whether silent peers are still there.
            start_serving: accept at once; otherwise from ``start_serving()`` or ``serve_forever()`` on.

        Raises:
            OSError: if an address is taken or there is none.
            ValueError, TypeError: if arguments contradict each other.
        """
        check_server_tls(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        refuse_ssl_socket(sock)
        if host is not None or port is not None:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            hosts = _several(host)
            answers = await asyncio.gather(*(self._resolve_host(host, port, family, flags) for host in hosts))
            # Each address once, though several hosts may have it.
            infos = list(dict.fromkeys(itertools.chain.from_iterable(answers)))
            options = _Options(reuse_address is None or reuse_address, bool(reuse_port), bool(keep_alive))
            sockets = self._bind_all(infos, options)
        elif sock is None:
            raise ValueError("Neither host/port nor sock were specified")
        else:
            require_stream_socket(sock)
            sockets = [sock]
        tls = (ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        given = sock is not None
        server = await self._serve(sockets, protocol_factory, backlog, tls, start=start_serving, given=given)
        if self.get_debug():
            logger().info("%r is serving", server)
        return server

    async def create_unix_server(
        self,
        protocol_factory: _ProtocolFactory,
        path: _Path | None = None,
        *,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        cleanup_socket: bool = _CLEANS_UP,
    ) -> Server:
        """Listen on the Unix socket ``path``, or on a socket that is bound already.

        Follows ``asyncio.loop.create_unix_server``.

        Args:
            protocol_factory: makes a protocol for each connection.
            path: where; a socket that is left there from before is removed. A name that begins with a zero byte is
                abstract and has no file.
            sock: a bound Unix stream socket, instead of a path; it becomes the server's.
            backlog: how many connections may wait to be accepted, and how many are accepted in one iteration.
            ssl, ssl_handshake_timeout, ssl_shutdown_timeout: as in ``create_server()``.
            start_serving: accept at once; otherwise from ``start_serving()`` or ``serve_forever()`` on.
            cleanup_socket: remove the file when the server closes, unless another one has taken its place. On by
                default where asyncio has it (3.13).

        Raises:
            OSError: if the path is taken or cannot be made.
            ValueError, TypeError: if arguments contradict each other.
        """
        check_server_tls(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = _bind_unix(os.fspath(path))
        elif sock is None:
            raise ValueError("path was not specified, and no sock specified")
        else:
            require_unix_socket(sock)
        if cleanup_socket:
            self._remember_file(sock)
        tls = (ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        given = path is None
        return await self._serve([sock], protocol_factory, backlog, tls, start=start_serving, given=given)

    async def _resolve_host(self, host: Any, port: Any, family: int, flags: int) -> Sequence[AddressInfo]:
        infos = await _addresses.resolve(self, (host, port), family=family, flags=flags)
        if not infos:
            raise OSError(f"getaddrinfo({host!r}) returned empty list")
        return infos

    def _bind_all(self, infos: list[AddressInfo], options: _Options) -> list[socket.socket]:
        sockets: list[socket.socket] = []
        try:
            for info in infos:
                sock = self._bind(info, options)
                if sock is not None:
                    sockets.append(sock)
            if not sockets:
                raise OSError(f"could not bind on any address out of {[info[4] for info in infos]!r}")
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        return sockets

    def _bind(self, info: AddressInfo, options: _Options) -> socket.socket | None:
        """Return a socket bound to an address; ``None`` if this machine has no such family or address."""
        family, kind, proto, _, address = info
        try:
            sock = socket.socket(family, kind, proto)
        except OSError:
            if self.get_debug():
                logger().warning(
                    "create_server() failed to create socket.socket(%r, %r, %r)", family, kind, proto, exc_info=True
                )
            return None
        try:
            options.set_on(sock)
            sock.bind(address)
        except OSError as failure:
            sock.close()
            message = f"error while attempting to bind on address {address!r}: {reason(failure)}"
            if failure.errno == errno.EADDRNOTAVAIL and _PASSES_OVER_FOREIGN_ADDRESSES:
                if self.get_debug():
                    logger().warning(message)
                return None
            raise OSError(failure.errno, message) from None
        except BaseException:
            sock.close()
            raise
        return sock

    async def _serve(
        self,
        sockets: list[socket.socket],
        protocol_factory: _ProtocolFactory,
        backlog: int,
        tls: tuple[Any, float | None, float | None],
        *,
        start: bool,
        given: bool,
    ) -> Server:
        """Make the server of bound sockets, which are closed if that fails; one that the user has given is not."""
        try:
            for sock in sockets:
                sock.setblocking(False)
            sslcontext, *timeouts = tls
            server = Server(self, sockets, protocol_factory, sslcontext, backlog, *timeouts)
            if start:
                server._start_serving()  # type: ignore[attr-defined]
                # As asyncio's, which lets its own add_reader go through.
                await asyncio.sleep(0)
        except BaseException:
            for sock in sockets:
                self._stop_accepting(sock)
                if given:
                    self._socket_files.pop(sock, None)
                else:
                    self._stop_serving(sock)
            raise
        return server

    def _start_serving(
        self,
        protocol_factory: _ProtocolFactory,
        sock: socket.socket,
        sslcontext: Any = None,
        server: asyncio.Server | None = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: Any = None,
    ) -> None:
        """Accept connections; what ``asyncio.Server`` calls. Its arguments are those of the running version."""
        tls = None
        if sslcontext:
            tls = _core._TLSSettings(
                sslcontext,
                server_side=True,
                handshake_timeout=ssl_handshake_timeout,
                shutdown_timeout=ssl_shutdown_timeout,
            )
        self._listeners[sock] = self._listen(sock, protocol_factory, server, backlog, context, tls)

    def _stop_serving(self, sock: socket.socket) -> None:
        """End what ``_start_serving()`` began, and close the socket; what ``asyncio.Server`` calls."""
        inode = self._socket_files.pop(sock, None)
        path = None if inode is None else sock.getsockname()
        self._stop_accepting(sock)
        sock.close()
        if path is not None:
            remove_own(path, inode)

    def _stop_accepting(self, sock: socket.socket) -> None:
        listener = self._listeners.pop(sock, None)
        if listener is not None:
            self._stop_listening(listener)

    def _remember_file(self, sock: socket.socket) -> None:
        path = sock.getsockname()
        if has_file(path):
            with contextlib.suppress(FileNotFoundError):  # somebody was quicker
                self._socket_files[sock] = os.stat(path).st_ino


class _Options:
    """What a listening socket is set to before it is bound."""

    def __init__(self, reuse_address: bool, reuse_port: bool, keep_alive: bool) -> None:
        self._reuse_address = reuse_address
        self._reuse_port = reuse_port
        self._keep_alive = keep_alive

    def set_on(self, sock: socket.socket) -> None:
        if self._reuse_address:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
        # Linux allows it on no other family.
        if self._reuse_port and sock.family in (socket.AF_INET, socket.AF_INET6):
            set_reuse_port(sock)
        if self._keep_alive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
        if sock.family == socket.AF_INET6:
            # Each family has a socket of its own: getaddrinfo() names them both where both are wanted.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True)


def _several(host: Any) -> list[Any]:
    if host == "":
        return [None]
    if isinstance(host, str) or not isinstance(host, Iterable):
        return [host]
    return list(host)


def _bind_unix(path: str | bytes) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if has_file(path):
            remove_stale(path)
        sock.bind(path)
    except OSError as failure:
        sock.close()
        if failure.errno == errno.EADDRINUSE:
            raise OSError(errno.EADDRINUSE, f"Address {path!r} is already in use") from None
        raise
    except BaseException:
        sock.close()
        raise
    return sock
