# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""sendfile: a file over a transport, by the kernel or without it; what becomes meanwhile of reading, of writing and of
the protocol; and where the file stands afterwards.

How it ends before its time is in test_sendfile_ends.
"""

import asyncio
import io
import os
import random
import socket
import sys
from asyncio import base_events

import pytest
from helpers.compare import like_asyncio
from helpers.connecting import failure
from helpers.descriptors import none_left
from helpers.loops import goes_on
from helpers.peers import KINDS, drain
from helpers.recorder import BufferedRecorder, Recorder
from helpers.scene import anonymous, scene
from helpers.sending import CONTENT, CORRUPTS, SIZE, NoDescriptor, NoSeek, begin, finish, opened, send
from helpers.tls import tls_scene

FILES = ("real", "memory")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", FILES)
def test_the_whole_file(loop_factory, path, kind, file):
    with none_left(), scene(loop_factory, kind) as stage, opened(file, path) as source:
        count, received = send(stage, source)
        assert (count, source.tell()) == (SIZE, SIZE)
        assert len(received) == SIZE
        assert received == CONTENT or (CORRUPTS and loop_factory is asyncio.SelectorEventLoop and file == "memory")
        # It is as before.
        assert stage.state() == (0, True, False)
        assert stage.transport.get_protocol() is stage.protocol
        stage.peer.send(b"and on")
        stage.until(lambda: stage.protocol.data == b"and on")
        stage.call(stage.transport.write, b"and on")
        assert drain(stage.peer) == b"and on"
        assert stage.reports == []


RANGES = [
    {},
    {"offset": 10},
    {"offset": SIZE - 1},
    {"offset": SIZE},
    {"offset": SIZE + 10},
    {"count": 1},
    {"count": SIZE},
    {"count": SIZE + 10},
    {"count": 0},
    {"count": None, "offset": 0},
    {"offset": 100_000, "count": 100_000},
    {"offset": SIZE - 5, "count": 10},
    {"offset": 3, "count": 16 * 1024},
    {"offset": 3, "count": 16 * 1024 + 1},
]


@pytest.mark.parametrize("given", RANGES, ids=str)
@pytest.mark.parametrize("file", [*FILES, "unbuffered"])
def test_parts_of_it(loop_factory, path, given, file):
    def scenario(factory):
        with scene(factory) as stage, opened(file, path) as source:
            source.seek(7)
            result, received = send(stage, source, **given)
            return result, len(received), source.tell(), len(received) < 40_000 and received

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("file", FILES)
def test_parts_are_the_right_parts(oneloop, path, file):
    with scene(oneloop.new_event_loop) as stage, opened(file, path) as source:
        for start, count in [(0, 1), (5, 70_000), (123, None), (SIZE - 3, 10), (1, SIZE)]:
            expected = CONTENT[start:][:count]
            assert send(stage, source, offset=start, count=count) == (len(expected), expected)
            assert source.tell() == start + len(expected)


def test_an_empty_file(loop_factory, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    with scene(loop_factory) as stage, (tmp_path / "empty").open("rb") as file:
        assert send(stage, file) == (0, b"")
        assert send(stage, io.BytesIO()) == (0, b"")
        assert stage.state() == (0, True, False)


def test_a_file_that_cannot_be_sought(loop_factory):
    def scenario(factory):
        with scene(factory) as stage:
            result, received = send(stage, NoSeek(CONTENT), count=50_000)
            return result, len(received), send(stage, NoSeek(CONTENT), offset=5)

    result, *_ = like_asyncio(scenario, loop_factory)
    assert result == 50_000


@pytest.mark.parametrize("file", FILES)
def test_what_was_written_before_is_sent_before(loop_factory, path, file):
    """Also if it has to wait; and what is written afterwards comes after."""
    before, after = random.Random(1).randbytes(300_000), b"after"
    with scene(loop_factory, send_buffer=8192) as stage, opened(file, path) as source:
        stage.transport.write(before)
        assert stage.size() > 0
        count, received = send(stage, source, count=100_000)
        assert count == 100_000
        stage.call(stage.transport.write, after)
        received += stage.flush()
        assert len(received) == len(before) + count + len(after)
        assert received.startswith(before)
        assert received.endswith(after)
        if not (CORRUPTS and loop_factory is asyncio.SelectorEventLoop):
            assert received == before + CONTENT[:100_000] + after


def test_nothing_can_be_written_meanwhile(loop_factory, path):
    def scenario(factory):
        with scene(factory, send_buffer=8192) as stage, path.open("rb") as file:
            task = begin(stage, file)
            seen = [stage.call(stage.transport.write, data) for data in (b"x", b"", "text", bytearray(3))]
            seen += [stage.call(stage.transport.writelines, lines) for lines in ([b"x"], [])]
            seen.append(stage.transport.is_reading())
            result, received = finish(stage, task)
            return seen, result, received == CONTENT, stage.call(stage.transport.write, b"x"), stage.flush()

    seen, *_ = like_asyncio(scenario, loop_factory)
    assert seen[0] == ("RuntimeError", "unable to write; sendfile is in progress")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("paused", [False, True])
def test_nothing_is_received_meanwhile(loop_factory, path, file, paused):
    with scene(loop_factory, send_buffer=8192) as stage, opened(file, path) as source:
        if paused:
            stage.call(stage.transport.pause_reading)
        task = begin(stage, source, count=200_000)
        stage.step(2)
        stage.peer.send(b"meanwhile")
        assert not stage.transport.is_reading()
        at_end = []
        task.add_done_callback(lambda _: at_end.append((stage.protocol.data, stage.transport.is_reading())))
        finish(stage, task)
        stage.step()
        assert at_end == [(b"", not paused)]
        stage.call(stage.transport.resume_reading)
        stage.until(lambda: stage.protocol.data == b"meanwhile")


@pytest.mark.parametrize("recorder", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("file", FILES)
def test_a_protocol_that_was_paused(loop_factory, path, recorder, file):
    """It is told to go on when its own bytes are sent, or at the end if another protocol stood in its place."""
    with scene(loop_factory, protocol=recorder(), send_buffer=8192) as stage, opened(file, path) as source:
        stage.transport.write(bytes(300_000))
        assert stage.protocol.names == ["made", "pause"]
        result, received = send(stage, source, count=50_000)
        assert (result, len(received)) == (50_000, 350_000)
        assert stage.protocol.names == ["made", "pause", "resume"]
        assert stage.transport.get_protocol() is stage.protocol
        stage.peer.send(b"x")
        stage.until(lambda: stage.protocol.data == b"x")


def test_flow_control_is_not_the_protocol_s_meanwhile(loop_factory, path):
    """What the fallback writes pauses the fallback."""
    with scene(loop_factory, send_buffer=8192) as stage:
        stage.transport.set_write_buffer_limits(high=20_000)
        task = begin(stage, NoDescriptor(CONTENT))
        meanwhile = []
        stage.until(lambda: (drain(stage.peer, 3_000), meanwhile.append(stage.protocol.names), task.done())[2])
        assert task.result() == SIZE
        assert meanwhile[-2] == ["made"]
        finish(stage, task)


def test_flow_control_afterwards(oneloop):
    """A protocol that has to wait knows of it, and of the end of that. asyncio tells it of the end alone."""
    with scene(oneloop.new_event_loop, send_buffer=8192) as stage:
        stage.transport.set_write_buffer_limits(high=20_000)
        task = begin(stage, NoDescriptor(CONTENT))
        stage.until(lambda: stage.size() > 20_000)
        task.cancel()
        stage.until(task.done)
        assert task.cancelled()
        assert stage.protocol.names == ["made", "pause"]
        assert len(stage.flush()) < 100_000
        assert stage.protocol.names == ["made", "pause", "resume"]


def test_the_descriptor_is_the_transport_s_again(loop_factory, path):
    def scenario(factory):
        with scene(factory) as stage, path.open("rb") as file:
            send(stage, file, count=10)
            number = stage.transport.get_extra_info("socket").fileno()
            return failure(lambda: stage.loop.add_reader(number, print))[0]

    assert like_asyncio(scenario, loop_factory) == "RuntimeError"


def test_one_after_another(loop_factory, path):
    with scene(loop_factory) as stage, path.open("rb") as file:
        for round_ in range(20):
            expected = CONTENT[round_ * 1000 :][:5000]
            assert send(stage, file, offset=round_ * 1000, count=5000) == (5000, expected)


def test_two_at_once(oneloop, path):
    """The second one is refused, and the first one goes on. asyncio's second fails by accident."""
    with scene(oneloop.new_event_loop, send_buffer=8192) as stage, path.open("rb") as file:
        first = begin(stage, file)
        second = begin(stage, file)
        stage.step(2)
        with pytest.raises(RuntimeError, match="Empty waiter is already set"):
            second.result()
        assert not stage.transport.is_reading()
        assert finish(stage, first) == (SIZE, CONTENT)
        assert stage.transport.is_reading()


