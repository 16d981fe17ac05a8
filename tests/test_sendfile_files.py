# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What sendfile and sock_sendfile do with files that are not ordinary, or that change while they are sent."""

import asyncio
import contextlib
import errno
import io
import os

import pytest
from helpers.compare import like_asyncio
from helpers.connecting import failure
from helpers.descriptors import none_left
from helpers.peers import connected_pair, drain
from helpers.scene import anonymous, scene, until
from helpers.sending import CONTENT, SIZE, begin, finish, opened, send


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


# While they are sent.


@contextlib.contextmanager
def half_way(factory, path, kind, **given):
    """A scene in which some of the file is sent, and not yet half of it."""
    with scene(factory, send_buffer=8192) as stage, opened(kind, path) as file:
        task = begin(stage, file, **given)
        stage.until(lambda: task.done() or stage.transport.get_protocol() is stage.protocol)
        yield stage, file, task


@pytest.mark.parametrize("count", [None, SIZE + 50_000])
def test_a_file_that_grows(loop_factory, path, count):
    """What is appended in time is sent too."""

    def scenario(factory):
        path.write_bytes(CONTENT)
        with half_way(factory, path, "real", count=count) as (stage, file, task):
            assert not task.done()
            with path.open("ab") as more:
                more.write(b"more" * 25_000)
            result, received = finish(stage, task)
            assert received == (CONTENT + b"more" * 25_000)[:result]
            return result, file.tell()

    assert like_asyncio(scenario, loop_factory)[0] == SIZE + (100_000 if count is None else 50_000)


@pytest.mark.parametrize("count", [None, 500_000])
def test_a_file_that_shrinks(loop_factory, path, count):
    """It ends where the file does, or where it already was."""
    path.write_bytes(CONTENT)
    with half_way(loop_factory, path, "real", count=count) as (stage, file, task):
        assert not task.done()
        os.truncate(path, 400_000)
        result, received = finish(stage, task)
        assert (result, received) == (400_000, CONTENT[:400_000])
        assert file.tell() == 400_000


def test_a_file_that_is_emptied(loop_factory, path):
    with half_way(loop_factory, path, "real") as (stage, file, task):
        os.truncate(path, 0)
        result, received = finish(stage, task)
        assert 0 < result < SIZE
        assert received == CONTENT[:result]
        assert file.tell() == result
        assert stage.state() == (0, True, False)


def test_a_file_that_is_deleted(loop_factory, path):
    with half_way(loop_factory, path, "real") as (stage, _, task):
        path.unlink()
        assert finish(stage, task) == (SIZE, CONTENT)


def test_a_file_that_is_closed(oneloop, path):
    """The descriptor is gone: an error, and no other file's bytes. asyncio's call never ends."""
    with half_way(oneloop.new_event_loop, path, "real") as (stage, file, task):
        file.close()
        result, received = finish(stage, task)
        assert result[:2] == ("OSError", errno.EBADF)
        assert 0 < len(received) < SIZE
        assert CONTENT.startswith(received)
        assert stage.state() == (0, True, False)


def test_memory_that_grows(loop_factory):
    class Growing(io.BytesIO):
        """Each time some of it is read, there is more, for a while."""

        left = 5

        def readinto(self, buffer):
            if self.left:
                self.left -= 1
                here = self.tell()
                self.seek(0, io.SEEK_END)
                self.write(b"more")
                self.seek(here)
            return super().readinto(buffer)

    def scenario(factory):
        with scene(factory) as stage:
            file = Growing(b"some")
            return send(stage, file), file.tell()

    assert like_asyncio(scenario, loop_factory)[0] == (24, b"some" + b"more" * 5)


# Of other kinds.


def a_pipe(stack, _):
    reader, writer = os.pipe()
    stack.callback(os.close, writer)
    os.write(writer, b"from a pipe")
    return stack.enter_context(os.fdopen(reader, "rb", 0))


def a_device(name):
    return lambda stack, _: stack.enter_context(open(name, "rb", 0))


def a_directory(stack, path):
    descriptor = os.open(path.parent, os.O_RDONLY)
    stack.callback(os.close, descriptor)

    class Directory:
        def fileno(self):
            return descriptor

    return Directory()


def only_to_write(stack, path):
    return stack.enter_context(path.open("ab"))


def with_holes(stack, path):
    os.truncate(path, 0)
    os.truncate(path, 300_000)
    return stack.enter_context(path.open("r+b"))


def in_memory(stack, path):
    file = stack.enter_context(os.fdopen(os.memfd_create("file"), "w+b"))
    file.write(CONTENT[:50_000])
    file.flush()
    return file


def another_number(stack, path):
    class Wrong:
        def fileno(self):
            return "no number"

    return Wrong()


def a_number_that_is_no_descriptor(stack, path):
    class Wrong:
        def fileno(self):
            return -5

    return Wrong()


def that_raises(stack, path):
    class Wrong:
        def fileno(self):
            raise ZeroDivisionError("no number")

    return Wrong()


KINDS = {
    "a pipe": a_pipe,
    "zeros": a_device("/dev/zero"),
    "nothing": a_device("/dev/null"),
    "of the system's": a_device("/proc/self/stat"),
    "a directory": a_directory,
    "only to write": only_to_write,
    "with holes": with_holes,
    "in memory": in_memory,
    "another number": another_number,
    "no descriptor": a_number_that_is_no_descriptor,
    "that raises": that_raises,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "given", [{}, {"count": 9}, {"offset": 2, "count": 5}, {"count": 9, "fallback": False}], ids=str
)
def test_other_kinds_of_files(loop_factory, path, kind, given):
    def scenario(factory):
        path.write_bytes(CONTENT)
        with contextlib.ExitStack() as stack, scene(factory) as stage:
            file = KINDS[kind](stack, path)
            result, received = send(stage, file, **given)
            if factory is loop_factory and not issubclass(type(stage.loop), asyncio.SelectorEventLoop):
                # Where the file cannot be set to its new position, asyncio's stays without its protocol.
                assert stage.state() == (0, True, False)
                assert stage.transport.get_protocol() is stage.protocol
            return result, len(received), stage.trace, failure(lambda: file.tell())

    with none_left():
        like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "given", [{}, {"count": 9}, {"offset": 2, "count": 5}, {"count": 9, "fallback": False}], ids=str
)
def test_other_kinds_of_files_over_a_socket(loop_factory, path, kind, given):
    def scenario(factory):
        path.write_bytes(CONTENT)
        with contextlib.ExitStack() as stack, contextlib.closing(factory()) as loop:
            ours, theirs = (stack.enter_context(end) for end in connected_pair("socketpair"))
            ours.setblocking(False)
            file = KINDS[kind](stack, path)
            received = bytearray()
            task = loop.create_task(asyncio.wait_for(loop.sock_sendfile(ours, file, **given), 5))
            until(loop, lambda: (received.extend(drain(theirs)), task.done())[1])
            received += drain(theirs)
            loop.run_until_complete(loop.shutdown_default_executor())
            result = failure(task.result)
            return anonymous(result), len(received), failure(lambda: file.tell())

    with none_left():
        like_asyncio(scenario, loop_factory)
