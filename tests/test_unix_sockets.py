# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""create_unix_connection and create_unix_server: paths of every kind, what lies there already, and cleaning up."""

import asyncio
import contextlib
import inspect
import os
import pathlib
import shutil
import socket
import stat

import pytest
from helpers.compare import like_asyncio, logged
from helpers.connecting import failure
from helpers.descriptors import none_left
from helpers.loops import steps
from helpers.peers import abstract_name, connected_pair
from helpers.recorder import Recorder
from helpers.scene import until

CLEANS_UP = "cleanup_socket" in inspect.signature(asyncio.SelectorEventLoop.create_unix_server).parameters


def serve(loop, *args, protocol_factory=Recorder, **kwargs):
    return loop.run_until_complete(loop.create_unix_server(protocol_factory, *args, **kwargs))


def shut(loop, server):
    server.close()
    # What was accepted hears that its client has gone.
    steps(loop, 5)


def answers(loop, path):
    """Connect to it by the loop; what both ends say they are."""

    async def main():
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        try:
            return protocol.names, transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        finally:
            transport.abort()
            await asyncio.sleep(0)

    return loop.run_until_complete(main())


class PathLike:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


KINDS = {
    "str": str,
    "bytes": os.fsencode,
    "Path": pathlib.Path,
    "PathLike of str": lambda path: PathLike(str(path)),
    "PathLike of bytes": lambda path: PathLike(os.fsencode(path)),
    "abstract str": lambda path: abstract_name(),
    "abstract bytes": lambda path: abstract_name().encode(),
    "surrogates": lambda path: str(path) + "\udcff",
}


@pytest.mark.parametrize("kind", KINDS)
def test_paths(loop, tmp_path, kind):
    path = KINDS[kind](tmp_path / "socket")
    protocols = []

    def make():
        protocols.append(Recorder())
        return protocols[-1]

    with none_left(loop):
        server = serve(loop, path, protocol_factory=make)
        (sock,) = server.sockets
        name = os.fspath(path)
        assert os.fsencode(sock.getsockname()) == os.fsencode(name)
        assert (sock.family, sock.type) == (socket.AF_UNIX, socket.SOCK_STREAM)
        names, peer, own = answers(loop, path)
        assert names == ["made"]
        assert os.fsencode(peer) == os.fsencode(name)
        assert own == ""
        until(loop, lambda: protocols and "lost" in protocols[0].names)
        assert protocols[0].transport.get_extra_info("peername") == ""
        shut(loop, server)
        assert server.sockets == ()


def test_the_length_of_a_path(loop_factory, tmp_path):
    os.chdir(tmp_path)

    def scenario(factory):
        loop, seen = factory(), []
        for length in (107, 108, 109, 300):
            server = failure(lambda length=length: serve(loop, "x" * length))
            if isinstance(server, asyncio.Server):
                seen.append(server.sockets[0].getsockname())
                seen.append(answers(loop, "x" * length))
                shut(loop, server)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink("x" * length)
            else:
                seen.append(server)
                seen.append(failure(lambda length=length: answers(loop, "x" * length)))
        loop.close()
        return seen

    before = os.getcwd()
    try:
        with none_left():
            seen = like_asyncio(scenario, loop_factory)
    finally:
        os.chdir(before)
    assert seen[-1] == ("OSError", None, "AF_UNIX path too long")


def tcp():
    return socket.socket()


ARGUMENTS = {
    "nothing": dict,
    "path and sock": lambda: {"path": "x", "sock": socket.socket(socket.AF_UNIX)},
    "a TCP socket": lambda: {"sock": tcp()},
    "a datagram socket": lambda: {"sock": socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)},
    "a string as socket": lambda: {"sock": "socket"},
    "an int as path": lambda: {"path": 3},
    "a list as path": lambda: {"path": ["x"]},
    "a path with a null": lambda: {"path": "a\0b"},
    "ssl_handshake_timeout": lambda: {"path": "x", "ssl_handshake_timeout": 1},
    "ssl_shutdown_timeout": lambda: {"path": "x", "ssl_shutdown_timeout": 1},
    "unknown": lambda: {"path": "x", "no_such_argument": 1},
    "no such directory": lambda: {"path": "/nowhere/at/all"},
}


