# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""How TLS connections end: close_notify from either side, without it, in the middle of things, too slowly.

connection_lost is called exactly once, last; what was written before close() arrives; what came before the end is
delivered, also to a protocol that has paused reading.
"""

import os
import socket
import struct

import pytest
from helpers.compare import like_asyncio, logged
from helpers.loops import manual_clock
from helpers.recorder import Recorder
from helpers.tls import (
    SIDES,
    VERSIONS,
    buffered,
    tls_scene,
)

SEND_BUFFER = 8192


def told_end(stage):
    """The peer has received close_notify."""
    return lambda: (stage.peer.read(), stage.peer.told_end)[1]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("side", SIDES)
def test_our_close(loop_factory, side, version):
    with tls_scene(loop_factory, side, version=version) as stage:
        stage.call(stage.transport.write, b"last words")
        stage.call(stage.transport.close)
        assert stage.transport.is_closing()
        assert stage.call(stage.transport.close) is None
        stage.until(told_end(stage))
        assert stage.peer.data == b"last words"
        # The connection stays until the peer has answered.
        stage.step(5)
        assert stage.trace == [("made",)]
        assert stage.peer.unwrap()
        stage.until_lost()
        assert stage.trace == [("made",), ("eof",), ("lost", None)]
        stage.until(lambda: stage.peer.read() == b"" and stage.peer.ended)
        assert stage.reports == []


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("recorder", [Recorder, buffered])
def test_the_peer_s_close(loop_factory, side, version, recorder):
    with tls_scene(loop_factory, side, recorder(), version=version) as stage:
        stage.peer.write(b"last words")
        stage.peer.unwrap()
        stage.until_lost()
        assert stage.trace == [("made",), ("data", b"last words"), ("eof",), ("lost", None)]
        stage.until(told_end(stage))
        assert stage.transport.is_closing()
        assert stage.reports == []


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("recorder", [Recorder, buffered])
def test_the_peer_s_end_without_close_notify(loop_factory, side, recorder):
    with tls_scene(loop_factory, side, recorder()) as stage:
        stage.peer.write(b"last words")
        stage.peer.sock.shutdown(socket.SHUT_WR)
        stage.until_lost()
        assert stage.trace == [("made",), ("data", b"last words"), ("eof",), ("lost", None)]
        assert stage.reports == []


def test_the_peer_s_end_in_the_middle_of_a_record(loop_factory):
    with tls_scene(loop_factory) as stage:
        stage.peer.tls.write(b"whole")
        stage.peer.tls.write(b"in part")
        stage.peer.sock.send(stage.peer.outgoing.read()[:-1])
        stage.peer.sock.shutdown(socket.SHUT_WR)
        stage.until_lost()
        assert stage.trace == [("made",), ("data", b"whole"), ("eof",), ("lost", None)]


@pytest.mark.parametrize("answer", [None, True, False, "something"])
@pytest.mark.parametrize("polite", [True, False])
def test_what_eof_received_returns_has_no_effect(loop_factory, answer, polite):
    def scenario(factory):
        with logged() as lines, tls_scene(factory, protocol=Recorder(eof=lambda transport: answer)) as stage:
            if polite:
                stage.peer.unwrap()
            else:
                stage.peer.sock.shutdown(socket.SHUT_WR)
            stage.until_lost()
            return stage.trace, stage.reports, lines

    trace, _, lines = like_asyncio(scenario, loop_factory)
    assert trace == [("made",), ("eof",), ("lost", None)]
    said = "WARNING: returning true from eof_received() has no effect when using ssl [NoneType: None]"
    assert [line for line in lines if "eof_received" in line] == ([said] if answer else [])


def test_a_peer_that_resets(loop_factory):
    with tls_scene(loop_factory, kind="tcp") as stage:
        stage.peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stage.peer.sock.close()
        stage.until_lost()
        (_, lost) = stage.trace
        assert lost[1].startswith("ConnectionResetError")
        assert stage.reports == []


@pytest.mark.parametrize("flip", [0, 5, 20, -1])
def test_a_record_that_was_tampered_with(loop_factory, flip):
    """What came before it is delivered, the rest is not, and the connection ends with the error."""
    with tls_scene(loop_factory) as stage:
        stage.peer.tls.write(b"good")
        good = stage.peer.outgoing.read()
        stage.peer.tls.write(b"evil")
        evil = bytearray(stage.peer.outgoing.read())
        evil[flip] ^= 0xFF
        stage.peer.sock.send(good)
        stage.until(lambda: stage.protocol.data)
        stage.peer.sock.send(bytes(evil))
        stage.until_lost()
        assert stage.trace[:-1] == [("made",), ("data", b"good")]
        assert stage.trace[-1][1].startswith("SSLError: [SSL")
        assert stage.reports == []


def test_good_bytes_before_a_broken_record_in_one_piece(oneloop):
    # On ours only: asyncio forgets what it decrypted before the error.
    with tls_scene(oneloop.new_event_loop) as stage:
        stage.peer.tls.write(b"good")
        stage.peer.sock.send(stage.peer.outgoing.read() + bytes(100))
        stage.until_lost()
        assert stage.trace[:-1] == [("made",), ("data", b"good")]


# Closing with something left.


@pytest.mark.parametrize("side", SIDES)
def test_what_was_written_before_closing_arrives(loop_factory, side):
    with tls_scene(loop_factory, side, send_buffer=SEND_BUFFER) as stage:
        data = os.urandom(3_000_000)
        stage.call(stage.transport.write, data)
        stage.call(stage.transport.close)
        assert not told_end(stage)()
        stage.until(told_end(stage))
        assert stage.peer.data == data
        stage.peer.unwrap()
        stage.until_lost()
        assert stage.trace[-1] == ("lost", None)


def test_what_was_written_before_the_peer_closed_arrives(loop_factory):
    with tls_scene(loop_factory, send_buffer=SEND_BUFFER) as stage:
        data = os.urandom(3_000_000)
        stage.call(stage.transport.write, data)
        stage.peer.unwrap()
        stage.until(told_end(stage))
        assert stage.peer.data == data
        stage.until_lost()
        assert stage.trace[-1] == ("lost", None)
        assert "eof" in stage.protocol.names


def test_what_was_written_before_the_peer_s_end_arrives(loop_factory):
    with tls_scene(loop_factory, send_buffer=SEND_BUFFER) as stage:
        data = os.urandom(3_000_000)
        stage.call(stage.transport.write, data)
        stage.peer.sock.shutdown(socket.SHUT_WR)
        stage.until(lambda: (stage.peer.read(), len(stage.peer.data) == len(data))[1])
        assert stage.peer.data == data
        stage.until_lost()
        assert stage.trace[-1] == ("lost", None)


@pytest.mark.parametrize("recorder", [Recorder, buffered])
@pytest.mark.parametrize("size", [1, 200_000])
def test_closed_in_the_middle_of_a_download(loop_factory, recorder, size):
    """The peer goes on sending: the connection ends, once, with what TLS says to that; and the loop goes on."""

    def close(transport):
        if not transport.is_closing():
            transport.close()

    with tls_scene(loop_factory, protocol=recorder(data=close)) as stage:
        piece = os.urandom(size)

        def send():
            if not stage.peer.ended:
                stage.peer.write(piece)
            return "lost" in stage.protocol.names

        stage.until(send)
        assert stage.protocol.names[0] == "made"
        assert stage.protocol.names[-1] == "lost"
        assert stage.protocol.names.count("lost") == 1
        lost = stage.trace[-1][1]
        assert lost is None or "APPLICATION_DATA_AFTER_CLOSE_NOTIFY" in lost
        assert stage.reports == []


@pytest.mark.parametrize("polite", [True, False])
def test_a_protocol_that_pauses_reading_gets_everything_later(loop_factory, polite):
    """The peer sends all it has and goes away; nothing of it is lost, and the end comes after it."""
    with tls_scene(loop_factory) as stage:
        stage.call(stage.transport.pause_reading)
        data = os.urandom(40_000)
        stage.peer.write(data)
        if polite:
            stage.peer.unwrap()
        stage.peer.sock.shutdown(socket.SHUT_WR)
        stage.step(5)
        assert stage.trace == [("made",)]
        stage.call(stage.transport.resume_reading)
        stage.until_lost()
        assert stage.trace == [("made",), ("data", data), ("eof",), ("lost", None)]


@pytest.mark.parametrize("buffer", [1000, 65536])
def test_a_small_buffer_gets_everything_before_the_end(oneloop, buffer):
    # On ours only: asyncio fills the buffer once, and then shuts down.
    protocol = buffered()
    protocol.buffer = memoryview(bytearray(buffer))
    with tls_scene(oneloop.new_event_loop, protocol=protocol) as stage:
        data = os.urandom(100_000)
        stage.call(stage.transport.pause_reading)
        stage.peer.write(data)
        stage.peer.sock.shutdown(socket.SHUT_WR)
        stage.step(5)
        stage.call(stage.transport.resume_reading)
        stage.until_lost()
        assert stage.trace == [("made",), ("data", data), ("eof",), ("lost", None)]


def test_a_protocol_that_pauses_again_while_the_last_bytes_are_delivered(oneloop):
    # On ours only: asyncio hands over all that waits in one piece.
    def pause(transport):
        transport.pause_reading()

    with tls_scene(oneloop.new_event_loop, protocol=Recorder(data=pause)) as stage:
        data = os.urandom(600_000)
        stage.call(stage.transport.set_read_buffer_limits, 1 << 30)
        stage.call(stage.transport.pause_reading)
        sending = memoryview(data)
        while sending:
            stage.peer.write(sending[: 1 << 14])
            sending = sending[1 << 14 :]
            stage.step()
        stage.peer._send()
        stage.peer.sock.shutdown(socket.SHUT_WR)
        stage.step(5)
        while "eof" not in stage.protocol.names:
            before = len(stage.protocol.data)
            stage.call(stage.transport.resume_reading)
            stage.step(2)
            assert len(stage.protocol.data) - before < 300_000
        stage.until_lost()
        assert stage.protocol.data == data
        assert stage.protocol.names[-2:] == ["eof", "lost"]


def test_closing_while_the_peer_s_end_waits_for_the_reader(oneloop):
    # On ours only: asyncio's close() then has no effect, and the connection stays for ever.
    with tls_scene(oneloop.new_event_loop) as stage:
        stage.call(stage.transport.pause_reading)
        stage.peer.write(b"nobody wants it")
        stage.peer.sock.shutdown(socket.SHUT_WR)
        stage.step(5)
        stage.call(stage.transport.close)
        stage.until_lost()
        assert stage.trace[-1] == ("lost", None)


# Time.


def test_a_peer_that_does_not_answer_our_close(loop_class):
    factory = manual_clock(loop_class)
    with tls_scene(factory, ssl_shutdown_timeout=3) as stage:
        stage.call(stage.transport.close)
        stage.until(told_end(stage))
        stage.loop.advance(2.9)
        stage.step(3)
        assert stage.trace == [("made",)]
        stage.loop.advance(0.2)
        stage.step(3)
        assert stage.trace == [("made",), ("lost", "TimeoutError: SSL shutdown timed out")]
        assert stage.reports == []


def test_a_peer_that_does_not_read_what_is_left(oneloop):
    # On ours on every version: asyncio's limit of time covers the last bytes from 3.14 on.
    factory = manual_clock(oneloop.Loop)
    with tls_scene(factory, send_buffer=SEND_BUFFER, ssl_shutdown_timeout=3) as stage:
        stage.call(stage.transport.write, bytes(3_000_000))
        stage.peer.unwrap()
        stage.step(5)
        assert "lost" not in stage.protocol.names
        stage.loop.advance(3.1)
        stage.step(3)
        assert stage.trace[-1] == ("lost", "TimeoutError: SSL shutdown timed out")


def test_limits_are_asyncio_s_by_default(loop_class):
    factory = manual_clock(loop_class)
    with tls_scene(factory) as stage:
        stage.call(stage.transport.close)
        stage.until(told_end(stage))
        stage.loop.advance(29)
        stage.step(3)
        assert "lost" not in stage.protocol.names
        stage.loop.advance(2)
        stage.step(3)
        assert "lost" in stage.protocol.names
