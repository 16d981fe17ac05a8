# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Every call that is about TLS, cancelled at each of its suspension points and a little later each time: no descriptor
is left, no byte is lost, no task goes on, no cancellation is swallowed, the peer sees the end, and the loop goes on.

The peer does its part of the handshake, the reading and the goodbye before each iteration, so that for some delay each
of them has just happened and the call was not told yet.
"""

import asyncio
import contextlib
import functools
import gc
import socket

import pytest
from helpers.loops import steps
from helpers.peers import abstract_name, connected_pair
from helpers.recorder import Recorder
from helpers.scene import until
from helpers.sweep import Swept, sweep
from helpers.tls import HOST, SIDES, Peer, client_context, server_context

# From the first byte to the last of a handshake, and from the first to the last of an end, there are fewer iterations.
DELAYS = 12
ADDRESS = "127.0.0.1"
DATA = bytes(number % 251 for number in range(900_000))
# Whether asyncio's own faults may show.
STRICT = {"asyncio": False, "oneloop": True}

CLIENT, SERVER = functools.cache(client_context), functools.cache(server_context)


def run(loop, coroutine):
    return loop.run_until_complete(asyncio.wait_for(coroutine, 5))


def context_of(side):
    return SERVER() if side == "server" else CLIENT()


def peer_of(sock, side):
    """The other end of a connection whose end of this side is the loop's."""
    other = "client" if side == "server" else "server"
    return Peer(sock, context_of(other), other)


def along(loop, peer, condition):
    until(loop, lambda: (peer.go_along(), condition())[1])


def gone(loop, peer):
    """The peer sees the end of the connection."""
    along(loop, peer, lambda: peer.ended)


def drop(result):
    result[0].abort()


# Connections that begin with TLS.


class Listener:
    """A listener whose connections go along with everything."""

    def __init__(self, stack, family):
        self.stack, self.peers = stack, []
        self.sock = stack.enter_context(socket.socket(family))
        self.sock.bind((ADDRESS, 0) if family == socket.AF_INET else abstract_name())
        self.sock.listen()
        self.sock.setblocking(False)

    @property
    def address(self):
        return self.sock.getsockname()

    def go_along(self, _=None):
        with contextlib.suppress(BlockingIOError):
            end, _ = self.sock.accept()
            end.setblocking(False)
            self.peers.append(peer_of(self.stack.enter_context(end), "client"))
        for peer in self.peers:
            peer.go_along()

    def left_alone(self, loop):
        """Whoever connected has gone again."""
        self.go_along()
        steps(loop, 2)
        until(loop, lambda: (self.go_along(), all(peer.ended for peer in self.peers))[1])


def connecting(call, family=socket.AF_INET):
    def make(loop, stack):
        listener = Listener(stack, family)
        return Swept(lambda: call(loop, listener.address), listener.go_along, listener.left_alone, drop)

    return make


async def open_connection(loop, address):
    _, writer = await asyncio.open_connection(*address, ssl=CLIENT(), server_hostname=HOST)
    return writer.transport, writer


def of_a_socket(method, side, **tls):
    def make(loop, stack):
        ours, theirs = connected_pair("socketpair")
        peer = peer_of(stack.enter_context(theirs), side)
        call = functools.partial(getattr(loop, method), Recorder, sock=ours, ssl=context_of(side), **tls)
        return Swept(call, lambda _: peer.go_along(), lambda loop: gone(loop, peer), drop)

    return make


# TLS that begins later.