@pytest.mark.parametrize("call", ["create_unix_connection", "create_unix_server"])
@pytest.mark.parametrize(
    "arguments",
    [*ARGUMENTS, "server_hostname", "ssl is True", "ssl is False", "an empty path"],
)
def test_wrong_arguments(loop_factory, tmp_path, monkeypatch, call, arguments):
    extra = {
        "server_hostname": {"path": "x", "server_hostname": "name"},
        "ssl is True": {"path": "x", "ssl": True},
        "ssl is False": {"path": "/nowhere/at/all", "ssl": False},
        "an empty path": {"path": ""},
    }
    monkeypatch.chdir(tmp_path)
    if call == "create_unix_server" and arguments in ("a path with a null", "an empty path"):
        # asyncio fails in its own way (ValueError, IndexError), with its socket left open.
        return

    def scenario(factory):
        loop = factory()
        given = extra[arguments] if arguments in extra else ARGUMENTS[arguments]()

        async def main():
            result = await getattr(loop, call)(Recorder, **given)
            return type(result).__name__

        seen = failure(lambda: loop.run_until_complete(main()))
        if isinstance(given.get("sock"), socket.socket):
            seen = seen, given["sock"].fileno() == -1
            given["sock"].close()
        loop.close()
        return seen

    with none_left():
        seen = like_asyncio(scenario, loop_factory)
    assert seen not in ("tuple", "Server")
    if (call, arguments) == ("create_unix_server", "no such directory"):
        assert seen == ("FileNotFoundError", 2, "[Errno 2] No such file or directory")


