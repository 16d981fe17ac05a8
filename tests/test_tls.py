# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""TLS with the user's own context, as client and as server: bytes arrive, and what a transport tells.

The handshake is in test_tls_handshake, how connections end in test_tls_ends, flow control in test_tls_flow_control,
`start_tls` in test_tls_start.
"""

import asyncio
import gc
import os
import ssl
import weakref

import pytest
from helpers.compare import like_asyncio
from helpers.peers import connected_pair
from helpers.recorder import BufferedRecorder, Recorder
from helpers.scene import until
from helpers.tls import (
    HOST,
    SIDES,
    VERSIONS,
    Peer,
    buffered,
    client_context,
    server_context,
    start,
    tls_scene,
)

SIZES = [1, 2, 100, 16383, 16384, 16385, 65536, 300_000, 1_000_003]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("recorder", [Recorder, buffered])
def test_bytes_arrive_both_ways(loop_factory, side, version, recorder):
    with tls_scene(loop_factory, side, recorder(), version=version) as stage:
        assert stage.transport.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
        for size in SIZES:
            stage.exchange(os.urandom(size), os.urandom(min(size, 100_000)))
        assert stage.protocol.names[0] == "made"
        assert set(stage.protocol.names) <= {"made", "data", "pause", "resume"}


@pytest.mark.parametrize("buffer", [1, 7, 1000, 16384, 100_000])
@pytest.mark.parametrize("make", [bytearray, lambda size: memoryview(bytearray(size))], ids=["bytearray", "memoryview"])
def test_a_protocol_s_own_buffer_of_any_size(oneloop, buffer, make):
    # On ours only: asyncio slices a bytearray, and then decrypts into the copy.
    protocol = BufferedRecorder()
    protocol.buffer = make(buffer)
    with tls_scene(oneloop.new_event_loop, protocol=protocol) as stage:
        data = os.urandom(50_000)
        stage.exchange(b"", data)


def test_many_small_pieces_arrive_in_order(loop_factory):
    with tls_scene(loop_factory) as stage:
        pieces = [bytes([number % 256]) * (number % 97) for number in range(2000)]

        def write():
            for piece in pieces:
                stage.transport.write(piece)

        stage.call(write)
        whole = b"".join(pieces)
        stage.until(lambda: (stage.peer.read(), len(stage.peer.data) == len(whole))[1])
        assert stage.peer.data == whole
        stage.call(stage.transport.writelines, pieces)
        stage.until(lambda: (stage.peer.read(), len(stage.peer.data) == 2 * len(whole))[1])
        assert stage.peer.data == 2 * whole


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data))[::1]])
def test_what_can_be_written(loop_factory, wrap):
    with tls_scene(loop_factory) as stage:
        for size in (0, 1, 20_000):
            data = os.urandom(size)
            before = len(stage.peer.data)
            stage.call(stage.transport.write, wrap(data))
            stage.until(lambda size=size, before=before: (stage.peer.read(), len(stage.peer.data) - before == size)[1])
            assert stage.peer.data[before:] == data


def test_a_bytearray_may_be_changed_after_it_was_written(oneloop):
    # On ours only: asyncio keeps the object itself until the handshake is done.
    contexts = {"client": client_context(), "server": server_context()}
    loop = oneloop.new_event_loop()
    ours, theirs = connected_pair("socketpair")
    protocol = Recorder(made=lambda transport: write(transport))

    def write(transport):
        data = bytearray(b"first")
        transport.write(data)
        data[:] = b"other"
        transport.writelines([data])
        data[:] = b"third"

    with theirs:
        peer = Peer(theirs, contexts["server"], "server")
        task = start(loop, ours, "client", contexts["client"], protocol)
        until(loop, lambda: peer.handshake() and task.done())
        until(loop, lambda: (peer.read(), len(peer.data) == 10)[1])
        assert peer.data == b"firstother"
        task.result()[0].abort()
        until(loop, lambda: "lost" in protocol.names)
    loop.close()


def test_what_cannot_be_written(loop_factory):
    def scenario(factory):
        with tls_scene(factory) as stage:
            wrong = [None, 1, "text", [b"bytes"], object]
            return [stage.call(stage.transport.write, value) for value in wrong], stage.trace, stage.reports

    like_asyncio(scenario, loop_factory)


def test_writelines_of_something_else(loop_factory):
    def scenario(factory):
        seen = []
        for lines in [None, 1, [1], [None]]:
            with tls_scene(factory) as stage:
                seen.append(stage.call(stage.transport.writelines, lines))
                stage.step(3)
                seen.append((stage.trace, stage.reports))
        return seen

    like_asyncio(scenario, loop_factory)


def test_a_piece_that_is_no_bytes_ends_the_connection(loop_factory):
    with tls_scene(loop_factory) as stage:
        assert stage.call(stage.transport.writelines, [b"bytes", "text"]) is None
        stage.until_lost()
        (report,) = stage.reports
        assert report["message"] == "Fatal error on SSL protocol"
        assert report["exception"].startswith("TypeError(")
        assert report["protocol"] == "<TLS PROTOCOL>"
        assert stage.trace[-1][1].startswith("TypeError: ")


# What a transport tells.


@pytest.mark.parametrize("side", SIDES)
def test_extra_info(loop_factory, side):
    with tls_scene(loop_factory, side, kind="tcp") as stage:
        info = stage.transport.get_extra_info
        ssl_object = info("ssl_object")
        assert isinstance(ssl_object, ssl.SSLObject)
        assert isinstance(info("sslcontext"), ssl.SSLContext)
        assert info("cipher") == ssl_object.cipher() == stage.peer.tls.cipher()
        assert info("compression") is None
        assert info("peercert") == ssl_object.getpeercert()
        if side == "client":
            assert ("DNS", HOST) in info("peercert")["subjectAltName"]
        else:
            assert info("peercert") is None
        assert info("socket").fileno() > 0
        assert info("peername") == stage.peer.sock.getsockname()
        assert info("sockname") == stage.peer.sock.getpeername()
        assert info("something else") is None
        assert info("something else", 7) == info("something else", default=7) == 7
        stage.call(stage.transport.abort)
        stage.until_lost()
        # As asyncio's: what the transport below told is gone with it, the rest stays.
        assert info("peername") is None
        assert info("socket", 7) == 7
        assert info("cipher") == ssl_object.cipher()


def test_what_a_transport_is(loop_factory):
    with tls_scene(loop_factory) as stage:
        transport = stage.transport
        assert isinstance(transport, asyncio.Transport)
        assert "ssl" in type(transport).__name__.lower()
        assert transport._start_tls_compatible is True
        assert transport._sendfile_compatible is asyncio.constants._SendfileMode.FALLBACK
        assert transport._protocol_paused is False
        assert transport._loop is stage.loop
        assert transport.can_write_eof() is False
        assert stage.call(transport.write_eof) == ("NotImplementedError", "")
        assert transport.is_reading() is True
        assert transport.is_closing() is False
        assert transport.get_write_buffer_size() == transport.get_read_buffer_size() == 0
        assert transport.get_protocol() is stage.protocol
        transport.note = "as on asyncio's"
        assert weakref.ref(transport)() is transport
        assert transport.__dict__ == {"note": "as on asyncio's"} or "note" in transport.__dict__


def test_another_protocol(loop_factory):
    with tls_scene(loop_factory) as stage:
        second, third = buffered(), Recorder()
        for protocol in (second, third):
            stage.call(stage.transport.set_protocol, protocol)
            assert stage.transport.get_protocol() is protocol
            stage.peer.write(b"for you")
            stage.until(lambda protocol=protocol: protocol.data == b"for you")
        stage.call(stage.transport.abort)
        stage.until(lambda: "lost" in third.names)
        assert stage.trace == [("made",)]
        assert second.trace == [("data", b"for you")]
        stage.protocol.trace.append(("lost", None))


# Nothing is left.


def test_nothing_is_left_of_a_connection(loop_factory):
    """Objects are gone when the last reference is: no cycle holds them until a collection."""
    gc.disable()
    try:
        with tls_scene(loop_factory) as stage:
            stage.exchange(b"a", b"b")
            stage.call(stage.transport.close)
            stage.until(lambda: stage.peer.read() == b"" and stage.peer.told_end)
            stage.peer.unwrap()
            stage.until_lost()
            stage.step(2)
            references = [weakref.ref(stage.transport), weakref.ref(stage.transport.get_extra_info("ssl_object"))]
            stage.transport = stage.protocol.transport = None
            assert [reference() for reference in references] == [None, None]
    finally:
        gc.enable()
