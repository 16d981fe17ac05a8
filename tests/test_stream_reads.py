# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Reading: what arrives is given to the protocol, whole and in order, and not while it is paused."""

import asyncio
import contextlib
import hashlib
import random

import pytest
from helpers.compare import like_asyncio
from helpers.peers import KINDS
from helpers.recorder import BufferedRecorder, Recorder
from helpers.scene import scene

PROTOCOLS = [Recorder, BufferedRecorder]


@pytest.fixture(params=PROTOCOLS, ids=["bytes", "buffers"])
def recorder(request):
    return request.param


@pytest.mark.parametrize("kind", KINDS)
def test_two_megabytes(loop_factory, kind, recorder):
    data = random.Random(2).randbytes(2_000_000)
    with scene(loop_factory, kind, recorder()) as stage:
        left = memoryview(data)

        def arrived():
            nonlocal left
            with contextlib.suppress(BlockingIOError):
                left = left[stage.peer.send(left) :] if left else left
            return sum(len(entry[1]) for entry in stage.trace if entry[0] == "data") == len(data)

        stage.until(arrived)
        assert hashlib.sha256(stage.protocol.data).digest() == hashlib.sha256(data).digest()


def test_bytes_are_exact_bytes(loop_factory):
    types = []

    class Typed(Recorder):
        def data_received(self, data):
            types.append(type(data))

    with scene(loop_factory, protocol=Typed()) as stage:
        stage.peer.send(b"x")
        stage.step()
        stage.peer.send(bytes(100_000))
        stage.step()
    assert set(types) == {bytes}


def test_one_piece_comes_in_one_call(loop_factory, recorder):
    # Request-response protocols count on it for speed, and simple ones for more than that.
    calls = []

    class Counting(recorder):
        def note(self, what, *details):
            calls.append((what, *details))
            return super().note(what, *details)

    with scene(loop_factory, protocol=Counting()) as stage:
        for size in (1, 100, 4096, 16_384, 60_000):
            calls.clear()
            stage.peer.send(bytes(size))
            stage.step()
            assert calls == [("data", bytes(size))]


def pause_and_resume(stage):
    yield stage.transport.pause_reading()
    stage.peer.send(b"one")
    stage.step(2)
    yield stage.transport.pause_reading()
    yield stage.transport.resume_reading()
    stage.step()
    yield stage.transport.resume_reading()
    stage.peer.send(b"two")
    stage.step()
    yield stage.transport.pause_reading()
    stage.peer.send(b"three")
    stage.step(2)
    yield stage.transport.resume_reading()
    yield stage.transport.pause_reading()
    stage.step(2)
    yield stage.transport.resume_reading()
    stage.step()


def pause_in_a_callback(stage):
    stage.peer.send(b"one")
    yield stage.call(stage.transport.pause_reading)
    stage.step(2)
    yield stage.call(stage.transport.resume_reading)
    stage.step()


def pause_while_the_data_is_on_its_way(stage):
    # The event is queued behind the callback of the same iteration that pauses.
    stage.peer.send(b"one")
    for change in (stage.transport.pause_reading, stage.transport.resume_reading) * 2:
        stage.loop.call_soon(change)
    stage.step(3)
    yield None


def end_while_paused(stage):
    yield stage.transport.pause_reading()
    stage.peer.send(b"last")
    stage.peer.close()
    stage.step(3)
    yield stage.transport.resume_reading()
    stage.step(3)


def resume_when_closing(stage):
    yield stage.transport.pause_reading()
    stage.peer.send(b"unheard")
    yield stage.transport.close()
    yield stage.transport.resume_reading()
    yield stage.transport.pause_reading()
    stage.step(3)
    yield stage.transport.resume_reading()
    yield stage.transport.pause_reading()


def close_with_data_on_its_way(stage):
    stage.peer.send(b"unheard")
    yield stage.transport.close()
    stage.step(3)


def resume_after_the_end(stage):
    stage.protocol.on["eof"] = lambda transport: True
    stage.peer.send(b"last")
    stage.peer.shutdown(1)
    stage.step(3)
    yield stage.transport.pause_reading()
    yield stage.transport.resume_reading()
    stage.step(2)
    yield stage.transport.write(b"goes on")
    yield stage.peer.recv(100)


