"""Datagrams: ``create_datagram_endpoint()``.

Arguments are checked here, with asyncio's messages, and what a program may override is awaited here; the transport is
native.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio import base_events
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from . import _addresses, _core
from ._binding import has_file, remove_stale, set_reuse_port
from ._checks import logger

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)

# Later patch releases take any socket but a stream's, as raw ones; earlier ones take no other kind than SOCK_DGRAM. The
# message tells which it is.
_CONSTANTS = base_events.BaseEventLoop.create_datagram_endpoint.__code__.co_consts
_TAKES_RAW_SOCKETS = any("datagram socket" in constant for constant in _CONSTANTS if isinstance(constant, str))


class Datagrams(_core.Loop, asyncio.AbstractEventLoop):
    """The loop's method that makes datagram transports."""

    # typeshed goes on naming `reuse_address`, which asyncio has no longer.
    async def create_datagram_endpoint(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], _ProtocolT],
        local_addr: tuple[str, int] | str | None = None,
        remote_addr: tuple[str, int] | str | None = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket.socket | None = None,
    ) -> tuple[asyncio.DatagramTransport, _ProtocolT]:
        """Make a datagram socket and what speaks over it. Follows ``asyncio.loop.create_datagram_endpoint``.

        Args:
            protocol_factory: makes the protocol.
            local_addr: host and port to bind to; of Unix sockets a path, or an abstract name that begins with a zero
                byte.
            remote_addr: the one address that everything is sent to, in the same form.
            family, proto, flags: as in ``socket.getaddrinfo()``; without any address the family must be given.
            reuse_port: let several sockets have the port.
            allow_broadcast: let datagrams be sent to everybody. The socket is then not connected to ``remote_addr``, so
                that anybody may answer.
            sock: a datagram socket, instead of all of these; it becomes the transport's.

        Raises:
            OSError: if no address could be bound to or connected to.
            ValueError, TypeError: if arguments contradict each other.
        """
        if sock is not None:
            _check_given(
                sock,
                {
                    "local_addr": local_addr,
                    "remote_addr": remote_addr,
                    "family": family,
                    "proto": proto,
                    "flags": flags,
                    "reuse_port": reuse_port,
                    "allow_broadcast": allow_broadcast,
                },
            )
            sock.setblocking(False)
            protocol, transport, waiter = self._make_endpoint(sock, None, protocol_factory)
        else:
            routes = await self._routes(local_addr, remote_addr, family, proto, flags)
            options = _Options(bool(reuse_port), bool(allow_broadcast), bool(local_addr), bool(remote_addr))
            made, destination = await self._open_first(routes, options)
            try:
                protocol, transport, waiter = self._make_endpoint(made, destination, protocol_factory)
            except BaseException:
                made.close()
                raise
        if self.get_debug():
            ends = "remote_addr=%r created: (%r, %r)"
            if local_addr:
                text = f"Datagram endpoint local_addr=%r {ends}"
                logger().info(text, local_addr, remote_addr, transport, protocol)
            else:
                logger().debug(f"Datagram endpoint {ends}", remote_addr, transport, protocol)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    def _make_endpoint(
        self, sock: socket.socket, destination: Any, protocol_factory: Callable[[], _ProtocolT]
    ) -> tuple[_ProtocolT, asyncio.DatagramTransport, asyncio.Future[None]]:
        protocol = protocol_factory()
        waiter = self.create_future()
        return protocol, self._make_datagram_transport(sock, protocol, destination, waiter), waiter

    async def _routes(self, local: Any, remote: Any, family: int, proto: int, flags: int) -> list[_Route]:
        """Where the socket may be, and where it may send to, in the order of preference."""
        if not (local or remote):
            if family == 0:
                raise ValueError("unexpected address family")
            return [_Route(family, proto, None, None)]
        if hasattr(socket, "AF_UNIX") and family == socket.AF_UNIX:
            for path in (local, remote):
                if path is not None and not isinstance(path, str):
                    raise TypeError("string is expected")
            if local and has_file(local):
                remove_stale(local)
            return [_Route(family, proto, local, remote)]
        hints = {"family": family, "kind": socket.SOCK_DGRAM, "proto": proto, "flags": flags}
        # Of every family and protocol, the last address that each name has.
        found: dict[tuple[int, int], list[Any]] = {}
        for end, address in enumerate((local, remote)):
            if address is None:
                continue
            if not (isinstance(address, tuple) and len(address) == 2):
                raise TypeError("2-tuple is expected")
            infos = await _addresses.resolve(self, address, **hints)
            if not infos:
                raise OSError("getaddrinfo() returned empty list")
            for info_family, _, info_proto, _, info_address in infos:
                found.setdefault((info_family, info_proto), [None, None])[end] = info_address
        routes = [
            _Route(*key, *ends)
            for key, ends in found.items()
            if not ((local and ends[0] is None) or (remote and ends[1] is None))
        ]
        if not routes:
            raise ValueError("can not get address information")
        return routes

    async def _open_first(self, routes: Iterable[_Route], options: _Options) -> tuple[socket.socket, Any]:
        """The socket of the first route that works, and the one address that it sends to."""
        failures = []
        for route in routes:
            try:
                return await self._open(route, options)
            except OSError as failure:
                failures.append(failure)
        try:
            raise failures[0]
        finally:
            failures.clear()  # each holds the frames that it went through, this one too

    async def _open(self, route: _Route, options: _Options) -> tuple[socket.socket, Any]:
        sock = socket.socket(family=route.family, type=socket.SOCK_DGRAM, proto=route.proto)
        try:
            if options.reuse_port:
                set_reuse_port(sock)
            if options.allow_broadcast:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setblocking(False)
            if options.binds:
                sock.bind(route.local)
            if not options.has_destination:
                return sock, None
            if not options.allow_broadcast:
                await self.sock_connect(sock, route.remote)
        except BaseException:
            sock.close()
            raise
        return sock, route.remote


class _Route(NamedTuple):
    """A socket's kind and its two ends."""

    family: int
    proto: int
    local: Any
    remote: Any


class _Options(NamedTuple):
    """What becomes of a new socket."""

    reuse_port: bool
    allow_broadcast: bool
    binds: bool
    has_destination: bool


def _check_given(sock: socket.socket, others: dict[str, Any]) -> None:
    if _TAKES_RAW_SOCKETS:
        if sock.type == socket.SOCK_STREAM:
            raise ValueError(f"A datagram socket was expected, got {sock!r}")
    elif sock.type != socket.SOCK_DGRAM:
        raise ValueError(f"A UDP Socket was expected, got {sock!r}")
    given = ", ".join(f"{name}={value}" for name, value in others.items() if value)
    if given:
        raise ValueError(f"socket modifier keyword arguments can not be used when sock is specified. ({given})")