def start_tls(side, early=False):
    """Of a connection that was plain; `early` is when the peer has begun before us."""

    def make(loop, stack):
        ours, theirs = connected_pair("socketpair")
        peer = peer_of(stack.enter_context(theirs), side)
        transport, protocol = run(loop, loop.create_connection(Recorder, sock=ours))
        stack.callback(transport.abort)
        tls = {"server_side": True} if side == "server" else {"server_hostname": HOST}

        async def call():
            if early:
                transport.pause_reading()
                peer.handshake()
            return await loop.start_tls(transport, protocol, context_of(side), **tls), protocol

        def cancelled(loop):
            if transport.get_protocol() is protocol:  # it did not get so far
                transport.abort()
            # The transport below tells the layer, not the protocol that the layer would have served.
            gone(loop, peer)
            assert transport.is_closing()

        return Swept(call, lambda _: peer.go_along(), cancelled, drop)

    return make


def stream_start_tls(loop, stack):
    ours, theirs = connected_pair("socketpair")
    peer = peer_of(stack.enter_context(theirs), "client")
    _, writer = run(loop, asyncio.open_connection(sock=ours))
    below = writer.transport
    stack.callback(below.abort)

    async def call():
        await writer.drain()
        await writer.start_tls(CLIENT(), server_hostname=HOST)
        writer.write(b"over TLS")
        await writer.drain()
        return writer.transport, None

    return Swept(call, lambda _: peer.go_along(), lambda loop: gone(loop, peer), drop)


# A connection that is open: what is cancelled is not the connection.


class Streams:
    """asyncio's streams over TLS, the peer, and what it has received."""

    def __init__(self, loop, stack):
        ours, theirs = connected_pair("socketpair")
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        self.loop, self.peer, self.protocol = loop, peer_of(stack.enter_context(theirs), "client"), None
        opening = loop.create_task(asyncio.open_connection(sock=ours, ssl=CLIENT(), server_hostname=HOST))
        along(loop, self.peer, opening.done)
        self.reader, self.writer = opening.result()
        stack.callback(self.end)

    def end(self):
        self.writer.transport.abort()
        steps(self.loop, 4)

    def receive(self, _=None):
        self.peer.go_along()

    def everything(self, expected):
        along(self.loop, self.peer, lambda: len(self.peer.data) >= len(expected))
        assert self.peer.data == expected


def reading(call):
    def make(loop, stack):
        streams = Streams(loop, stack)
        pieces = {2: b"one\n", 4: b"tw", 5: b"o\nrest"}
        left = dict(pieces)

        def help_(iteration):
            streams.receive()
            if iteration in left:
                streams.peer.write(left.pop(iteration))

        def cancelled(loop):
            for iteration in list(left):
                help_(iteration)
            streams.peer.unwrap()
            reading = loop.create_task(streams.reader.read())
            along(loop, streams.peer, reading.done)
            assert reading.result() == b"one\ntwo\nrest"

        def finished(data):
            assert b"one\ntwo\nrest".startswith(data)

        return Swept(lambda: call(streams.reader), help_, cancelled, finished)

    return make


def drain(loop, stack):
    streams = Streams(loop, stack)

    async def call():
        for start in range(0, len(DATA), 100_000):
            streams.writer.write(DATA[start : start + 100_000])
            await streams.writer.drain()

    # What was written is sent, whether somebody waits for it or not.
    def cancelled(_):
        streams.writer.write(b"the end")
        along(loop, streams.peer, lambda: streams.peer.data.endswith(b"the end"))
        written = streams.peer.data[: -len(b"the end")]
        assert written == DATA[: len(written)]
        assert len(written) in range(0, len(DATA) + 1, 100_000)

    return Swept(call, streams.receive, cancelled, lambda _: streams.everything(DATA))


def wait_closed(loop, stack):
    """The shutdown goes on without whoever waited for it."""
    streams = Streams(loop, stack)

    async def call():
        streams.writer.write(DATA)
        streams.writer.close()
        await streams.writer.wait_closed()

    def everything(_):
        streams.everything(DATA)
        gone(loop, streams.peer)
        assert streams.peer.told_end

    return Swept(call, streams.receive, everything, everything)


# Servers.


def create_server(call):
    def make(loop, stack):
        def finished(server):
            assert server.is_serving()
            server.close()

        return Swept(lambda: call(loop), cancelled=lambda loop: steps(loop, 2), finished=finished)

    return make


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