@pytest.mark.parametrize("path", ["", "a\0b", b"", b"a\0b"])
def test_what_is_no_path_leaves_nothing(oneloop, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loop = oneloop.new_event_loop()
    with none_left(loop):
        seen = failure(lambda: serve(loop, path))
        if not path:
            # The kernel makes up an abstract name.
            assert seen.sockets[0].getsockname()[0] == 0
            shut(loop, seen)
        else:
            assert seen[0] == "ValueError"
    loop.close()


def test_connecting_to_what_is_no_socket(loop_factory, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with socket.socket(socket.AF_UNIX) as stale, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        stale.bind(str(tmp_path / "nobody listens"))
        other.bind(str(tmp_path / "datagrams"))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    def scenario(factory):
        loop = factory()
        names = ["file", "nobody listens", "datagrams", "loop", "missing", "file/below", ""]
        seen = [failure(lambda name=name: answers(loop, tmp_path / name)) for name in names]
        seen.append(failure(lambda: answers(loop, abstract_name()))[:2])
        loop.close()
        return seen

    with none_left():
        seen = like_asyncio(scenario, loop_factory)
    assert [each[0] for each in seen[:2]] == ["ConnectionRefusedError"] * 2


def lies_there(path, what):
    match what:
        case "a stale socket":
            with socket.socket(socket.AF_UNIX) as old:
                old.bind(str(path))
        case "a file":
            path.write_bytes(b"precious")
        case "a directory":
            path.mkdir()
        case "a link to nothing":
            path.symlink_to(path.parent / "nothing")
        case "a link to a socket":
            lies_there(path.parent / "target", "a stale socket")
            path.symlink_to(path.parent / "target")
        case "a fifo":
            os.mkfifo(path)


@pytest.mark.parametrize(
    "what", ["a stale socket", "a file", "a directory", "a link to nothing", "a link to a socket", "a fifo"]
)
def test_what_lies_there_already(loop_factory, tmp_path, what):
    def scenario(factory):
        directory = tmp_path / "here"
        directory.mkdir()
        path = directory / "socket"
        lies_there(path, what)
        loop = factory()
        with logged() as lines:
            seen = failure(lambda: serve(loop, path))
        if isinstance(seen, asyncio.Server):
            assert answers(loop, path)[0] == ["made"]
            shut(loop, seen)
            seen = "Server"
        loop.close()
        left = [(name, stat.S_IFMT(os.lstat(directory / name).st_mode)) for name in sorted(os.listdir(directory))]
        shutil.rmtree(directory)
        return seen, lines, left

    with none_left():
        seen, _, left = like_asyncio(scenario, loop_factory)
    if what == "a file":
        # It is not ours to remove.
        assert seen == ("OSError", 98, f"[Errno 98] Address {str(tmp_path / 'here' / 'socket')!r} is already in use")
        assert left == [("socket", stat.S_IFREG)]
    if what == "a stale socket":
        assert seen == "Server"


def test_a_directory_that_cannot_be_searched(loop_factory, tmp_path):
    # Root may search everything; a path below a file cannot be looked at by anybody.
    (tmp_path / "file").write_bytes(b"")

    def scenario(factory):
        loop = factory()
        with logged() as lines:
            seen = failure(lambda: serve(loop, tmp_path / "file" / "socket"))
        loop.close()
        return seen, lines

    with none_left():
        seen, lines = like_asyncio(scenario, loop_factory)
    assert seen == ("NotADirectoryError", 20, "[Errno 20] Not a directory")
    assert lines[0].startswith("ERROR: Unable to check or remove stale UNIX socket ")


def test_a_listening_server_is_not_spared(loop_factory, tmp_path):
    # Whoever comes later takes the path over, as with asyncio.
    def scenario(factory):
        loop, path = factory(), tmp_path / "socket"
        first, second = serve(loop, path), serve(loop, path)
        seen = [answers(loop, path)[0]]
        shut(loop, first)
        # What lies there now is the second one's.
        seen.append(path.exists())
        seen.append(failure(lambda: answers(loop, path)[0]))
        shut(loop, second)
        seen.append(path.exists())
        path.unlink(missing_ok=True)
        loop.close()
        return seen

    with none_left():
        seen = like_asyncio(scenario, loop_factory)
    assert seen == [["made"], True, ["made"], not CLEANS_UP]


@pytest.mark.parametrize("cleanup", [{}, {"cleanup_socket": True}, {"cleanup_socket": False}], ids=str)
@pytest.mark.parametrize("meanwhile", ["nothing", "removed", "replaced", "replaced by a directory", "unsearchable"])
@pytest.mark.parametrize("given", ["path", "sock"])
def test_cleaning_up(loop_factory, tmp_path, cleanup, meanwhile, given):
    if cleanup and not CLEANS_UP:
        return

    def scenario(factory):
        loop, directory = factory(), tmp_path / "here"
        directory.mkdir()
        path = directory / "socket"
        with contextlib.ExitStack() as stack:
            arguments = {"path": path}
            if given == "sock":
                sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                sock.bind(str(path))
                arguments = {"sock": sock}
            with logged() as lines:
                server = serve(loop, **arguments, **cleanup)
                match meanwhile:
                    case "removed":
                        path.unlink()
                    case "replaced" | "replaced by a directory":
                        # The file's number must not be used again at once.
                        path.rename(directory / "moved")
                        lies_there(path, "a file" if meanwhile == "replaced" else "a directory")
                    case "unsearchable":
                        directory.rename(tmp_path / "moved")
                        directory.write_bytes(b"")
                shut(loop, server)
        loop.close()
        left = sorted(os.listdir(directory)) if directory.is_dir() else "a file"
        if directory.is_dir():
            shutil.rmtree(directory)
        else:
            directory.unlink()
            shutil.rmtree(tmp_path / "moved")
        return left, lines

    with none_left():
        left, lines = like_asyncio(scenario, loop_factory)
    cleaned = CLEANS_UP and cleanup != {"cleanup_socket": False}
    if meanwhile == "nothing":
        assert left == ([] if cleaned else ["socket"])
    if meanwhile.startswith("replaced"):
        assert left == ["moved", "socket"]
    if meanwhile == "unsearchable":
        assert [line.startswith("ERROR: Unable to clean up listening UNIX socket ") for line in lines] == [
            True
        ] * cleaned


def test_given_sockets(loop, tmp_path):
    with none_left(loop):
        ours, peer = connected_pair("unix")
        with peer:
            ours.setblocking(True)
            protocol = Recorder()
            transport, _ = loop.run_until_complete(loop.create_unix_connection(lambda: protocol, sock=ours))
            assert ours.getblocking() is False
            transport.write(b"hello")
            transport.close()
            steps(loop, 2)
            assert peer.recv(100) == b"hello"
            assert ours.fileno() == -1


def test_start_serving_later(loop, tmp_path):
    path = tmp_path / "socket"
    server = serve(loop, path, start_serving=False)
    assert not server.is_serving()
    assert failure(lambda: answers(loop, path))[0] == "ConnectionRefusedError"
    loop.run_until_complete(server.start_serving())
    assert answers(loop, path)[0] == ["made"]
    shut(loop, server)


def test_a_full_queue(oneloop, tmp_path):
    # A Unix socket does not connect in the background: asyncio takes it for connected when it is not. Ours may wait
    # or refuse, and a connection that it says it has made is one.
    loop, path = oneloop.new_event_loop(), tmp_path / "socket"
    with none_left(loop), socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
        listener.bind(str(path))
        listener.listen(0)
        listener.setblocking(False)
        tasks = [loop.create_task(loop.create_unix_connection(Recorder, path)) for _ in range(4)]
        steps(loop, 5)
        accepted = []

        def all_done():
            with contextlib.suppress(BlockingIOError):
                accepted.append(stack.enter_context(listener.accept()[0]))
            return all(task.done() for task in tasks)

        until(loop, all_done)
        made = [task.result()[0] for task in tasks if not task.exception()]
        assert made
        assert {type(task.exception()) for task in tasks if task.exception()} <= {BlockingIOError}
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted.append(stack.enter_context(listener.accept()[0]))
        for transport in made:
            transport.write(b"x")
            transport.close()
        steps(loop, 2)
        assert [end.recv(10) for end in accepted] == [b"x"] * len(made)
    loop.close()
