# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""How a connection ends: write_eof, the peer's end, close with data left, abort, a peer that resets.

connection_lost is called exactly once, last, with None unless something failed; what was written before close() still
arrives; after it the descriptor is closed, and only then.
"""

import contextlib
import os
import socket
import struct
import weakref

import pytest
from helpers.compare import like_asyncio
from helpers.descriptors import found_unclosed, none_left
from helpers.loops import goes_on, run_once
from helpers.peers import KINDS, connected_pair, drain
from helpers.recorder import BufferedRecorder, Recorder
from helpers.scene import scene

SEND_BUFFER = 8192
LARGE = 100_000


def reset(end):
    """Close so that the other side hears of a reset, where the network has such a thing."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def ended(end):
    """What the peer sees at the end: the bytes that were left, and how it ended."""
    try:
        data = drain(end)
        return data, end.recv(1)
    except OSError as exc:
        return type(exc).__name__


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answer", [True, False, None, "something", 0])
@pytest.mark.parametrize("recorder", [Recorder, BufferedRecorder])
def test_the_peer_s_end(loop_factory, kind, answer, recorder):
    with scene(loop_factory, kind, recorder(eof=lambda transport: answer)) as stage:
        stage.peer.send(b"last words")
        stage.peer.shutdown(socket.SHUT_WR)
        stage.until(lambda: "eof" in stage.protocol.names)
        stage.step(2)
        if answer:
            # Half closed: it can still be written to.
            assert stage.trace == [("made",), ("data", b"last words"), ("eof",)]
            assert stage.state() == (0, True, False)
            stage.call(stage.transport.write, b"answer")
            stage.call(stage.transport.close)
            stage.step(2)
            assert ended(stage.peer) == (b"answer", b"")
        else:
            assert ended(stage.peer) == (b"", b"")
        assert stage.trace == [("made",), ("data", b"last words"), ("eof",), ("lost", None)]
        assert stage.state() == (0, False, True)


@pytest.mark.parametrize("kind", KINDS)
def test_our_end(loop_factory, kind):
    with scene(loop_factory, kind) as stage:
        assert stage.transport.can_write_eof() is True
        stage.call(stage.transport.write, b"last words")
        stage.call(stage.transport.write_eof)
        assert stage.call(stage.transport.write_eof) is None
        received = b""
        while not received.endswith(b"last words"):
            received += drain(stage.peer)
        stage.until(lambda: ended(stage.peer) == (b"", b""))
        stage.peer.send(b"answer")
        stage.until(lambda: stage.protocol.data)
        assert stage.state() == (0, True, False)
        stage.peer.close()
        stage.until(lambda: "lost" in stage.protocol.names)
        assert stage.trace == [("made",), ("data", b"answer"), ("eof",), ("lost", None)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["close", "write_eof", "write_eof and close"])
def test_what_was_written_before_still_arrives(loop_factory, kind, how):
    with scene(loop_factory, kind, send_buffer=SEND_BUFFER) as stage:
        data = os.urandom(1_000_000)
        stage.call(stage.transport.write, data)
        assert stage.size() > 0
        for method in how.split(" and "):
            stage.call(getattr(stage.transport, method))
        assert "lost" not in stage.protocol.names
        received = bytearray()

        def arrived():
            received.extend(drain(stage.peer))
            return len(received) == len(data) and ("lost" in stage.protocol.names or how == "write_eof")

        stage.until(arrived)
        assert received == data
        stage.until(lambda: ended(stage.peer) == (b"", b""))
        assert stage.trace[-1] == (("resume",) if how == "write_eof" else ("lost", None))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unsent", [0, 1_000_000])
def test_abort_closes_at_once_and_drops_what_is_left(loop_factory, kind, unsent):
    with scene(loop_factory, kind, send_buffer=SEND_BUFFER) as stage:
        stage.transport.set_write_buffer_limits(1 << 30)
        stage.call(stage.transport.write, bytes(unsent))
        stage.call(stage.transport.abort)
        assert stage.state() == (0, False, True)
        stage.step()
        assert stage.trace == [("made",), ("lost", None)]
        seen = bytearray()
        stage.until(lambda: (seen.extend(drain(stage.peer)), ended(stage.peer) != (b"", None))[1])
        assert len(seen) < max(unsent, 1)