# What is refused.

WRONG = {
    "text mode": lambda path: (path.open("r"), {}),
    "a negative offset": lambda path: (path.open("rb"), {"offset": -1}),
    "a float as offset": lambda path: (path.open("rb"), {"offset": 1.0}),
    "a negative count": lambda path: (path.open("rb"), {"count": -1}),
    "a str as count": lambda path: (path.open("rb"), {"count": "1"}),
    "no fallback for memory": lambda path: (NoDescriptor(CONTENT), {"fallback": False}),
    "a negative count for memory": lambda path: (NoDescriptor(CONTENT), {"count": -1}),
    "a str as count for memory": lambda path: (NoDescriptor(CONTENT), {"count": "1"}),
    "an offset that cannot be sought": lambda path: (NoSeek(CONTENT), {"offset": 1}),
    "no file": lambda path: (None, {}),
    "a str": lambda path: ("file", {}),
    "a closed file": lambda path: (closed(path.open("rb")), {}),
}


def closed(file):
    file.close()
    return file


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_arguments(loop_factory, path, wrong):
    def scenario(factory):
        file, given = WRONG[wrong](path)
        with scene(factory) as stage:
            result, received = send(stage, file, **given)
            if hasattr(file, "close"):
                file.close()
            goes_on(stage.loop)
            return result, received, stage.state(), stage.trace

    with none_left():
        like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize("kind", ["datagrams", "a pipe", "closing", "closed", "no transport", "of another kind"])
