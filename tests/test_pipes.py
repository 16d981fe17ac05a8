# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""connect_read_pipe and connect_write_pipe: pipes, FIFOs, terminals and sockets; and what they refuse."""

import asyncio
import contextlib
import io
import os
import socket
import stat

import pytest
from helpers import children
from helpers.compare import like_asyncio
from helpers.connecting import failure
from helpers.descriptors import none_left
from helpers.loops import goes_on, run_once, steps
from helpers.pipes import KINDS, LARGE, pipe, piped
from helpers.recorder import Recorder
from helpers.scene import anonymous, until


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def directory(kind, tmp_path):
    return tmp_path if kind == "fifo" else None


def test_reading(loop_factory, kind, directory):
    with none_left(), piped(loop_factory, "read", kind, directory=directory) as stage:
        transport = stage.transport
        assert isinstance(transport, asyncio.ReadTransport)
        assert not isinstance(transport, asyncio.WriteTransport)
        assert transport.get_extra_info("pipe") is stage.ours
        assert transport.get_extra_info("socket") is None
        assert transport.get_extra_info("nothing", 3) == 3
        assert os.get_blocking(stage.ours.fileno()) is False
        os.write(stage.theirs.fileno(), b"one")
        until(stage.loop, lambda: stage.protocol.data == b"one")
        assert transport.is_reading()
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        os.write(stage.theirs.fileno(), b"two")
        stage.step(3)
        assert stage.protocol.data == b"one"
        transport.resume_reading()
        transport.resume_reading()
        until(stage.loop, lambda: stage.protocol.data == b"onetwo")
        stage.theirs.close()
        until(stage.loop, lambda: "lost" in stage.protocol.names)
        # A terminal whose other side is closed answers with an error.
        ends = {"terminal": [("lost", "OSError: [Errno 5] Input/output error")]}
        assert stage.trace == [("made",), ("data", b"onetwo"), *ends.get(kind, [("eof",), ("lost", None)])]
        assert stage.reports == []
        assert transport.is_closing()
        assert not transport.is_reading()
        assert is_closed(stage.ours)


def is_closed(end):
    return end.fileno() == -1 if isinstance(end, socket.socket) else end.closed


def test_writing(loop_factory, kind, directory):
    with none_left(), piped(loop_factory, "write", kind, directory=directory) as stage:
        transport = stage.transport
        assert isinstance(transport, asyncio.WriteTransport)
        assert transport.get_extra_info("pipe") is stage.ours
        assert transport.can_write_eof() is True
        transport.write(b"one")
        transport.writelines([b"two", bytearray(b"three"), memoryview(b"four")])
        received = bytearray()
        until(stage.loop, lambda: (received.extend(stage.drain()), received == b"onetwothreefour")[1])
        data = os.urandom(LARGE)
        transport.write(data)
        assert transport.get_write_buffer_size() > 0
        stage.step()
        assert stage.protocol.names == ["made", "pause"]
        # What is left is still sent.
        transport.close()
        assert transport.is_closing()
        received.clear()
        until(stage.loop, lambda: (received.extend(stage.drain()), len(received) == LARGE)[1])
        until(stage.loop, lambda: "lost" in stage.protocol.names)
        assert received == data
        assert stage.trace[-1] == ("lost", None)
        assert stage.reports == []
        assert is_closed(stage.ours)
        if kind != "terminal":
            assert os.read(stage.theirs.fileno(), 1) == b""


class WithFileno:
    closed = False

    def __init__(self, number):
        self.number = number

    def fileno(self):
        return self.number

    def close(self):
        self.closed = True


@pytest.mark.parametrize("direction", ["read", "write"])
def test_regular_files_and_directories_are_refused(loop_factory, direction, tmp_path):
    (tmp_path / "file").write_bytes(b"x")

    def scenario(factory):
        loop, protocol, seen = factory(), Recorder(), []

        def connect(end):
            connecting = getattr(loop, f"connect_{direction}_pipe")(lambda: protocol, end)
            return failure(lambda: loop.run_until_complete(connecting))

        with (tmp_path / "file").open("rb+", 0) as file:
            seen.append(connect(file))
            # It stays the caller's, and as it was.
            seen.append((file.closed, os.get_blocking(file.fileno()), file.read(1)))
        directory = WithFileno(os.open(tmp_path, os.O_RDONLY))
        seen.append(connect(directory))
        assert not directory.closed
        os.close(directory.number)
        goes_on(loop)
        loop.close()
        return seen, protocol.trace

    with none_left():
        seen, trace = like_asyncio(scenario, loop_factory)
    assert trace == []
    text = {
        "read": "Pipe transport is for pipes/sockets only.",
        "write": "Pipe transport is only for pipes, sockets and character devices",
    }
    refused = ("ValueError", None, text[direction])
    assert seen == [refused, (False, True, b"x"), refused]


WRONG = [
    None,
    3,
    "pipe",
    object(),
    io.BytesIO(),
    WithFileno("x"),
    WithFileno(-1),
    WithFileno(1 << 20),
    WithFileno(1 << 70),
]


@pytest.mark.parametrize("direction", ["read", "write"])
def test_what_is_no_pipe(oneloop, direction):
    # asyncio makes half a transport of it, whose finalizer then fails.
    loop, protocol = oneloop.new_event_loop(), Recorder()
    with none_left(loop):
        for wrong in WRONG:
            connecting = getattr(loop, f"connect_{direction}_pipe")(lambda: protocol, wrong)
            with pytest.raises((TypeError, ValueError, AttributeError, OSError, OverflowError)):
                loop.run_until_complete(connecting)
    goes_on(loop)
    loop.close()
    assert protocol.trace == []


