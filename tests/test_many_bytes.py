# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Much of everything: a gibibyte that comes back as it was sent, over TLS too; ten thousand connections of which
nothing is left."""

import asyncio
import contextlib
import gc
import os
import resource
import socket
import tempfile
import weakref
import zlib
from typing import ClassVar

import pytest
from helpers.descriptors import none_left
from helpers.peers import abstract_name
from helpers.processes import soon
from helpers.tls import HOST, VERSIONS, client_context, server_context

GIBIBYTE = 1 << 30
# The control shows that the tests are right; that asyncio bears the load is not ours to show.
CONTROL = {"asyncio": 16, "oneloop": 1}
# Large enough that the loop's own work does not count, small enough that the marks are passed again and again.
PIECE = 1 << 18
# A length that no buffer's length divides, so that a piece out of its place is seen.
BLOCK = os.urandom((1 << 22) + 4093)


class _Echoing:
    """Sends back what it gets, and takes no more than it can send."""

    is_lost = False

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, exc):
        self.is_lost = True

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


class Echo(_Echoing, asyncio.Protocol):
    """An echo that is given bytes."""

    def data_received(self, data):
        self.transport.write(data)


class BufferedEcho(_Echoing, asyncio.BufferedProtocol):
    """An echo with one buffer, which is used again as soon as `write` has returned."""

    def __init__(self):
        self.buffer = bytearray(PIECE)
        self.view = memoryview(self.buffer)

    def get_buffer(self, sizehint):
        # Of a bytearray asyncio's TLS would fill a copy.
        return self.view

    def buffer_updated(self, nbytes):
        # asyncio keeps what it cannot send by reference, from 3.12 on.
        self.transport.write(bytes(self.view[:nbytes]))


class Client(asyncio.Protocol):
    """Sends so many bytes while it may, and adds up what comes back."""

    def __init__(self, size):
        self.size, self.sent, self.received = size, 0, 0
        self.sent_sum = self.received_sum = 0
        self.paused, self.pauses, self.largest = False, 0, 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        asyncio.get_running_loop().call_soon(self.send)

    def send(self):
        while not self.paused and self.sent < self.size:
            start = self.sent % len(BLOCK)
            piece = BLOCK[start : start + min(PIECE, self.size - self.sent)]
            self.sent += len(piece)
            self.sent_sum = zlib.adler32(piece, self.sent_sum)
            self.transport.write(piece)
            self.largest = max(self.largest, self.transport.get_write_buffer_size())

    def pause_writing(self):
        self.paused = True
        self.pauses += 1

    def resume_writing(self):
        self.paused = False
        self.send()

    def data_received(self, data):
        self.received += len(data)
        self.received_sum = zlib.adler32(data, self.received_sum)
        if self.received >= self.size:
            self.transport.close()

    def connection_lost(self, exc):
        if not self.done.done():
            self.done.set_result(exc)


def over_tls(version=None):
    """The arguments of a server and of a client for a connection over TLS."""
    server, client = {"ssl": server_context(version=version)}, {"ssl": client_context(), "server_hostname": HOST}
    return {"server": server, "client": client}


async def echoed(loop, kind, protocol, size, server=(), client=()):
    """Send `size` bytes through an echo; the client when it is done."""
    server, client, echoes = dict(server), dict(client), []

    def make():
        echoes.append(protocol())
        return echoes[-1]

    with tempfile.TemporaryDirectory() as directory:
        if kind == "tcp":
            server = await loop.create_server(make, "127.0.0.1", 0, **server)
            connecting = loop.create_connection(lambda: Client(size), *server.sockets[0].getsockname(), **client)
        else:
            path = os.path.join(directory, "socket")
            server = await loop.create_unix_server(make, path, **server)
            connecting = loop.create_unix_connection(lambda: Client(size), path, **client)
        _, client = await connecting
        assert await client.done is None
        server.close()
        # The echo's end hears of the client's.
        await soon(lambda: [echo.is_lost for echo in echoes] == [True])
        return client


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize(("protocol", "size"), [(Echo, GIBIBYTE), (BufferedEcho, GIBIBYTE // 8)])
def test_a_gibibyte_there_and_back(loop_name, loop, kind, protocol, size):
    size //= CONTROL[loop_name]
    with none_left(loop):
        client = loop.run_until_complete(echoed(loop, kind, protocol, size))
    assert (client.sent, client.received) == (size, size)
    assert client.received_sum == client.sent_sum
    # It was held up on its way, and what waited was never much more than the mark.
    assert client.pauses > 0
    assert client.largest <= 65536 + PIECE


@pytest.mark.parametrize(
    ("kind", "protocol", "version", "size"),
    [
        ("tcp", Echo, VERSIONS[-1], GIBIBYTE),
        ("tcp", Echo, VERSIONS[0], GIBIBYTE // 8),
        ("tcp", BufferedEcho, VERSIONS[-1], GIBIBYTE // 8),
        ("unix", Echo, VERSIONS[-1], GIBIBYTE // 8),
    ],
)
def test_a_gibibyte_there_and_back_over_tls(loop_name, loop, kind, protocol, version, size):
    size //= CONTROL[loop_name]
    with none_left(loop):
        client = loop.run_until_complete(echoed(loop, kind, protocol, size, **over_tls(version)))
    assert (client.sent, client.received) == (size, size)
    assert client.received_sum == client.sent_sum
    assert client.pauses > 0
    # asyncio's high-water mark for TLS.
    assert client.largest <= 512 * 1024 + PIECE


def waves(total):
    """How many connections at once this process may have (each has two ends here), and how often."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    at_once = min(500, (limit - len(os.listdir("/proc/self/fd")) - 50) // 2)
    return at_once, -(-total // at_once)


class Counted(Echo):
    """An echo that is counted while it lives."""

    alive: ClassVar[weakref.WeakSet["Counted"]] = weakref.WeakSet()
    made = lost = 0

    def connection_made(self, transport):
        Counted.alive.add(self)
        Counted.made += 1
        super().connection_made(transport)

    def connection_lost(self, exc):
        assert exc is None
        super().connection_lost(exc)
        Counted.lost += 1


class Asking(asyncio.Protocol):
    """Sends its number and closes when that came back."""

    def __init__(self, number, done):
        self.question, self.answer, self.done = b"%d" % number, b"", done

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self.question)

    def data_received(self, data):
        self.answer += data
        if self.answer == self.question:
            self.transport.close()

    def connection_lost(self, exc):
        self.done.set_result((exc, self.answer == self.question))