def test_transports_that_are_refused(loop_factory, path, kind, fallback):
    class Odd(asyncio.Transport):
        def __repr__(self):
            return "<Odd>"

        def is_closing(self):
            return False

    def scenario(factory):
        with scene(factory) as stage, path.open("rb") as file:
            loop, transport, others = stage.loop, stage.transport, []
            if kind == "datagrams":
                opening = loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
                transport, _ = loop.run_until_complete(opening)
                others.append(transport)
            elif kind == "a pipe":
                ends = os.pipe()
                opening = loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(ends[1], "wb", 0))
                transport, _ = loop.run_until_complete(opening)
                others += [transport, os.fdopen(ends[0], "rb", 0)]
            elif kind == "no transport":
                transport = object()
            elif kind == "of another kind":
                transport = Odd()
            elif kind == "closing":
                transport.close()
            else:
                transport.abort()
                stage.step(2)
            seen = failure(lambda: loop.run_until_complete(loop.sendfile(transport, file, fallback=fallback)))
            for other in others:
                other.close()
            stage.step(2)
            return [anonymous(part) for part in seen], file.tell()

    with none_left():
        seen, position = like_asyncio(scenario, loop_factory)
    assert position == 0
    assert seen[0] == ("AttributeError" if kind == "no transport" else "RuntimeError")


# What a program may replace.


def test_sock_sendfile_may_be_overridden(loop_class, path):
    calls = []

    class Loop(loop_class):
        async def sock_sendfile(self, sock, file, offset=0, count=None, *, fallback=True):
            calls.append((type(sock), file, offset, count, fallback))
            return 5

    with scene(Loop) as stage, path.open("rb") as file:
        assert send(stage, file, offset=3, count=4) == (5, b"")
        assert calls == [(socket.socket, file, 3, 4, False)]


def test_a_system_without_it(loop_factory, path, monkeypatch):
    def refuse(*_):
        raise OSError(22, "not here")

    def scenario(factory):
        monkeypatch.setattr(os, "sendfile", refuse)
        with scene(factory) as stage, path.open("rb") as file:
            results = send(stage, file, count=10_000), send(stage, file, fallback=False)
            return results, file.tell()

    results, _ = like_asyncio(scenario, loop_factory)
    assert results[0] == (10_000, CONTENT[:10_000])
    assert results[1][0][0] == "SendfileNotAvailableError"


@pytest.mark.parametrize("error", [ValueError("broken"), OSError(5, "broken")])
def test_a_file_that_raises(loop_factory, error):
    class Broken(NoDescriptor):
        def readinto(self, buffer):
            if self.tell() > 30_000:
                raise error
            return super().readinto(buffer)

    def scenario(factory):
        with scene(factory) as stage:
            file = Broken(CONTENT)
            result, received = send(stage, file)
            return result, len(received), file.tell(), stage.state(), stage.protocol.names

    result, length, position, *_ = like_asyncio(scenario, loop_factory)
    assert result[0] == type(error).__name__
    assert length == position


# TLS.


@pytest.mark.parametrize("side", ["client", "server"])
def test_over_tls(loop_factory, path, side):
    """By the fallback, in order with what is written before and after."""
    with tls_scene(loop_factory, side) as stage, path.open("rb") as file:
        stage.transport.write(b"before")
        task = stage.loop.create_task(stage.loop.sendfile(stage.transport, file, 5, 200_000))
        stage.until(lambda: (stage.peer.read(), task.done())[1])
        assert (task.result(), file.tell()) == (200_000, 200_005)
        stage.transport.write(b"after")
        stage.until(lambda: (stage.peer.read(), len(stage.peer.data) >= 200_011)[1])
        assert bytes(stage.peer.data) == b"before" + CONTENT[5:200_005] + b"after"
        assert stage.transport.get_protocol() is stage.protocol
        assert stage.transport.is_reading()


def test_over_tls_there_is_no_other_way(loop_factory, path):
    with tls_scene(loop_factory) as stage, path.open("rb") as file:
        with pytest.raises(RuntimeError, match=r"^fallback is disabled and native sendfile is not supported"):
            stage.loop.run_until_complete(stage.loop.sendfile(stage.transport, file, fallback=False))
        assert file.tell() == 0


def test_what_it_follows():
    """The two things about the fallback that asyncio has changed are looked up where they are."""
    names = base_events.BaseEventLoop._sendfile_fallback.__code__.co_names
    assert {"write", "drain", "seek", "readinto"} <= set(names)
    assert sys.version_info < (3, 14) or names[0] == "hasattr"
