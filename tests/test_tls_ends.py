# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""How TLS connections end: close_notify from either side, without it, in the middle of things, aborted, too late.

connection_lost is called exactly once, last; what was written before close() arrives; what came before the end is
delivered, also to a protocol that has paused reading.
"""

import contextlib
import os
import socket
import struct

import pytest
from helpers.compare import like_asyncio, logged
from helpers.descriptors import found_unclosed
from helpers.loops import manual_clock, steps
from helpers.peers import connected_pair, drain
from helpers.recorder import Recorder
from helpers.scene import until
from helpers.tls import (
    HOST,
    SIDES,
    VERSIONS,
    Peer,
    buffered,
    client_context,
    same,
    server_context,
    start,
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


# Aborting, and too late.


@pytest.mark.parametrize("unsent", [0, 3_000_000])
def test_abort(loop_factory, unsent):
    with tls_scene(loop_factory, send_buffer=SEND_BUFFER) as stage:
        stage.call(stage.transport.set_write_buffer_limits, 1 << 30)
        if unsent:
            stage.call(stage.transport.write, bytes(unsent))
        stage.call(stage.transport.abort)
        assert stage.transport.is_closing()
        assert stage.call(stage.transport.abort) is None
        stage.step(3)
        assert stage.trace == [("made",), ("lost", None)]
        drain(stage.peer.sock)
        assert not stage.peer.told_end


def test_forced_to_close_for_an_error(oneloop):
    # On ours only: asyncio's raises TypeError up to 3.12.
    with tls_scene(oneloop.new_event_loop) as stage:
        stage.call(stage.transport._force_close, OSError("for a reason"))
        stage.until_lost()
        assert stage.trace == [("made",), ("lost", "OSError: for a reason")]


def test_abort_while_closing(loop_factory):
    with tls_scene(loop_factory) as stage:
        stage.call(stage.transport.close)
        stage.call(stage.transport.abort)
        stage.step(3)
        assert stage.trace == [("made",), ("lost", None)]


def test_abort_after_closing_twice(oneloop):
    # On ours only: asyncio's second close() lets go of the connection, and abort() finds none.
    with tls_scene(oneloop.new_event_loop) as stage:
        stage.call(stage.transport.close)
        stage.call(stage.transport.close)
        stage.call(stage.transport.abort)
        stage.step(3)
        assert stage.trace == [("made",), ("lost", None)]


def test_every_method_of_a_transport_that_is_gone(loop_factory):
    def scenario(factory):
        with tls_scene(factory) as stage:
            stage.call(stage.transport.abort)
            stage.until_lost()
            transport = stage.transport
            calls = {
                "abort": (),
                "is_closing": (),
                "is_reading": (),
                "pause_reading": (),
                "resume_reading": (),
                "get_protocol": (),
                "get_write_buffer_size": (),
                "get_write_buffer_limits": (),
                "get_read_buffer_limits": (),
                "get_extra_info": ("peername",),
                "write": (b"late",),
                "writelines": ([b"late"],),
                "can_write_eof": (),
                "write_eof": (),
            }
            seen = [stage.call(getattr(transport, name), *arguments) for name, arguments in calls.items()]
            stage.step(2)
            return seen, stage.trace, stage.reports

    like_asyncio(scenario, loop_factory)


def test_late_writes_are_told_of_after_a_while(loop_factory):
    def scenario(factory):
        with logged() as lines, tls_scene(factory) as stage:
            stage.call(stage.transport.abort)
            stage.until_lost()
            for _ in range(8):
                stage.call(stage.transport.write, b"late")
            stage.call(stage.transport.writelines, [b"late"])
            return lines

    lines = like_asyncio(scenario, loop_factory)
    assert set(lines) == {"WARNING: SSL connection is closed [NoneType: None]"}


# Callbacks that fail.


@pytest.mark.parametrize("callback", ["data", "eof", "lost"])
@pytest.mark.parametrize("error", [ValueError, OSError, GeneratorExit])
def test_a_callback_that_raises(loop_factory, callback, error):
    def fail(transport):
        raise error("as told")

    def scenario(factory):
        with tls_scene(factory, protocol=Recorder(**{callback: fail})) as stage:
            stage.peer.write(b"something")
            stage.peer.unwrap()
            stage.until_lost()
            stage.step(3)
            return stage.trace, stage.reports

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("error", [ValueError, OSError, GeneratorExit])
def test_a_connection_made_that_raises(loop_factory, error):
    def fail(transport):
        raise error("as told")

    def scenario(factory):
        ours, theirs = connected_pair("socketpair")
        protocol, reports = Recorder(made=fail), []
        with contextlib.closing(factory()) as loop, theirs:
            loop.set_exception_handler(lambda _, context: reports.append(same(context["message"])))
            peer = Peer(theirs, server_context(), "server")
            task = start(loop, ours, "client", client_context(), protocol)
            until(loop, lambda: (peer.handshake(), task.done())[1])
            steps(loop, 3)
            return same(repr(task.exception())), protocol.trace, reports

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("callback", ["data", "eof", "lost"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_callback_ends_the_run(loop_factory, callback, error):
    raised = []

    def fail(transport):
        if not raised:
            raised.append(error)
            raise error

    with tls_scene(loop_factory, protocol=Recorder(**{callback: fail})) as stage:
        stage.peer.write(b"something")
        stage.peer.unwrap()
        with pytest.raises(error):
            stage.step(10)
        assert raised == [error]
        # The loop can be run again, and the connection ended.
        stage.call(stage.transport.abort)
        stage.step(3)


# Nobody closes it.


def leave(loop, how):
    """Begin a connection in this way, and go."""
    ours, theirs = connected_pair("socketpair")
    side = "server" if how == "server" else "client"
    contexts = {"client": client_context(), "server": server_context()}
    peer = Peer(
        theirs, contexts["client" if side == "server" else "server"], "client" if side == "server" else "server"
    )
    protocol = Recorder()
    if how == "start_tls":
        below, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=ours))
        task = loop.create_task(loop.start_tls(below, protocol, contexts[side], server_hostname=HOST))
    else:
        task = start(loop, ours, side, contexts[side], protocol)
    if how == "in the handshake":
        steps(loop, 3)
        task.cancel()
    until(loop, lambda: (peer.go_along(), task.done())[1])
    if how in ("close", "abort"):
        getattr(protocol.transport, how)()
        until(loop, lambda: (peer.go_along(), "lost" in protocol.names)[1])
    steps(loop, 3)
    theirs.close()


@pytest.mark.parametrize("how", ["client", "server", "start_tls", "in the handshake", "close", "abort"])
def test_a_connection_that_nobody_closed(loop_factory, how):
    with found_unclosed() as messages:
        loop = loop_factory()
        leave(loop, how)
        loop.close()
        del loop
    is_left = how in ("client", "server", "start_tls")
    about_tls = [message for message in messages if "SSL" in message]
    assert len(about_tls) == is_left
    assert all(message.startswith("unclosed transport <") for message in about_tls)
    assert bool([message for message in messages if "SocketTransport" in message]) == is_left
