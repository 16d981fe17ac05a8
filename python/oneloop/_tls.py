"""TLS: ``start_tls()``, and the transports of connections that begin with it.

The context is the user's own ``ssl.SSLContext``. What drives it is native, and speaks to the transport below by the
methods that all of asyncio's transports have. A Python that was built without ``ssl`` has no TLS and everything else.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from . import _core
from ._checks import ssl_module


class Tls(_core.Loop, asyncio.AbstractEventLoop):
    """The loop's methods that are about TLS."""

    async def start_tls(
        self,
        transport: asyncio.WriteTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:
        """Go on with TLS on a connection that was plain. Follows ``asyncio.loop.start_tls``.

        Args:
            transport: the connection's transport, which is not to be used any more.
            protocol: what goes on with the connection; it is not told of it again.
            sslcontext: an ``ssl.SSLContext``.
            server_side: whether this side answers the handshake.
            server_hostname: the name that the server is to show a certificate for.
            ssl_handshake_timeout: seconds after which a handshake is given up; 60 by default.
            ssl_shutdown_timeout: seconds after which a connection that is being closed is aborted; 30 by default.

        Returns:
            The transport that the protocol uses from now on.

        Raises:
            TypeError: if the context is none, or the transport cannot carry TLS.
            ssl.SSLError: if the handshake fails.
            OSError: if the connection is lost meanwhile.
        """
        if ssl_module is None:
            raise RuntimeError("Python ssl module is not available")
        if not isinstance(sslcontext, ssl_module.SSLContext):
            raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        waiter = self.create_future()
        settings = _core._TLSSettings(
            sslcontext,
            server_side=server_side,
            server_hostname=server_hostname,
            handshake_timeout=ssl_handshake_timeout,
            shutdown_timeout=ssl_shutdown_timeout,
        )
        layer = _core._wrap_tls(self, protocol, settings, waiter, knows=True)
        tls_transport = layer._app_transport
        # Nothing may come before the layer knows of its transport.
        transport.pause_reading()  # type: ignore[attr-defined]
        if server_side:
            _take_over(protocol, layer)
        transport.set_protocol(layer)
        connected = self.call_soon(layer.connection_made, transport)
        resumed = self.call_soon(transport.resume_reading)  # type: ignore[attr-defined]
        try:
            await waiter
        except BaseException:
            transport.close()
            connected.cancel()
            resumed.cancel()
            del waiter  # it holds the exception, whose traceback holds this frame
            raise
        return tls_transport

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: Any,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: asyncio.Server | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: Any = None,
    ) -> asyncio.Transport:
        """Make the transport of a connection that begins with TLS; the name and the arguments are asyncio's."""
        settings = _core._TLSSettings(
            sslcontext,
            server_side=server_side,
            server_hostname=server_hostname,
            handshake_timeout=ssl_handshake_timeout,
            shutdown_timeout=ssl_shutdown_timeout,
        )
        layer = _core._wrap_tls(self, protocol, settings, waiter)
        transport = layer._app_transport
        assert transport is not None, "a new layer has its transport"
        try:
            self._make_socket_transport(rawsock, layer, extra=extra, server=server, context=context)
        except BaseException:
            transport.close()  # nobody is to be warned of it
            raise
        return transport


def _take_over(protocol: asyncio.BaseProtocol, layer: _core._SSLProtocol) -> None:
    """Give TLS what the peer has sent already and a ``StreamReader`` holds: the beginning of its handshake.

    Only where the peer speaks first. What a client has buffered was sent in plain text, and must not be taken for what
    came over TLS; the reader keeps it, as asyncio's does.
    """
    if isinstance(protocol, asyncio.StreamReaderProtocol):
        reader = getattr(protocol, "_stream_reader", None)
        buffer = getattr(reader, "_buffer", None)
        if buffer:
            layer._feed(buffer)
            buffer.clear()