async def wave(loop, connect, count):
    """Open this many connections, use them all while all are open, and close them."""
    done = [loop.create_future() for _ in range(count)]
    await asyncio.gather(*(connect(lambda number=number: Asking(number, done[number])) for number in range(count)))
    assert await asyncio.gather(*done) == [(None, True)] * count
    while Counted.lost < Counted.made:
        await asyncio.sleep(0)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_ten_thousand_connections_and_nothing_left(loop_name, loop_factory, kind):
    total = 10_000 // CONTROL[loop_name]
    at_once, times = waves(total)
    assert at_once * times >= total
    Counted.made = Counted.lost = 0
    with contextlib.closing(loop_factory()) as loop:

        async def main():
            if kind == "tcp":
                server = await loop.create_server(Counted, "127.0.0.1", 0, backlog=at_once)
                address = server.sockets[0].getsockname()
                connect = lambda make: loop.create_connection(make, *address)  # noqa: E731
            else:
                name = abstract_name()
                server = await loop.create_unix_server(Counted, name, backlog=at_once)
                connect = lambda make: loop.create_unix_connection(make, name)  # noqa: E731
            # The first wave fills whatever is filled once and kept.
            await wave(loop, connect, at_once)
            gc.collect()
            before = len(gc.get_objects()), resident()
            with none_left():
                for _ in range(times - 1):
                    await wave(loop, connect, at_once)
                gc.collect()
            after = len(gc.get_objects()), resident()
            server.close()
            return before, after

        before, after = loop.run_until_complete(main())
    gc.collect()
    assert Counted.made == at_once * times
    assert len(Counted.alive) == 0
    # Less than one object and a hundred bytes for each of the connections.
    assert after[0] - before[0] < 1_000
    assert after[1] - before[1] < 4_000_000


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_a_listener_is_not_starved_by_a_busy_connection(loop):
    # One connection has always something to read; others are still accepted and served.
    async def main():
        Counted.made = Counted.lost = 0
        server = await loop.create_server(Counted, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        busy = bytearray()

        class Busy(asyncio.Protocol):
            def data_received(self, data):
                busy.extend(data[:1])
                with contextlib.suppress(BlockingIOError):
                    theirs.send(bytes(100_000))

        transport, _ = await loop.create_connection(Busy, sock=ours)
        theirs.send(b"x")
        reader, writer = await asyncio.open_connection(*address)
        for number in range(20):
            writer.write(b"%02d" % number)
            assert await reader.readexactly(2) == b"%02d" % number
        assert len(busy) > 20
        writer.close()
        transport.abort()
        theirs.close()
        server.close()
        while not Counted.lost:
            await asyncio.sleep(0)

    loop.run_until_complete(asyncio.wait_for(main(), 10))
