"""The servers that are measured, in plain asyncio: each runs on any loop, and does one thing in one style.

What comes is sent back, unless the name says otherwise. They are written as a program would be, with nothing that a
loop could be thankful for or hindered by; only limits are raised where a message would not fit asyncio's default.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

Loop = asyncio.AbstractEventLoop

# So that a thousand clients that come at once are let in, on every loop.
BACKLOG = 4096
# As much as one read is to take, and as a line may be long.
READ = 64 * 1024
LIMIT = 1024 * 1024


@dataclass(frozen=True)
class Where:
    """Where a server is to listen: an internet address with a port of the kernel's choice, or a path."""

    path: str | None = None
    tls: ssl.SSLContext | None = None
    # What the messages will measure, for a server that has to know.
    size: int = 0


# Starts to serve, and says where: `HOST:PORT` or the path.
Server = Callable[[Loop, Where], Awaitable[str]]
SERVERS: dict[str, Server] = {}
# What is served holds itself only weakly on some loops.
_kept: list[object] = []


def named(host_and_port: tuple[str, int]) -> str:
    return f"{host_and_port[0]}:{host_and_port[1]}"


# -- protocols ---------------------------------------------------------------------------------
# Not every loop's transports are instances of asyncio's, so they are taken for what they are.


class Echo(asyncio.Protocol):
    """Writes what it is given."""

    transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """Has the loop read into a buffer of its own; what it writes is a copy, since the buffer is used again."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(READ))

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(bytes(self.buffer[:nbytes]))


class Sink(asyncio.Protocol):
    """Counts what comes, and at its end says how much that was."""

    transport: asyncio.Transport
    count = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.count += len(data)

    def eof_received(self) -> None:
        self.transport.write(b"%d" % self.count)


class Source(asyncio.Protocol):
    """Writes for as long as the transport takes it: each byte is its position in the stream, modulo 256."""

    PIECE = bytes(range(256)) * 256
    transport: asyncio.Transport
    paused = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.write()

    def write(self) -> None:
        while not (self.paused or self.transport.is_closing()):
            self.transport.write(self.PIECE)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.write()


class Closing(asyncio.Protocol):
    """Closes what it was given; over TLS, once the handshake is done."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def of_protocol(factory: Callable[[], asyncio.BaseProtocol]) -> Server:
    async def serve(loop: Loop, where: Where) -> str:
        if where.path is not None:
            _kept.append(await loop.create_unix_server(factory, where.path, backlog=BACKLOG, ssl=where.tls))
            return where.path
        server = await loop.create_server(factory, "127.0.0.1", 0, backlog=BACKLOG, ssl=where.tls)
        _kept.append(server)
        return named(server.sockets[0].getsockname())

    return serve


SERVERS["protocol"] = of_protocol(Echo)
SERVERS["buffered"] = of_protocol(BufferedEcho)
SERVERS["sink"] = of_protocol(Sink)
SERVERS["source"] = of_protocol(Source)
SERVERS["accept"] = of_protocol(Closing)


class EchoDatagrams(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(data, address)


async def datagrams(loop: Loop, where: Where) -> str:
    transport, _ = await loop.create_datagram_endpoint(EchoDatagrams, ("127.0.0.1", 0))
    _kept.append(transport)
    return named(transport.get_extra_info("sockname"))


SERVERS["datagrams"] = datagrams

# -- streams -----------------------------------------------------------------------------------

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
Talk = Callable[[Reader, Writer], Awaitable[None]]


async def read(reader: Reader, writer: Writer) -> None:
    while data := await reader.read(READ):
        writer.write(data)
    writer.close()


async def lines(reader: Reader, writer: Writer) -> None:
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


def exactly(size: int) -> Talk:
    async def talk(reader: Reader, writer: Writer) -> None:
        try:
            while True:
                writer.write(await reader.readexactly(size))
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    return talk


def of_streams(talk: Callable[[Where], Talk]) -> Server:
    async def serve(loop: Loop, where: Where) -> str:
        if where.path is not None:
            _kept.append(
                await asyncio.start_unix_server(talk(where), where.path, limit=LIMIT, backlog=BACKLOG, ssl=where.tls)
            )
            return where.path
        server = await asyncio.start_server(talk(where), "127.0.0.1", 0, limit=LIMIT, backlog=BACKLOG, ssl=where.tls)
        _kept.append(server)
        return named(server.sockets[0].getsockname())

    return serve


SERVERS["streams-read"] = of_streams(lambda where: read)
SERVERS["streams-lines"] = of_streams(lambda where: lines)
SERVERS["streams-exactly"] = of_streams(lambda where: exactly(where.size))

# -- sockets -----------------------------------------------------------------------------------


async def sock(loop: Loop, where: Where) -> str:
    if where.path is not None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(where.path)
    else:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    _kept.append(loop.create_task(sock_accept(loop, listener)))
    return where.path or named(listener.getsockname())


async def sock_accept(loop: Loop, listener: socket.socket) -> None:
    while True:
        client, _ = await loop.sock_accept(listener)
        if client.family == socket.AF_INET:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _kept.append(loop.create_task(sock_echo(loop, client)))


async def sock_echo(loop: Loop, client: socket.socket) -> None:
    with client:
        while data := await loop.sock_recv(client, READ):
            await loop.sock_sendall(client, data)


SERVERS["sock"] = sock