CALLS = {
    "close": lambda stage: stage.transport.close(),
    "abort": lambda stage: stage.transport.abort(),
    "write_eof": lambda stage: stage.transport.write_eof(),
    "write": lambda stage: stage.transport.write(b"x"),
    "read": lambda stage: drain(stage.peer),
    "the peer ends": lambda stage: stage.peer.shutdown(socket.SHUT_WR),
    "the peer closes": lambda stage: stage.peer.close(),
    "pause": lambda stage: stage.transport.pause_reading(),
    "resume": lambda stage: stage.transport.resume_reading(),
}

SEQUENCES = [
    ["close", "close"],
    ["close", "abort"],
    ["close", "write_eof"],
    ["close", "the peer closes"],
    ["abort", "abort"],
    ["abort", "close"],
    ["abort", "write_eof"],
    ["abort", "the peer closes"],
    ["write_eof", "close"],
    ["write_eof", "abort"],
    ["write_eof", "write_eof", "the peer ends"],
    ["write_eof", "the peer closes"],
    ["the peer ends", "close"],
    ["the peer ends", "abort"],
    ["the peer ends", "write_eof"],
    ["the peer closes", "write"],
    ["the peer closes", "close"],
    ["the peer closes", "abort"],
    ["pause", "the peer closes", "close"],
    ["pause", "the peer closes", "abort"],
    ["pause", "the peer closes", "resume"],
    ["pause", "the peer closes", "write", "write"],
    ["pause", "the peer ends", "write", "resume"],
    ["write", "the peer closes", "write"],
]


@pytest.mark.parametrize("sequence", SEQUENCES, ids=", ".join)
@pytest.mark.parametrize("between", [0, 1, 2], ids=["at once", "one step", "two steps"])
@pytest.mark.parametrize("unsent", [0, LARGE], ids=["nothing left", "data left"])
def test_sequences(loop_factory, sequence, between, unsent):
    def scenario(factory):
        # A descriptor that is left open, or closed twice, is part of how it ends.
        with none_left(), scene(factory, send_buffer=SEND_BUFFER) as stage:
            seen = []
            stage.call(stage.transport.write, bytes(unsent))
            stage.step()
            for name in sequence:
                try:
                    CALLS[name](stage)
                except (AttributeError, RuntimeError) as exc:
                    seen.append((name, type(exc).__name__))
                stage.step(between)
                seen.append((name, stage.state(), stage.trace))
            for _ in range(4):
                stage.step()
                seen.append((stage.state(), stage.trace))
            return seen, stage.reports, stage.trace

    *_, trace = like_asyncio(scenario, loop_factory)
    assert [entry[0] for entry in trace].count("lost") <= 1


def test_the_end_while_data_is_left_and_the_peer_never_reads(loop_factory):
    with scene(loop_factory, send_buffer=SEND_BUFFER) as stage:
        stage.call(stage.transport.write, bytes(LARGE))
        stage.call(stage.transport.close)
        stage.step(5)
        assert "lost" not in stage.protocol.names
        assert stage.size() > 0
        # Patience ends here.
        stage.call(stage.transport.abort)
        stage.step()
        assert stage.trace == [("made",), ("pause",), ("lost", None)]


