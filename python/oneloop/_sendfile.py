"""``sendfile()``: a file over a transport, by the system where it can, and by reading and writing where it cannot.

What users see is asyncio's: which transports can, what becomes of reading and of the protocol meanwhile, where the file
stands afterwards, and the messages.
"""

from __future__ import annotations

import asyncio
from asyncio import base_events, constants
from typing import Any, Final

from . import _core

_FALLBACK = vars(base_events.BaseEventLoop).get("_sendfile_fallback")

# The names in it in their order, or in that of the newest versions if there is no such method any more.
_FALLBACK_NAMES: Final = ("hasattr", "write", "drain") if _FALLBACK is None else _FALLBACK.__code__.co_names

# Up to some patch release a file that stands elsewhere is sent from there, unless the offset is not zero.
_ALWAYS_SEEKS: Final = _FALLBACK_NAMES[0] == "hasattr"

# From some patch release on a piece counts as sent once there is room for the next one.
_COUNTS_LATE: Final = _FALLBACK_NAMES.index("write") < _FALLBACK_NAMES.index("drain")

_PIECE: Final = 16 * 1024


class Sendfile(_core.Loop, asyncio.AbstractEventLoop):
    """The loop's method that sends files over transports."""

    async def sendfile(
        self, transport: Any, file: Any, offset: int = 0, count: int | None = None, *, fallback: bool | None = True
    ) -> int:
        """Send a file over a transport; return how much was sent. Follows ``asyncio.loop.sendfile``.

        What was written before is sent first. Meanwhile the protocol receives nothing and nothing can be written.
        Afterwards the file stands behind what was sent, also if that was less than asked for.

        Args:
            transport: of a socket, or of TLS over one.
            file: opened in binary mode.
            offset: where to begin.
            count: how much; ``None`` is up to the file's end.
            fallback: whether to read and write where the system cannot do it: with TLS, say.

        Raises:
            RuntimeError: if the transport is closing, cannot send files, or could only without the system's help.
            asyncio.SendfileNotAvailableError: the same, if that was found out by trying.
            OSError: if the connection fails.
        """
        if transport.is_closing():
            raise RuntimeError("Transport is closing")
        modes: Any = vars(constants)["_SendfileMode"]
        mode = getattr(transport, "_sendfile_compatible", modes.UNSUPPORTED)
        if mode is modes.UNSUPPORTED:
            raise RuntimeError(f"sendfile is not supported for transport {transport!r}")
        if mode is modes.TRY_NATIVE:
            try:
                return await self._sendfile_by_system(transport, file, offset, count)
            except asyncio.SendfileNotAvailableError:
                if not fallback:
                    raise
        if not fallback:
            raise RuntimeError(f"fallback is disabled and native sendfile is not supported for transport {transport!r}")
        return await self._sendfile_by_hand(transport, file, offset, count)

    async def _sendfile_by_system(
        self, transport: _core.SocketTransport, file: Any, offset: int, count: int | None
    ) -> int:
        was_reading = transport.is_reading()
        all_sent = transport._make_empty_waiter()
        try:
            transport.pause_reading()
            await all_sent
            sock = transport._sock
            if sock is None:
                raise ConnectionError("Connection is closed by peer")
            try:
                return await self.sock_sendfile(sock, file, offset, count, fallback=False)
            except (OSError, asyncio.SendfileNotAvailableError) as error:
                if transport._sock is None and not isinstance(error, ConnectionError):
                    # What failed was a descriptor that is no more.
                    raise ConnectionError("Connection is closed by peer") from error
                raise
        finally:
            transport._reset_empty_waiter()
            if was_reading and not self.is_closed():
                transport.resume_reading()

    async def _sendfile_by_hand(self, transport: Any, file: Any, offset: int, count: int | None) -> int:
        if hasattr(file, "seek") if _ALWAYS_SEEKS else offset:
            file.seek(offset)
        buffer = memoryview(bytearray(min(count, _PIECE) if count else _PIECE))
        sent = 0
        filling = _Filling(self, transport)
        try:
            while not count or sent < count:
                part = buffer[: count - sent] if count else buffer
                read = await self.run_in_executor(None, file.readinto, part)
                if not read:
                    break
                if not _COUNTS_LATE:
                    await filling.drain()
                transport.write(part[:read])
                if _COUNTS_LATE:
                    await filling.drain()
                sent += read
            return sent
        finally:
            try:
                if sent > 0 and hasattr(file, "seek"):
                    file.seek(offset + sent)
            finally:
                filling.end()


class _Filling(asyncio.Protocol):
    """Stands in for a transport's protocol while a file is written: it knows when there is room for more."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: Any) -> None:
        if not hasattr(transport, "_protocol_paused"):
            raise TypeError("transport should be _FlowControlMixin instance")
        self._loop = loop
        self._transport = transport
        self._protocol = transport.get_protocol()
        self._was_reading = transport.is_reading()
        self._was_paused: bool = transport._protocol_paused
        transport.pause_reading()
        transport.set_protocol(self)
        self._room: asyncio.Future[None] | None = loop.create_future() if self._was_paused else None

    async def drain(self) -> None:
        """Wait until there is room.

        Raises:
            ConnectionError: if there never will be.
        """
        if self._transport.is_closing():
            raise ConnectionError("Connection closed by peer")
        if self._room is not None:
            await self._room

    def end(self) -> None:
        """Give the transport back to its own protocol, which learns what became meanwhile of the room for writing."""
        self._transport.set_protocol(self._protocol)
        if self._was_reading:
            self._transport.resume_reading()
        if self._room is not None:
            # Nobody waits for it any more.
            self._room.cancel()
        is_paused: bool = self._transport._protocol_paused
        if self._was_paused and not is_paused:
            self._protocol.resume_writing()
        elif is_paused and not self._was_paused and self._transport.get_write_buffer_size() > 0:
            # It is told to go on when that is sent; asyncio's own streams do not bear that if nobody told them to wait.
            self._protocol.pause_writing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        raise RuntimeError("Invalid state: connection should have been established already.")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._room is not None and not self._room.done():
            # A connection that ends in the middle of a file has failed, however it ended.
            self._room.set_exception(ConnectionError("Connection is closed by peer") if exc is None else exc)
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._room is None:
            self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._room is not None:
            if not self._room.done():
                self._room.set_result(None)
            self._room = None

    def data_received(self, data: bytes) -> None:
        raise RuntimeError("Invalid state: reading should be paused")

    def eof_received(self) -> bool | None:
        raise RuntimeError("Invalid state: reading should be paused")