PROGRAMS = [
    pause_and_resume,
    pause_in_a_callback,
    pause_while_the_data_is_on_its_way,
    end_while_paused,
    resume_when_closing,
    close_with_data_on_its_way,
    resume_after_the_end,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_pausing(loop_factory, recorder, program):
    def scenario(factory):
        with scene(factory, protocol=recorder()) as stage:
            seen = [(result, stage.state(), list(stage.trace)) for result in program(stage)]
            return seen, stage.trace, stage.reports

    _, trace, reports = like_asyncio(scenario, loop_factory)
    assert reports == []
    if program is pause_and_resume:
        assert trace == [("made",), ("data", b"onetwothree")]
    if program in (resume_when_closing, close_with_data_on_its_way):
        assert trace == [("made",), ("lost", None)]


REACTIONS = {
    "pauses": lambda transport: transport.pause_reading(),
    "pauses and resumes": lambda transport: (transport.pause_reading(), transport.resume_reading()),
    "pauses for a while": lambda transport: (
        transport.pause_reading(),
        asyncio.get_running_loop().call_soon(transport.resume_reading),
    ),
    "closes": lambda transport: transport.close(),
    "aborts": lambda transport: transport.abort(),
    "ends": lambda transport: transport.write_eof(),
    "writes": lambda transport: transport.write(b"answer"),
    "writes and closes": lambda transport: (transport.write(b"answer"), transport.close()),
    "pauses and closes": lambda transport: (transport.pause_reading(), transport.close()),
}


@pytest.mark.parametrize("reaction", REACTIONS)
@pytest.mark.parametrize("callback", ["made", "data"])
def test_inside_a_callback(loop_factory, recorder, callback, reaction):
    def scenario(factory):
        protocol = recorder(**{callback: REACTIONS[reaction]})
        with scene(factory, protocol=protocol) as stage:
            seen = [(stage.state(), list(stage.trace))]
            for data in (b"one", b"two", None):
                if data is None:
                    stage.peer.shutdown(1)
                elif not stage.transport.is_closing():
                    stage.peer.send(data)
                for _ in range(3):
                    stage.step()
                    seen.append((stage.state(), list(stage.trace)))
            try:
                answer = stage.peer.recv(100)
            except (BlockingIOError, ConnectionError) as exc:
                answer = type(exc).__name__
            return seen, answer, stage.reports

    seen, _, reports = like_asyncio(scenario, loop_factory)
    assert reports == []
    if (callback, reaction) == ("made", "pauses"):
        assert seen[-1] == ((0, False, False), [("made",)])


def test_data_that_was_there_before_the_transport_comes_after_connection_made(loop_factory, recorder):
    # Sent before there was a transport, and by somebody who leaves at once.
    from helpers.peers import connected_pair

    loop = loop_factory()
    ours, peer = connected_pair("socketpair")
    peer.send(b"early")
    peer.close()
    protocol = recorder()
    loop.run_until_complete(loop.create_connection(lambda: protocol, sock=ours))
    while len(protocol.trace) < 4:
        loop.run_until_complete(asyncio.sleep(0))
    assert protocol.trace == [("made",), ("data", b"early"), ("eof",), ("lost", None)]
    loop.close()


BUFFERS = {
    "bytearray": bytearray(100),
    "memoryview": memoryview(bytearray(100)),
    "slice": memoryview(bytearray(200))[50:150],
    "one byte": bytearray(1),
    "array of shorts": memoryview(bytearray(100)).cast("H"),
    "empty bytearray": bytearray(),
    "empty memoryview": memoryview(bytearray()),
    "bytes": b"read only",
    "read-only view": memoryview(b"read only"),
    "with gaps": memoryview(bytearray(100))[::2],
    "None": None,
    "int": 100,
    "str": "buffer",
    "list": [0] * 100,
}


GOOD = ("bytearray", "memoryview", "slice", "one byte")


@pytest.mark.parametrize("buffer", BUFFERS)
def test_a_buffer_that_a_protocol_lends(loop_factory, buffer):
    def scenario(factory):
        protocol = BufferedRecorder(get_buffer=lambda transport: BUFFERS[buffer])
        protocol.buffer = BUFFERS[buffer] if buffer in GOOD else bytearray(9)
        with scene(factory, protocol=protocol) as stage:
            stage.peer.send(b"received")
            stage.step(12)
            for report in stage.reports:
                # How the interpreter words a wrong type is no promise of ours.
                if not report["exception"].startswith("RuntimeError"):
                    report["exception"] = report["exception"].partition("(")[0]
            trace = [entry[:1] if entry[0] == "lost" and entry[1] else entry for entry in stage.trace]
            return trace, stage.state(), stage.reports

    trace, _, reports = like_asyncio(scenario, loop_factory)
    if buffer in GOOD:
        assert trace[1] == ("data", b"received")
        assert reports == []
    if buffer.startswith("empty"):
        assert reports[0]["message"] == "Fatal error: protocol.get_buffer() call failed."
        assert reports[0]["exception"] == "RuntimeError('get_buffer() returned an empty buffer')"


def test_get_buffer_is_asked_with_minus_one(loop_factory):
    hints = []

    class Hinted(BufferedRecorder):
        def get_buffer(self, sizehint):
            hints.append(sizehint)
            return self.buffer

    with scene(loop_factory, protocol=Hinted()) as stage:
        stage.peer.send(b"x")
        stage.step()
    assert set(hints) == {-1}


def test_no_more_than_the_buffer_holds_is_taken_from_the_kernel(loop_factory):
    small = bytearray(4)
    protocol = BufferedRecorder(get_buffer=lambda transport: small)
    protocol.buffer = small
    with scene(loop_factory, protocol=protocol) as stage:
        stage.peer.send(b"0123456789")
        stage.until(lambda: stage.protocol.data)
        stage.call(stage.transport.pause_reading)
        got = len(stage.protocol.data)
        stage.step(2)
        assert stage.protocol.data == b"0123456789"[:got]
        stage.call(stage.transport.resume_reading)
        stage.until(lambda: stage.protocol.data == b"0123456789")


def test_a_buffer_may_be_changed_between_calls(loop_factory):
    # The transport must not keep it, nor an export of it: a bytearray that is exported cannot be resized.
    buffer = bytearray(10)
    protocol = BufferedRecorder(get_buffer=lambda transport: buffer, data=lambda transport: buffer.extend(b"x" * 10))
    protocol.buffer = buffer
    with scene(loop_factory, protocol=protocol) as stage:
        for piece in (b"one", b"two"):
            stage.peer.send(piece)
            stage.step()
            buffer.clear()
            buffer.extend(bytes(10))
        assert stage.trace == [("made",), ("data", b"onetwo")]
        assert stage.reports == []
