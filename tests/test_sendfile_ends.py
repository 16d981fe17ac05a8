# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""sendfile that ends before its time: the peer leaves, the program closes, the call is cancelled. No call hangs, the
file stands behind what was sent, and the transport is as it was, or closed.
"""

import asyncio
import contextlib
import os
import socket
import struct
import threading

import pytest
from helpers.compare import like_asyncio
from helpers.connecting import failure
from helpers.descriptors import found_unclosed, none_left
from helpers.loops import goes_on, run_once, steps
from helpers.peers import connected_pair, drain
from helpers.recorder import Recorder
from helpers.scene import scene, until
from helpers.sending import CONTENT, SIZE, NoDescriptor, begin, opened
from helpers.sweep import Swept, sweep
from helpers.tls import tls_scene

FILES = ("real", "memory")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def outcome(stage, task):
    """How the call ended, without the peer's help."""
    stage.until(task.done)
    return failure(task.result)


def stop_executor(loop):
    """Wait for the thread that reads a file."""
    if loop._default_executor is not None:
        loop.run_until_complete(loop.shutdown_default_executor())


# The peer.


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("how", ["closes", "resets"])
def test_the_peer_leaves_half_way(loop_factory, path, file, how):
    with none_left(), scene(loop_factory, "tcp", send_buffer=8192) as stage, opened(file, path) as source:
        task = begin(stage, source)
        received = 0
        while received < 50_000:
            received += len(drain(stage.peer, 10_000))
            stage.step()
        if how == "resets":
            stage.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stage.peer.close()
        stage.until(task.done)
        with pytest.raises(ConnectionError):
            task.result()
        assert 50_000 <= source.tell() < SIZE
        stage.until(lambda: "lost" in stage.protocol.names)
        assert stage.protocol.names.count("lost") == 1
        stop_executor(stage.loop)
        goes_on(stage.loop)


@pytest.mark.parametrize("file", FILES)
def test_the_peer_was_gone_before(loop_factory, path, file):
    def scenario(factory):
        with scene(factory, "socketpair") as stage, opened(file, path) as source:
            stage.transport.pause_reading()
            stage.peer.close()
            task = begin(stage, source)
            result = outcome(stage, task)
            stage.step(3)
            stop_executor(stage.loop)
            return isinstance(result, tuple), source.tell() < SIZE, stage.protocol.names

    failed, *_ = like_asyncio(scenario, loop_factory)
    assert failed


@pytest.mark.parametrize("file", FILES)
def test_the_peer_leaves_before_what_was_written_is_sent(loop_factory, path, file):
    with scene(loop_factory, "socketpair", send_buffer=8192) as stage, opened(file, path) as source:
        stage.transport.write(bytes(300_000))
        task = begin(stage, source)
        stage.step(2)
        stage.peer.close()
        stage.until(task.done)
        with pytest.raises(ConnectionError):
            task.result()
        assert source.tell() in (0, *range(1, 20_000))
        stage.until(lambda: "lost" in stage.protocol.names)
        stop_executor(stage.loop)


# The program. asyncio's call goes on waiting for ever, or fails by accident: it is asked of ours alone.


@pytest.mark.parametrize("action", ["close", "abort"])
@pytest.mark.parametrize("when", ["before it begins", "waits for what was written", "waits for room"])
@pytest.mark.parametrize("file", FILES)
def test_closed_by_the_program(oneloop, path, action, when, file):
    with (
        none_left(),
        scene(oneloop.new_event_loop, "socketpair", send_buffer=8192) as stage,
        opened(file, path) as source,
    ):
        if when == "waits for what was written":
            stage.transport.write(bytes(300_000))
        task = stage.loop.create_task(stage.loop.sendfile(stage.transport, source))
        if when != "before it begins":
            # Long enough for the thread that reads the file.
            for _ in range(200):
                run_once(stage.loop)
                os.sched_yield()
        getattr(stage.transport, action)()
        received = bytearray()
        stage.until(lambda: (received.extend(drain(stage.peer)), task.done())[1])
        with pytest.raises((ConnectionError, RuntimeError), match=r"(?i)clos"):
            task.result()
        stage.until(lambda: "lost" in stage.protocol.names)
        assert stage.protocol.names.count("lost") == 1
        assert stage.trace[-1] == ("lost", None)
        assert source.tell() < SIZE
        assert stage.reports == []
        stop_executor(stage.loop)
        goes_on(stage.loop)


def test_closed_while_it_waits_and_the_fallback_is_refused(oneloop, path):
    with scene(oneloop.new_event_loop, "socketpair", send_buffer=8192) as stage, path.open("rb") as file:
        stage.transport.write(bytes(300_000))
        task = begin(stage, file, fallback=False)
        stage.call(stage.transport.abort)
        stage.step(2)
        with pytest.raises(ConnectionError, match=r"^Connection is closed by peer$"):
            task.result()


def test_the_protocol_ends_it_when_it_may_write_again(oneloop, path):
    """In the middle of sending what was written before."""
    protocol = Recorder(resume=lambda transport: transport.abort())
    with scene(oneloop.new_event_loop, "socketpair", protocol, send_buffer=8192) as stage, path.open("rb") as file:
        stage.transport.write(bytes(300_000))
        task = begin(stage, file)
        stage.until(lambda: (drain(stage.peer), task.done())[1])
        with pytest.raises(ConnectionError):
            task.result()
        assert stage.protocol.names == ["made", "pause", "resume", "lost"]
        assert stage.reports == []