def server_wait_closed(loop, stack):
    """With a client that goes on, whatever becomes of who waits for the server."""
    server = run(loop, loop.create_server(Echo, ADDRESS, 0, ssl=SERVER()))
    stack.callback(server.close)
    sock = stack.enter_context(socket.create_connection(server.sockets[0].getsockname()))
    sock.setblocking(False)
    peer = peer_of(sock, "server")
    along(loop, peer, lambda: peer.ready)
    said = []

    def goodbye():
        if not said:
            said.append(True)
            peer.unwrap()

    def help_(iteration):
        peer.go_along()
        if iteration == 3:
            server.close()
        if iteration == 6:
            goodbye()

    def finished(_):
        goodbye()
        gone(loop, peer)

    def cancelled(loop):
        if not said:
            peer.write(b"still there")
            along(loop, peer, lambda: peer.data.endswith(b"still there"))
        finished(None)
        server.close()

    return Swept(server.wait_closed, help_, cancelled, finished)


CALLS = {
    "create_connection": connecting(
        lambda loop, address: loop.create_connection(Recorder, *address, ssl=CLIENT(), server_hostname=HOST)
    ),
    "create_connection to a name": connecting(
        lambda loop, address: loop.create_connection(
            Recorder, "localhost", address[1], family=socket.AF_INET, ssl=CLIENT()
        )
    ),
    "create_unix_connection": connecting(
        lambda loop, path: loop.create_unix_connection(Recorder, path, ssl=CLIENT(), server_hostname=HOST),
        socket.AF_UNIX,
    ),
    "open_connection": connecting(open_connection),
    "create_connection with a socket": of_a_socket("create_connection", "client", server_hostname=HOST),
    "create_unix_connection with a socket": of_a_socket("create_unix_connection", "client", server_hostname=HOST),
    "connect_accepted_socket": of_a_socket("connect_accepted_socket", "server"),
    **{f"start_tls as the {side}": start_tls(side) for side in SIDES},
    "start_tls on what was sent before": start_tls("server", early=True),
    "StreamWriter.start_tls": stream_start_tls,
    "create_server": create_server(lambda loop: loop.create_server(Recorder, ADDRESS, 0, ssl=SERVER())),
    "create_unix_server": create_server(lambda loop: loop.create_unix_server(Recorder, abstract_name(), ssl=SERVER())),
    "start_server": create_server(
        lambda loop: asyncio.start_server(lambda reader, writer: None, ADDRESS, 0, ssl=SERVER())
    ),
    "Server.wait_closed": server_wait_closed,
    "read": reading(lambda reader: reader.read(6)),
    "readexactly": reading(lambda reader: reader.readexactly(6)),
    "readuntil": reading(lambda reader: reader.readuntil(b"o\nr")),
    "drain": drain,
    "StreamWriter.wait_closed": wait_closed,
}

# asyncio leaves a server that serves and that nobody has.
ASYNCIO_LEAVES = {"create_server", "create_unix_server", "start_server"}


@pytest.mark.parametrize("call", CALLS)
def test_sweep(loop_name, loop_factory, call, monkeypatch):
    strict = STRICT[loop_name]
    if not strict:
        # What asyncio leaves to the collector it warns about.
        monkeypatch.setattr("sys.unraisablehook", lambda *_: None)
    with contextlib.closing(loop_factory()) as loop:
        # So that its threads are there before anything is counted.
        run(loop, loop.getaddrinfo("localhost", 80))
        run(loop, loop.run_in_executor(None, int))
        with contextlib.suppress(AssertionError if call in ASYNCIO_LEAVES and not strict else ()):
            assert sweep(loop, CALLS[call], collect=not strict, delays=DELAYS) > 0
        run(loop, loop.shutdown_default_executor())
    if not strict:
        gc.collect()