def test_any_object_with_a_number_is_a_pipe(loop):
    reader, writer = os.pipe()
    end = WithFileno(reader)
    transport, protocol = loop.run_until_complete(loop.connect_read_pipe(Recorder, end))
    assert transport.get_extra_info("pipe") is end
    os.write(writer, b"x")
    os.close(writer)
    until(loop, lambda: "lost" in protocol.names)
    assert protocol.trace == [("made",), ("data", b"x"), ("eof",), ("lost", None)]
    # Closed by its own method, and by nothing else.
    assert end.closed
    os.close(reader)


@pytest.mark.parametrize("direction", ["read", "write"])
def test_a_protocol_factory_that_raises(loop_factory, direction):
    def scenario(factory):
        loop, ends = factory(), pipe()
        with ends[0], ends[1]:
            end = ends[direction == "write"]
            connect = getattr(loop, f"connect_{direction}_pipe")
            seen = failure(lambda: loop.run_until_complete(connect(lambda: 1 / 0, end)))
            seen = seen, end.closed
        loop.close()
        return seen

    with none_left():
        assert like_asyncio(scenario, loop_factory) == (("ZeroDivisionError", None, "division by zero"), False)


@pytest.mark.parametrize("limits", [{}, {"high": 10}, {"high": 0}, {"low": 80_000}], ids=str)
def test_flow_control(loop_factory, limits):
    def scenario(factory):
        with piped(factory, "write") as stage:
            transport, seen = stage.transport, []
            transport.set_write_buffer_limits(**limits)
            seen.append(transport.get_write_buffer_limits())
            for _ in range(3):
                transport.write(bytes(LARGE // 2))
                seen.append((transport.get_write_buffer_size(), stage.trace))
            for _ in range(20):
                with contextlib.suppress(BlockingIOError):
                    os.read(stage.theirs.fileno(), 32_768)
                stage.step()
                seen.append((transport.get_write_buffer_size(), stage.trace))
            return seen, stage.trace

    _, trace = like_asyncio(scenario, loop_factory)
    assert "pause" in [entry[0] for entry in trace]


@pytest.mark.parametrize("wrong", ["text", None, 3, [b"x"]], ids=repr)
def test_what_cannot_be_written(loop_factory, wrong):
    def scenario(factory):
        with piped(factory, "write") as stage:
            seen = failure(lambda: stage.transport.write(wrong))
            stage.transport.write(b"goes on")
            return seen, stage.drain()

    assert like_asyncio(scenario, loop_factory)[0][0] == "AssertionError"


def test_a_terminal_s_columns_and_what_it_is(loop_factory):
    # Character devices are watched like pipes, /dev/null is not: epoll refuses it.
    def scenario(factory):
        loop = factory()
        with open("/dev/null", "wb", 0) as null:
            assert stat.S_ISCHR(os.fstat(null.fileno()).st_mode)
            transport, protocol = loop.run_until_complete(loop.connect_write_pipe(Recorder, null))
            transport.write(bytes(LARGE))
            seen = [transport.get_write_buffer_size()]
            transport.close()
            steps(loop, 2)
            seen.append(protocol.trace)
        loop.close()
        return seen

    with none_left():
        assert like_asyncio(scenario, loop_factory) == [0, [("made",), ("lost", None)]]


@pytest.mark.parametrize("direction", ["read", "write"])
def test_repr(loop_factory, direction):
    def scenario(factory):
        with piped(factory, direction) as stage:
            seen = [anonymous(repr(stage.transport))]
            if direction == "read":
                stage.transport.pause_reading()
            else:
                stage.transport.write(bytes(LARGE))
            seen.append(anonymous(repr(stage.transport)))
            stage.transport.close()
            seen.append(anonymous(repr(stage.transport)))
            for _ in range(10):
                stage.step()
                if direction == "write":
                    stage.drain()
            seen.append(anonymous(repr(stage.transport)))
            return seen

    seen = like_asyncio(scenario, loop_factory)
    assert seen[0] == f"<TRANSPORT fd=N {'polling' if direction == 'read' else 'idle bufsize=0'}>"
    assert seen[-1] == "<TRANSPORT closed fd=N closed>"


def test_a_program_s_standard_streams(loop_name):
    program = """
        import asyncio, sys
        from helpers import loops

        class Protocol(asyncio.Protocol):
            def __init__(self):
                self.done = asyncio.get_running_loop().create_future()
            def connection_lost(self, exc):
                self.done.set_result(exc)

        class Echo(Protocol):
            def data_received(self, data):
                writing.write(data.upper())

        async def main():
            global writing
            loop = asyncio.get_running_loop()
            writing, out = await loop.connect_write_pipe(Protocol, sys.stdout.buffer)
            _, echo = await loop.connect_read_pipe(Echo, sys.stdin)
            assert await echo.done is None
            writing.close()
            assert await out.done is None

        loops.run(main())
    """
    finished = children.finish(
        children.start(["-c", __import__("textwrap").dedent(program)], loop_name), "text" * 20_000
    )
    assert (finished.out, finished.err) == ("TEXT" * 20_000, "")
    assert finished.returncode == 0


def test_run_once_is_enough_for_what_is_there(loop_factory):
    with piped(loop_factory, "read") as stage:
        os.write(stage.theirs.fileno(), bytes(65_536))
        run_once(stage.loop)
        assert stage.protocol.data == bytes(65_536)