@pytest.mark.parametrize("kind", ["tcp", "tcp6"])
@pytest.mark.parametrize("doing", ["reading", "paused", "writing", "closing", "half closed"])
def test_a_reset(loop_factory, kind, doing):
    with scene(loop_factory, kind, Recorder(eof=lambda transport: True), send_buffer=SEND_BUFFER) as stage:
        match doing:
            case "paused":
                stage.call(stage.transport.pause_reading)
            case "writing" | "closing":
                stage.call(stage.transport.write, bytes(20_000_000))
                if doing == "closing":
                    stage.call(stage.transport.close)
            case "half closed":
                stage.call(stage.transport.write_eof)
        stage.step(2)
        reset(stage.peer)
        if doing == "paused":
            stage.step(3)
            assert stage.trace == [("made",)]
            stage.call(stage.transport.write, b"x")
        stage.until(lambda: "lost" in stage.protocol.names)
        assert stage.trace[-1] == ("lost", "ConnectionResetError: [Errno 104] Connection reset by peer")
        # It is the network's way of ending: nobody is alarmed.
        assert stage.reports == []
        assert stage.state() == (0, False, True)


@pytest.mark.parametrize("callback", ["made", "data", "eof", "pause", "resume", "lost"])
@pytest.mark.parametrize("how", ["close", "abort", "write_eof", "close and abort", "abort and close"])
def test_ended_in_a_callback(loop_name, loop_factory, callback, how):
    def end(transport):
        for method in how.split(" and "):
            getattr(transport, method)()

    def scenario(factory):
        with none_left(), scene(factory, protocol=Recorder(**{callback: end}), send_buffer=SEND_BUFFER) as stage:
            seen = []
            with contextlib.suppress(BrokenPipeError):
                stage.peer.send(b"x")
            stage.step(2)
            if "lost" not in stage.protocol.names and how != "write_eof":
                stage.call(stage.transport.write, bytes(LARGE))
            for _ in range(12):
                drain(stage.peer)
                stage.step()
                seen.append((stage.state(), stage.trace))
            try:
                stage.peer.shutdown(socket.SHUT_WR)
            except OSError as exc:
                seen.append(exc.errno)
            stage.step(3)
            if callback == "lost" and "lost" not in stage.protocol.names:
                stage.call(stage.transport.close)
            stage.step(2)
            return seen, [report["message"] for report in stage.reports], stage.trace

    if callback == "resume" and "abort" in how:
        # asyncio calls connection_lost twice, and fails the second time.
        if loop_name == "asyncio":
            return
        _, reports, trace = scenario(loop_factory)
        assert reports == []
    else:
        *_, trace = like_asyncio(scenario, loop_factory)
    assert [entry[0] for entry in trace].count("lost") == 1
    assert trace[-1] == ("lost", None)


def test_the_descriptor_is_open_in_connection_lost_and_closed_after_it(loop_factory):
    seen = []

    def lost(transport):
        number = transport.get_extra_info("socket").fileno()
        seen.append(number)
        os.fstat(number)
        # One can still ask whose connection it was.
        seen.append(transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    with scene(loop_factory, "tcp", Recorder(lost=lost)) as stage:
        number = stage.transport.get_extra_info("socket").fileno()
        stage.call(stage.transport.close)
        stage.step()
        assert seen == [number, 0]
        assert stage.transport.get_extra_info("socket").fileno() == -1
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)


def test_the_user_s_socket_object_is_closed_with_the_transport(loop):
    ours, peer = connected_pair("tcp")
    with peer:
        transport, _ = loop.run_until_complete(loop.create_connection(Recorder, sock=ours))
        assert ours.fileno() != -1
        transport.close()
        assert ours.fileno() != -1
        run_once(loop)
        assert ours.fileno() == -1
        assert peer.recv(1) == b""


def test_a_transport_that_nobody_closed_is_warned_about_and_closed(loop_factory):
    loop = loop_factory()
    run_once(loop)  # whatever descriptors it opens for its first run, it has them now
    with none_left():
        ours, peer = connected_pair("socketpair")
        transport, protocol = loop.run_until_complete(loop.create_connection(Recorder, sock=ours))
        # What reads is kept by the loop.
        transport.pause_reading()
        alive = weakref.ref(transport)
        with found_unclosed() as messages:
            del transport, protocol, ours
        assert alive() is None
        assert [message for message in messages if message.startswith("unclosed transport <")] == messages[-1:]
        peer.setblocking(True)
        assert peer.recv(1) == b""
        peer.close()
    goes_on(loop)
    loop.close()
