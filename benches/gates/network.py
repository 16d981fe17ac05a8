"""Rows with sockets, both ends of which are in one loop, so that nothing waits for another process.

What is sent on the loopback has arrived when the call returns, so the order of events is the same in every run.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from benches.scheduling.row import Loop, P, Row, expect

ROWS: dict[str, Row] = {}
MESSAGE = bytes(1000)
CERTIFICATES = Path(__file__).resolve().parent.parent.parent / "tests" / "certificates"


def row(key: str, title: str, n: int) -> Callable[[P], P]:
    def register(program: P) -> P:
        ROWS[key] = Row(key, title, program, n, timed=n)
        return program

    return register


class Echo(asyncio.Protocol):
    """Sends back what comes, in as many writes as it is told."""

    def __init__(self, writes: int = 1) -> None:
        self.writes = writes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        step = -(-len(data) // self.writes)
        for start in range(0, len(data), step):
            self.transport.write(data[start : start + step])


class Player(asyncio.Protocol):
    """Sends a message, waits for as many bytes, and sends the next one."""

    def __init__(self, loop: Loop, n: int) -> None:
        self.left, self.missing = n, len(MESSAGE)
        self.done: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(MESSAGE)

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if self.missing:
            return
        self.left, self.missing = self.left - 1, len(MESSAGE)
        if self.left:
            self.transport.write(MESSAGE)
        else:
            self.done.set_result(None)


async def play(loop: Loop, n: int, writes: int) -> None:
    ours, theirs = socket.socketpair()
    server, _ = await loop.create_connection(lambda: Echo(writes), sock=theirs)
    client, player = await loop.create_connection(lambda: Player(loop, n), sock=ours)
    await player.done
    client.close()
    server.close()
    await asyncio.sleep(0)


@row("protocol", "Protocol echo, both ends", 300)
async def protocol_echo(loop: Loop, n: int) -> None:
    """One operation is a message there and back: two reads and two writes."""
    await play(loop, n, 1)


@row("protocol-three-writes", "Protocol echo, the answer in three writes", 300)
async def protocol_in_three_writes(loop: Loop, n: int) -> None:
    await play(loop, n, 3)


@row("streams", "streams echo: write, readexactly", 300)
async def streams_echo(loop: Loop, n: int) -> None:
    """The other end is a Protocol, whose cost is a row of its own."""
    ours, theirs = socket.socketpair()
    server, _ = await loop.create_connection(Echo, sock=theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    for _ in range(n):
        writer.write(MESSAGE)
        expect(len(await reader.readexactly(len(MESSAGE))), len(MESSAGE))
    writer.close()
    server.close()
    await asyncio.sleep(0)


@row("streams-line", "streams echo: write, drain, readline", 300)
async def streams_by_line(loop: Loop, n: int) -> None:
    ours, theirs = socket.socketpair()
    server, _ = await loop.create_connection(Echo, sock=theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    line = MESSAGE[1:] + b"\n"
    for _ in range(n):
        writer.write(line)
        await writer.drain()
        expect(len(await reader.readline()), len(line))
    writer.close()
    server.close()
    await asyncio.sleep(0)


@row("sock", "sock_sendall, sock_recv of what is there", 300)
async def sock_calls(loop: Loop, n: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        for _ in range(n):
            await loop.sock_sendall(ours, MESSAGE)
            expect(len(await loop.sock_recv(theirs, 4096)), len(MESSAGE))


@row("sock-waits", "sock_recv that waits, sock_sendall, both ends", 300)
async def sock_calls_that_wait(loop: Loop, n: int) -> None:
    """Two tasks, each of which waits for the other's message: one operation is a message there and back."""
    ours, theirs = socket.socketpair()

    async def answer() -> None:
        for _ in range(n):
            await loop.sock_sendall(theirs, await loop.sock_recv(theirs, 4096))

    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        answering = loop.create_task(answer())
        await asyncio.sleep(0)
        for _ in range(n):
            await loop.sock_sendall(ours, MESSAGE)
            expect(len(await loop.sock_recv(ours, 4096)), len(MESSAGE))
        await answering


class Reflector(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


class Caller(asyncio.DatagramProtocol):
    def __init__(self, loop: Loop, n: int) -> None:
        self.left = n
        self.done: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)
        self.transport.sendto(MESSAGE)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.left -= 1
        if self.left:
            self.transport.sendto(MESSAGE)
        else:
            self.done.set_result(None)


@row("datagram", "UDP echo, both ends", 300)
async def datagram_echo(loop: Loop, n: int) -> None:
    server, _ = await loop.create_datagram_endpoint(Reflector, local_addr=("127.0.0.1", 0))
    where = server.get_extra_info("sockname")
    client, caller = await loop.create_datagram_endpoint(lambda: Caller(loop, n), remote_addr=where)
    await caller.done
    client.close()
    server.close()
    await asyncio.sleep(0)


@row("accept", "a connection accepted and closed, 20 at once", 100)
async def connections_accepted(loop: Loop, n: int) -> None:
    """The clients are plain sockets, whose system calls are in the figure: three for each."""
    at_once = 20

    class Counted(asyncio.Protocol):
        accepted = 0
        all: asyncio.Future[None]

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            Counted.accepted += 1
            cast(asyncio.Transport, transport).abort()
            if Counted.accepted % at_once == 0:
                Counted.all.set_result(None)

    server = await loop.create_server(Counted, "127.0.0.1", 0, backlog=at_once)
    where = server.sockets[0].getsockname()
    for _ in range(n // at_once):
        Counted.all = loop.create_future()
        clients = [socket.create_connection(where) for _ in range(at_once)]
        # Not by turns of the loop: while it has something to do and the clock stands, it may leave the listener alone.
        await Counted.all
        for client in clients:
            client.close()
    server.close()
    for _ in range(5):
        await asyncio.sleep(0)
    expect(Counted.accepted, n)


@row("tls", "TLS echo, both ends", 100)
async def tls_echo(loop: Loop, n: int) -> None:
    """Of the instructions, only ours are counted: OpenSSL's are in another shared object."""
    given = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    given.load_cert_chain(CERTIFICATES / "server.pem")
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(CERTIFICATES / "ca.pem")
    server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=given)
    host, port = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, port, ssl=trust, server_hostname="localhost")
    for _ in range(n):
        writer.write(MESSAGE)
        expect(len(await reader.readexactly(len(MESSAGE))), len(MESSAGE))
    writer.close()
    await writer.wait_closed()
    server.close()


@row("threadsafe-parked", "call_soon_threadsafe to a loop that waits", 200)
async def threadsafe_to_a_parked_loop(loop: Loop, n: int) -> None:
    """Another thread posts while the loop waits: it gets the interpreter's lock only then."""
    post = threading.Semaphore(0)
    arrived = loop.create_future()

    def poster() -> None:
        for _ in range(n):
            post.acquire()
            loop.call_soon_threadsafe(lambda: arrived.set_result(None))

    thread = threading.Thread(target=poster)
    thread.start()
    for _ in range(n):
        arrived = loop.create_future()
        post.release()
        await arrived
    thread.join()
