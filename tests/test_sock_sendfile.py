# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""sock_sendfile: a file's bytes to a socket, by the kernel or without it, and where the file stands afterwards."""

import asyncio
import io
import random
import socket
import ssl

import pytest
from helpers.compare import like_asyncio
from helpers.connecting import failure
from helpers.descriptors import none_left
from helpers.loops import goes_on, steps
from helpers.peers import KINDS, connected_pair, drain
from helpers.scene import until

SIZE = 1_000_003
CONTENT = random.Random(5).randbytes(SIZE)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


class NoDescriptor(io.BytesIO):
    """A file that the kernel knows nothing of."""


class NoSeek:
    """Only what sendfile's fallback cannot do without."""

    def __init__(self, content):
        self.file = io.BytesIO(content)

    def readinto(self, buffer):
        return self.file.readinto(buffer)


def sent(loop, file, kind="socketpair", **kwargs):
    """Send, with the peer receiving all the while; what came back, what arrived, and where the file stands."""
    ours, theirs = connected_pair(kind)
    with ours, theirs:
        received = bytearray()
        task = loop.create_task(loop.sock_sendfile(ours, file, **kwargs))
        until(loop, lambda: (received.extend(drain(theirs)), task.done())[1])
        result = failure(task.result)
        ours.close()
        theirs.setblocking(True)
        while data := theirs.recv(1 << 20):
            received += data
    return result, bytes(received), file.tell() if hasattr(file, "tell") else None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", ["real", "memory"])
def test_the_whole_file(loop, path, kind, file):
    with none_left(loop), path.open("rb") if file == "real" else NoDescriptor(CONTENT) as source:
        count, received, position = sent(loop, source, kind)
        assert (count, position) == (SIZE, SIZE)
        assert received == CONTENT
        loop.run_until_complete(loop.shutdown_default_executor())


RANGES = [
    {"offset": 0, "count": None},
    {"offset": 10},
    {"offset": SIZE - 1},
    {"offset": SIZE},
    {"offset": SIZE + 10},
    {"count": 1},
    {"count": SIZE},
    {"count": SIZE + 10},
    {"offset": 100_000, "count": 100_000},
    {"offset": SIZE - 5, "count": 10},
]


@pytest.mark.parametrize("given", RANGES, ids=str)
@pytest.mark.parametrize("file", ["real", "memory", "unbuffered"])
def test_parts_of_it(loop_factory, path, given, file):
    def scenario(factory):
        loop = factory()
        source = {"real": lambda: path.open("rb"), "unbuffered": lambda: path.open("rb", 0)}.get(file)
        with source() if source else NoDescriptor(CONTENT) as opened:
            opened.seek(7)
            result, received, position = sent(loop, opened, **given)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        # Without the kernel's help, no offset means from where the file stands, up to some patch of 3.14.
        starts = [given["offset"]] if given.get("offset") else [0, 7] if file == "memory" else [0]
        began = [start for start in starts if received == CONTENT[start:][: given.get("count")]]
        return result, began, len(received), position

    result, began, length, _ = like_asyncio(scenario, loop_factory)
    assert len(began) == 1
    assert result == length