def test_write_eof_meanwhile(loop_factory, path):
    """It is the program's to say, and the rest of the file is not sent."""
    with scene(loop_factory, "socketpair", send_buffer=8192) as stage, path.open("rb") as file:
        task = begin(stage, file)
        stage.step(2)
        stage.transport.write_eof()
        stage.until(lambda: (drain(stage.peer), task.done())[1])
        with pytest.raises(OSError, match="roken pipe"):
            task.result()
        assert 0 < file.tell() < SIZE


# Cancelling.


def usable(loop, ours, peer):
    """A transport that was given up in the middle of a file can still be used."""
    (transport, protocol) = ours
    received = bytearray()
    until(loop, lambda: (received.extend(drain(peer)), transport.get_write_buffer_size() == 0)[1])
    assert transport.is_reading()
    assert transport.get_protocol() is protocol
    transport.write(b"and on")
    until(loop, lambda: (received.extend(drain(peer)), received.endswith(b"and on"))[1])
    peer.send(b"answer")
    until(loop, lambda: protocol.data == b"answer")
    with pytest.raises(RuntimeError, match="is used by transport"):
        loop.add_reader(transport.get_extra_info("socket").fileno(), print)
    return bytes(received[: -len(b"and on")])


@pytest.mark.parametrize("before", [0, 200_000])
@pytest.mark.parametrize("kind", FILES)
def test_cancelled_anywhere(oneloop, path, before, kind):
    """Nothing is lost, the file stands behind what was sent, and the transport can be used."""

    def make(loop, stack):
        ends = connected_pair("socketpair")
        ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        peer = stack.enter_context(ends[1])
        protocol = Recorder()
        transport, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=ends[0]))
        stack.callback(steps, loop, 3)
        stack.callback(transport.abort)
        file = stack.enter_context(opened(kind, path))
        transport.write(bytes(before))
        received = bytearray()

        def cancelled(loop):
            data = bytes(received) + usable(loop, (transport, protocol), peer)
            assert data[:before] == bytes(before)
            assert data[before:] == CONTENT[: len(data) - before]
            if kind == "real":
                assert file.tell() == len(data) - before
            else:
                # What was written and waits is sent, and is not counted before there is room for more.
                assert file.tell() <= len(data) - before + 16 * 1024

        def finished(result):
            assert result == 100_000

        return Swept(
            lambda: loop.sendfile(transport, file, 0, 100_000),
            lambda _: received.extend(drain(peer, 9_000)),
            cancelled,
            finished,
        )

    loop = oneloop.new_event_loop()
    with contextlib.closing(loop):
        # The thread that reads is there for all of them.
        loop.run_until_complete(loop.run_in_executor(None, int))
        assert sweep(loop, make) >= 10
        stop_executor(loop)


def test_cancelled_over_tls(loop_factory, path):
    with tls_scene(loop_factory) as stage, path.open("rb") as file:
        for turns in range(1, 12):
            task = stage.loop.create_task(stage.loop.sendfile(stage.transport, file))
            for _ in range(turns):
                run_once(stage.loop)
            task.cancel()
            stage.until(lambda task=task: (stage.peer.read(), task.done())[1])
            assert task.cancelled()
            assert stage.transport.get_protocol() is stage.protocol
            assert stage.transport.is_reading()
        stage.transport.write(b"and on")
        stage.until(lambda: (stage.peer.read(), stage.peer.data.endswith(b"and on"))[1])
        stop_executor(stage.loop)


def test_the_loop_is_closed_meanwhile(loop_factory, path):
    with none_left(), contextlib.ExitStack() as stack:
        ends = connected_pair("socketpair")
        peer = stack.enter_context(ends[1])
        loop = loop_factory()
        transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ends[0]))
        file = stack.enter_context(path.open("rb"))
        task = loop.create_task(loop.sendfile(transport, file))
        steps(loop, 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        transport.abort()
        steps(loop, 2)
        loop.close()
        assert len(drain(peer)) > 0


def test_nobody_waits_for_the_file_any_more(oneloop, path):
    """A call that is dropped with its loop leaves no descriptor behind, and says nothing but that."""

    def forget(file, ours):
        loop = oneloop.new_event_loop()
        transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ours))
        task = loop.create_task(loop.sendfile(transport, file))
        task._log_destroy_pending = False
        steps(loop, 3)
        loop.close()

    with none_left(collect=True), path.open("rb") as file:
        ours, theirs = connected_pair("socketpair")
        with theirs, found_unclosed() as messages:
            forget(file, ours)
            del ours
        assert {message.split()[0] for message in messages} == {"unclosed"}
        assert file.tell() > 0


def test_memory_that_is_read_meanwhile(loop_factory):
    """A call that is cancelled while a thread reads the file does not wait for it."""
    gate = threading.Event()

    class Slow(NoDescriptor):
        def readinto(self, buffer):
            gate.wait(10)
            return super().readinto(buffer)

    with scene(loop_factory) as stage:
        task = begin(stage, Slow(CONTENT))
        stage.step(3)
        task.cancel()
        stage.step(3)
        assert task.cancelled()
        gate.set()
        stop_executor(stage.loop)
        assert stage.state() == (0, True, False)
        assert drain(stage.peer) == b""
