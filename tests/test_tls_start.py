# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""TLS on a connection that was plain: `start_tls` on either side, with bytes already there, and over TLS.

What it refuses is in test_tls_arguments, how it is cancelled in test_tls_sweep.
"""

import asyncio
import contextlib
import os
import ssl

import pytest
from helpers.compare import like_asyncio
from helpers.loops import run_once, steps
from helpers.peers import connected_pair, drain
from helpers.recorder import Recorder
from helpers.scene import until
from helpers.tls import HOST, SIDES, VERSIONS, Peer, TLSScene, buffered, client_context, same, server_context


@contextlib.contextmanager
def plain(factory, kind="socketpair", protocol=None):
    """A plain connection of a loop: what it is, and the socket at the other end."""
    protocol = protocol or Recorder()
    ours, theirs = connected_pair(kind)
    with contextlib.closing(factory()) as loop, theirs:
        transport, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=ours))
        try:
            yield loop, transport, protocol, theirs
        finally:
            transport.abort()
            steps(loop, 4)


def start_tls(loop, transport, protocol, side, context=None, **kwargs):
    if side == "client":
        kwargs.setdefault("server_hostname", HOST)
        context = context or client_context()
    else:
        context = context or server_context()
    return loop.create_task(loop.start_tls(transport, protocol, context, server_side=side == "server", **kwargs))


def other(side):
    return "client" if side == "server" else "server"


def peer_of(sock, side, version=None):
    context = client_context(version) if side == "server" else server_context(version=version)
    return Peer(sock, context, other(side))


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("recorder", [Recorder, buffered])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_plain_connection_goes_on_with_tls(loop_factory, side, version, recorder, kind):
    with plain(loop_factory, kind, recorder()) as (loop, transport, protocol, sock):
        transport.write(b"plain out")
        sock.send(b"plain in")
        until(loop, lambda: protocol.data == b"plain in")
        assert sock.recv(100) == b"plain out"
        scene = TLSScene(loop, peer_of(sock, side, version), protocol)
        task = start_tls(loop, transport, protocol, side)
        until(loop, lambda: scene.peer.handshake() and task.done())
        scene.transport = task.result()
        assert scene.transport is not transport
        assert scene.transport.get_protocol() is protocol
        assert scene.transport.get_extra_info("peername") == transport.get_extra_info("peername")
        assert scene.transport.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
        for size in (10, 100_000):
            scene.exchange(os.urandom(size), os.urandom(size))
        # Not told again of the connection, and once of its end.
        scene.transport.close()
        until(loop, lambda: (scene.peer.read(), scene.peer.told_end and scene.peer.unwrap())[1])
        scene.until_lost()
        assert protocol.names.count("made") == 1
        assert protocol.names[-2:] == ["eof", "lost"]
        assert protocol.trace[-1] == ("lost", None)


@pytest.mark.parametrize("side", SIDES)
def test_bytes_that_came_before_are_not_lost(loop_factory, side):
    """The transport below reads nothing between the protocols, so what the kernel has is TLS's."""
    with plain(loop_factory) as (loop, transport, protocol, sock):
        peer = peer_of(sock, side)
        if side == "server":
            peer.handshake()  # its ClientHello is there before anybody asks for it
        task = start_tls(loop, transport, protocol, side)
        until(loop, lambda: peer.handshake() and task.done())
        assert protocol.trace == [("made",)]
        peer.write(b"safe")
        until(loop, lambda: protocol.data == b"safe")
        task.result().abort()


@pytest.mark.parametrize("side", SIDES)
def test_bytes_that_were_written_before_go_first_and_in_plain(loop_factory, side):
    """What the kernel has not taken yet is the transport's below, and stays before the handshake."""
    before = os.urandom(700_000)
    with plain(loop_factory) as (loop, transport, protocol, sock):
        transport.write(before)
        assert transport.get_write_buffer_size() > 0
        peer, received = peer_of(sock, side), bytearray()
        task = start_tls(loop, transport, protocol, side)

        def done():
            if len(received) < len(before):
                # Not a byte more: what follows is the handshake.
                received.extend(drain(sock, len(before) - len(received)))
                return False
            return peer.handshake() and task.done()

        until(loop, done)
        assert received == before
        scene = TLSScene(loop, peer, protocol)
        scene.transport = task.result()
        scene.exchange(os.urandom(100_000), os.urandom(100_000))
        scene.transport.abort()