def test_an_empty_file(loop, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    with (tmp_path / "empty").open("rb") as file:
        assert sent(loop, file)[:2] == (0, b"")
    assert sent(loop, NoDescriptor())[:2] == (0, b"")
    loop.run_until_complete(loop.shutdown_default_executor())


WRONG = {
    "text mode": lambda path: (path.open("r"), {}),
    "a negative offset": lambda path: (path.open("rb"), {"offset": -1}),
    "a float as offset": lambda path: (path.open("rb"), {"offset": 1.0}),
    "a str as offset": lambda path: (path.open("rb"), {"offset": "1"}),
    "a count of zero": lambda path: (path.open("rb"), {"count": 0}),
    "a negative count": lambda path: (path.open("rb"), {"count": -1}),
    "a float as count": lambda path: (path.open("rb"), {"count": 1.0}),
    "a str as count": lambda path: (path.open("rb"), {"count": "1"}),
    "no fallback for memory": lambda path: (NoDescriptor(CONTENT), {"fallback": False}),
    "no fallback for what has no descriptor": lambda path: (NoSeek(CONTENT), {"fallback": False}),
    "no file": lambda path: (None, {}),
    "a str": lambda path: ("file", {}),
    "a closed file": lambda path: (closed(path.open("rb")), {}),
    "a file open for writing": lambda path: (path.open("ab"), {"fallback": False}),
}


def closed(file):
    file.close()
    return file


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_refused(loop_factory, path, wrong):
    def scenario(factory):
        loop = factory()
        file, kwargs = WRONG[wrong](path)
        ours, theirs = connected_pair("socketpair")
        with ours, theirs:
            seen = failure(lambda: loop.run_until_complete(loop.sock_sendfile(ours, file, **kwargs)))
            received = len(drain(theirs))
            goes_on(loop)
        if hasattr(file, "close"):
            file.close()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        return seen, received

    with none_left():
        seen, received = like_asyncio(scenario, loop_factory)
    assert isinstance(seen, tuple)
    assert received == 0


def test_a_file_without_seek(loop_factory):
    def scenario(factory):
        loop = factory()
        result, received, _ = sent(loop, NoSeek(CONTENT), count=100_000)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        return result, received

    assert like_asyncio(scenario, loop_factory) == (100_000, CONTENT[:100_000])


def test_an_offset_in_a_file_without_seek(loop_factory):
    # Up to some patch of 3.14 that is an error; then such a file is sent from where it stands.
    def scenario(factory):
        loop = factory()
        result, received, _ = sent(loop, NoSeek(CONTENT), offset=1, count=100_000)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        return result, received

    result, received = like_asyncio(scenario, loop_factory)
    if isinstance(result, tuple):
        assert (result[0], received) == ("AttributeError", b"")
    else:
        assert (result, received) == (100_000, CONTENT[:100_000])


@pytest.mark.parametrize("how", ["blocking", "datagrams", "ssl", "closed"])
def test_sockets_that_are_refused(loop_factory, path, how):
    def scenario(factory):
        loop = factory()
        loop.set_debug(how == "blocking")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        kind = socket.SOCK_DGRAM if how == "datagrams" else socket.SOCK_STREAM
        sock = socket.socket(socket.AF_INET, kind)
        if how == "ssl":
            sock = context.wrap_socket(sock, do_handshake_on_connect=False)
        sock.setblocking(how == "blocking")
        if how == "closed":
            sock.close()
        with path.open("rb") as file:
            seen = failure(lambda: loop.run_until_complete(loop.sock_sendfile(sock, file)))
        sock.close()
        goes_on(loop)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        return seen

    with none_left():
        seen = like_asyncio(scenario, loop_factory)
    text = {
        "blocking": "the socket must be non-blocking",
        "datagrams": "only SOCK_STREAM type sockets are supported",
        "ssl": "Socket cannot be of type SSLSocket",
    }
    assert how not in text or seen[2] == text[how]


@pytest.mark.parametrize("file", ["real", "memory"])
def test_the_peer_leaves_half_way(loop_factory, path, file):
    def scenario(factory):
        loop = factory()
        ours, theirs = connected_pair("socketpair")
        with ours, path.open("rb") if file == "real" else NoDescriptor(CONTENT) as source:
            task = loop.create_task(loop.sock_sendfile(ours, source))
            received = 0
            with theirs:
                while received < 50_000:
                    received += len(drain(theirs, 50_000 - received))
                    steps(loop, 1)
            seen = failure(lambda: loop.run_until_complete(task))
            assert source.tell() >= received
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == ("BrokenPipeError", 32, "[Errno 32] Broken pipe")


def test_cancelled_and_gone_on_with(loop, path):
    with none_left(loop):
        ours, theirs = connected_pair("socketpair")
        with ours, theirs, path.open("rb") as file:
            task = loop.create_task(loop.sock_sendfile(ours, file))
            received = bytearray()
            while len(received) < 300_000:
                received += drain(theirs, 300_000 - len(received))
                steps(loop, 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                loop.run_until_complete(task)
            steps(loop, 2)
            assert loop.remove_writer(ours) is False
            received += drain(theirs)
            assert CONTENT.startswith(received)
            # What is there is a beginning, and the rest can be sent.
            task = loop.create_task(loop.sock_sendfile(ours, file, offset=len(received)))
            until(loop, lambda: (received.extend(drain(theirs)), task.done())[1])
            received += drain(theirs)
            assert received == CONTENT