def _reader_with_its_transport(loop, sock):
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=sock))
    return reader, protocol, transport


@pytest.mark.parametrize("when", ["all", "half"])
def test_bytes_in_a_stream_reader_before_a_server_s_start_are_the_handshake_s(oneloop, when):
    # On ours only: asyncio has it from 3.14 on.
    loop = oneloop.new_event_loop()
    ours, theirs = connected_pair("tcp")
    with theirs:
        reader, protocol, transport = _reader_with_its_transport(loop, ours)
        theirs.send(b"STARTTLS\n")
        assert loop.run_until_complete(reader.readline()) == b"STARTTLS\n"
        peer = Peer(theirs, client_context(), "client")
        with contextlib.suppress(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        hello = peer.outgoing.read()
        early = len(hello) if when == "all" else len(hello) // 2
        theirs.send(hello[:early])
        until(loop, lambda: len(reader._buffer) == early)
        task = loop.create_task(loop.start_tls(transport, protocol, server_context(), server_side=True))
        run_once(loop)
        theirs.send(hello[early:])
        until(loop, lambda: peer.handshake() and task.done())
        assert not reader._buffer
        protocol._transport = task.result()
        peer.write(b"safe\n")
        assert loop.run_until_complete(reader.readline()) == b"safe\n"
        task.result().abort()
        steps(loop, 4)
    loop.close()


def test_plain_bytes_in_a_client_s_reader_are_not_taken_for_tls(loop_factory):
    loop = loop_factory()
    ours, theirs = connected_pair("tcp")
    with theirs:
        reader, protocol, transport = _reader_with_its_transport(loop, ours)
        theirs.send(b"plain\n")
        until(loop, lambda: reader._buffer)
        peer = Peer(theirs, server_context(), "server")
        task = loop.create_task(loop.start_tls(transport, protocol, client_context(), server_hostname=HOST))
        until(loop, lambda: peer.handshake() and task.done())
        assert bytes(reader._buffer) == b"plain\n"
        task.result().abort()
        steps(loop, 4)
    loop.close()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("inner", VERSIONS, ids=lambda version: f"inner {version.name}")
def test_tls_in_tls(loop_factory, side, inner):
    with plain(loop_factory) as (loop, transport, protocol, sock):
        outer_peer = peer_of(sock, side)
        task = start_tls(loop, transport, protocol, side)
        until(loop, lambda: outer_peer.handshake() and task.done())
        outer = task.result()

        inner_peer = peer_of(None, side, inner)

        def pump():
            outer_peer.read()
            inner_peer.feed(bytes(outer_peer.data))
            outer_peer.data.clear()
            outer_peer.write(inner_peer.outgoing.read())

        inner_peer._receive = pump
        inner_peer._send = lambda: outer_peer.write(inner_peer.outgoing.read())
        task = start_tls(loop, outer, protocol, side)
        until(loop, lambda: inner_peer.handshake() and task.done())
        scene = TLSScene(loop, inner_peer, protocol)
        scene.transport = task.result()
        assert scene.transport.get_extra_info("ssl_object").version() == inner.name.replace("_", ".")
        assert scene.transport.get_extra_info("socket").fileno() == transport.get_extra_info("socket").fileno()
        for size in (1, 20_000, 200_000):
            scene.exchange(os.urandom(size), os.urandom(min(size, 50_000)))
        # Closing the inner one closes the outer one, politely both.
        scene.transport.close()
        until(loop, lambda: (inner_peer.read(), inner_peer.told_end and inner_peer.unwrap())[1])
        until(loop, lambda: (outer_peer.read(), outer_peer.told_end and outer_peer.unwrap())[1])
        scene.until_lost()
        assert protocol.trace[-1] == ("lost", None)
        assert protocol.names.count("lost") == 1


def test_asyncio_s_own_tls_over_our_transports(oneloop):
    from asyncio import sslproto

    with plain(oneloop.new_event_loop) as (loop, transport, protocol, sock):
        peer = peer_of(sock, "client")
        waiter = loop.create_future()
        layer = sslproto.SSLProtocol(
            loop, protocol, client_context(), waiter, server_hostname=HOST, call_connection_made=False
        )
        transport.set_protocol(layer)
        loop.call_soon(layer.connection_made, transport)
        until(loop, lambda: peer.handshake() and waiter.done())
        scene = TLSScene(loop, peer, protocol)
        scene.transport = layer._app_transport
        scene.exchange(os.urandom(100_000), os.urandom(50_000))
        # And ours over that.
        inner = peer_of(None, "client")
        inner._receive = lambda: (peer.read(), inner.feed(bytes(peer.data)), peer.data.clear())
        inner._send = lambda: peer.write(inner.outgoing.read())
        peer.data.clear()
        task = start_tls(loop, scene.transport, protocol, "client")
        until(loop, lambda: inner.handshake() and task.done())
        scene = TLSScene(loop, inner, protocol)
        scene.transport = task.result()
        scene.exchange(os.urandom(100_000), os.urandom(50_000))
        scene.transport.abort()
        scene.until_lost()


def test_our_tls_over_asyncio_s_transports(oneloop):
    loop = asyncio.SelectorEventLoop()
    ours, theirs = connected_pair("socketpair")
    with theirs:
        protocol = Recorder()
        transport, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=ours))
        waiter = loop.create_future()
        settings = oneloop._core._TLSSettings(client_context(), server_hostname=HOST)
        layer = oneloop._core._wrap_tls(loop, protocol, settings, waiter, knows=True)
        surface = layer._app_transport
        transport.set_protocol(layer)
        loop.call_soon(layer.connection_made, transport)
        peer = peer_of(theirs, "client")
        until(loop, lambda: peer.handshake() and waiter.done())
        scene = TLSScene(loop, peer, protocol)
        scene.transport = surface
        for size in (1, 1000, 1_000_000):
            scene.exchange(os.urandom(size), os.urandom(min(size, 100_000)))
        scene.transport.close()
        until(loop, lambda: (peer.read(), peer.told_end and peer.unwrap())[1])
        scene.until_lost()
        assert protocol.trace[-1] == ("lost", None)
    loop.close()


# Failing.


@pytest.mark.parametrize("side", SIDES)
def test_a_handshake_that_fails_ends_the_connection(loop_factory, side):
    def scenario(factory):
        with plain(factory) as (loop, transport, protocol, sock):
            reports = []
            loop.set_exception_handler(lambda _, context: reports.append(context["message"]))
            task = start_tls(loop, transport, protocol, side)
            steps(loop, 3)
            sock.send(b"220 this is no TLS\r\n")
            until(loop, task.done)
            error = task.exception()
            until(loop, lambda: "lost" in protocol.names)
            return type(error).__name__, same(error), [entry[0] for entry in protocol.trace], reports, same(transport)

    seen = like_asyncio(scenario, loop_factory)
    assert seen[0] == "SSLError"
    assert seen[2:4] == (["made", "lost"], [])


def test_a_handshake_that_nobody_answers(loop_factory):
    with plain(loop_factory) as (loop, transport, protocol, sock):
        task = start_tls(loop, transport, protocol, "client", ssl_handshake_timeout=0.02)
        until(loop, task.done)
        error = task.exception()
        assert type(error) is ConnectionAbortedError
        assert str(error) == "SSL handshake is taking longer than 0.02 seconds: aborting the connection"
        steps(loop, 3)
        assert transport.is_closing()
        sock.setblocking(True)
        while sock.recv(1 << 16):
            pass


@pytest.mark.parametrize("end", ["abort", "close"])
def test_a_connection_that_is_closed_in_the_handshake(oneloop, end):
    # On ours only: asyncio's start_tls then returns None, and the protocol is told nothing.
    with plain(oneloop.new_event_loop) as (loop, transport, protocol, _):
        task = start_tls(loop, transport, protocol, "client")
        steps(loop, 3)
        getattr(transport, end)()
        until(loop, task.done)
        assert type(task.exception()) is ConnectionAbortedError
        until(loop, lambda: "lost" in protocol.names)
        assert protocol.trace == [("made",), ("lost", None)]


def test_waiting_for_a_stream_to_be_closed_whose_start_failed(oneloop):
    # On ours only: asyncio's protocol is not told that its connection is lost, and this would wait for ever.
    loop = oneloop.new_event_loop()
    ours, theirs = connected_pair("tcp")

    async def main():
        _, writer = await asyncio.open_connection(sock=ours)
        with pytest.raises(ConnectionAbortedError):
            await writer.start_tls(client_context(), server_hostname=HOST, ssl_handshake_timeout=0.02)
        writer.close()
        with pytest.raises(ConnectionAbortedError):
            await asyncio.wait_for(writer.wait_closed(), 5)

    with theirs, contextlib.closing(loop):
        loop.run_until_complete(main())
