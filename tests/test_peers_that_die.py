# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The peer is a process and is killed: while it is connected to, read from, written to, while the connection is closed.

Whatever the phase, the protocol hears of the end once, nobody is alarmed by a report, the descriptor is closed and the
loop goes on.
"""

import asyncio
import contextlib
import socket
import textwrap

import pytest
from helpers import children
from helpers.connecting import failure
from helpers.descriptors import none_left
from helpers.loops import goes_on, steps
from helpers.peers import abstract_name
from helpers.recorder import BufferedRecorder, Recorder
from helpers.scene import until

# What a connection may be lost by when its peer is killed: an end, or the kernel's word for it.
LOST = {
    None,
    "ConnectionResetError: [Errno 104] Connection reset by peer",
    "BrokenPipeError: [Errno 32] Broken pipe",
}

# Listens (or connects to us), does what it is told in order, says that it is ready, and waits for its end.
PEER = textwrap.dedent("""
    import signal, socket, sys
    family, orders = sys.argv[1], sys.argv[2:]
    def receive(count):
        while count:
            count -= len(end.recv(count))
    if family == "tcp":
        listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        print(*listener.getsockname(), flush=True)
    elif family == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("\\0" + orders.pop(0))
        listener.listen()
        print("listening", flush=True)
    else:
        end = socket.create_connection(("127.0.0.1", int(family)))
    for order in orders:
        what, _, count = order.partition(":")
        match what:
            case "accept":
                end, _ = listener.accept()
            case "write":
                end.sendall(bytes(int(count)))
            case "read":
                receive(int(count))
            case "end":
                end.shutdown(socket.SHUT_WR)
    print("ready", flush=True)
    signal.pause()
""")


class Peer:
    """The other process, and how to connect to it."""

    def __init__(self, loop_name, kind, *orders):
        self.kind, self.name = kind, abstract_name()
        arguments = [kind, *([self.name[1:]] if kind == "unix" else []), *orders]
        self.process = children.start(["-S", "-c", PEER, *arguments], loop_name)
        line = self.process.stdout.readline() if kind in ("tcp", "unix") else ""
        self.address = (line.split()[0], int(line.split()[1])) if kind == "tcp" else self.name

    def ready(self):
        """Wait until all orders are carried out."""
        assert self.process.stdout.readline() == "ready\n"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def connect(self, loop, factory):
        if self.kind == "tcp":
            return loop.create_connection(factory, *self.address)
        return loop.create_unix_connection(factory, self.address)


@contextlib.contextmanager
def peer(loop_name, kind, *orders):
    made = Peer(loop_name, kind, *orders)
    try:
        yield made
    finally:
        made.kill()
        for stream in (made.process.stdin, made.process.stdout, made.process.stderr):
            stream.close()


@pytest.fixture(params=["tcp", "unix"])
def kind(request):
    return request.param


@pytest.fixture
def reports(loop):
    seen = []
    loop.set_exception_handler(lambda _, context: seen.append(context))
    return seen


def lost(loop, protocol):
    """Wait for the end; by what it was."""
    until(loop, lambda: "lost" in protocol.names)
    steps(loop, 3)
    assert protocol.names.count("lost") == 1
    assert protocol.names[-1] == "lost"
    return protocol.trace[-1][1]


def connected(loop, other, recorder=Recorder):
    return loop.run_until_complete(other.connect(loop, recorder))


def test_before_it_has_accepted(loop_name, loop, kind, reports):
    with none_left(loop), peer(loop_name, kind) as other:
        other.ready()
        _, protocol = connected(loop, other)
        other.kill()
        assert lost(loop, protocol) in LOST
    assert reports == []
    goes_on(loop)


def test_while_it_is_connected_to(loop_name, loop, reports):
    # Its queue is full, so that it does not answer until it is gone, and then the kernel refuses for it.
    with none_left(loop), peer(loop_name, "tcp") as other, contextlib.ExitStack() as stack:
        other.ready()
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(other.address)
        task = loop.create_task(other.connect(loop, Recorder))
        steps(loop, 5)
        assert not task.done()
        other.kill()
        # The kernel asks again after a second, or it hears of the end at once.
        assert failure(lambda: loop.run_until_complete(task))[0] == "ConnectionRefusedError"
    assert reports == []


@pytest.mark.parametrize("recorder", [Recorder, BufferedRecorder])
def test_while_it_is_read_from(loop_name, loop, kind, reports, recorder):
    with none_left(loop), peer(loop_name, kind, "accept", "write:5") as other:
        _, protocol = connected(loop, other, recorder)
        other.ready()
        until(loop, lambda: protocol.data)
        other.kill()
        assert lost(loop, protocol) is None
        assert protocol.trace == [("made",), ("data", bytes(5)), ("eof",), ("lost", None)]
    assert reports == []


def test_while_reading_is_paused(loop_name, loop, kind, reports):
    with none_left(loop), peer(loop_name, kind, "accept", "write:5") as other:
        transport, protocol = connected(loop, other)
        transport.pause_reading()
        other.ready()
        other.kill()
        steps(loop, 3)
        assert protocol.trace in ([("made",)], [("made",), ("data", bytes(5))])
        transport.resume_reading()
        assert lost(loop, protocol) is None
        # What it sent is still there.
        assert protocol.data == bytes(5)
    assert reports == []


def test_while_it_is_written_to(loop_name, loop, kind, reports):
    # It read a little and left the rest unread: that is a reset, where the network has such a thing.
    with none_left(loop), peer(loop_name, kind, "accept", "read:5") as other:
        transport, protocol = connected(loop, other)
        transport.write(bytes(20_000_000))
        steps(loop, 1)
        other.ready()
        assert transport.get_write_buffer_size() > 0
        other.kill()
        assert lost(loop, protocol) in LOST - {None}
        assert protocol.names[:2] == ["made", "pause"]
        assert transport.get_write_buffer_size() == 0
    assert reports == []


def test_while_it_is_written_to_and_reading_is_paused(loop_name, loop, kind, reports):
    # Only the writing half can tell.
    with none_left(loop), peer(loop_name, kind, "accept", "read:5") as other:
        transport, protocol = connected(loop, other)
        transport.pause_reading()
        transport.write(bytes(20_000_000))
        steps(loop, 1)
        other.ready()
        other.kill()
        assert lost(loop, protocol) in LOST - {None}
    assert reports == []


@pytest.mark.parametrize("how", ["close", "write_eof", "abort"])
def test_while_the_connection_is_closed(loop_name, loop, kind, reports, how):
    with none_left(loop), peer(loop_name, kind, "accept", "read:5") as other:
        transport, protocol = connected(loop, other)
        transport.write(bytes(20_000_000))
        steps(loop, 1)
        other.ready()
        getattr(transport, how)()
        other.kill()
        assert lost(loop, protocol) in ({None} if how == "abort" else LOST - {None})
    assert reports == []


@pytest.mark.parametrize("keep_open", [False, True])
def test_while_half_of_the_connection_is_closed(loop_name, loop, kind, reports, keep_open):
    with none_left(loop), peer(loop_name, kind, "accept", "end") as other:
        made = Recorder(eof=lambda transport: keep_open)
        transport, protocol = connected(loop, other, lambda: made)
        other.ready()
        until(loop, lambda: "eof" in protocol.names)
        if keep_open:
            transport.write(bytes(20_000_000))
            steps(loop, 1)
        other.kill()
        assert lost(loop, protocol) in (LOST - {None} if keep_open else {None})
    assert reports == []


def test_streams_say_what_they_had(loop_name, loop, kind):
    with none_left(loop), peer(loop_name, kind, "accept", "write:5") as other:

        async def main():
            if kind == "tcp":
                reader, writer = await asyncio.open_connection(*other.address)
            else:
                reader, writer = await asyncio.open_unix_connection(other.address)
            other.ready()
            reading = asyncio.create_task(reader.readexactly(10))
            await asyncio.sleep(0)
            other.kill()
            with pytest.raises(asyncio.IncompleteReadError) as incomplete:
                await reading
            assert incomplete.value.partial == bytes(5)
            assert reader.at_eof()
            writer.close()
            await writer.wait_closed()

        loop.run_until_complete(asyncio.wait_for(main(), 10))


def test_drain_raises(loop_name, loop, kind):
    with none_left(loop), peer(loop_name, kind, "accept", "read:5") as other:

        async def main():
            if kind == "tcp":
                _, writer = await asyncio.open_connection(*other.address)
            else:
                _, writer = await asyncio.open_unix_connection(other.address)
            writer.write(bytes(20_000_000))
            draining = asyncio.create_task(writer.drain())
            await asyncio.sleep(0)
            other.ready()
            other.kill()
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await draining
            writer.close()
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await writer.wait_closed()

        loop.run_until_complete(asyncio.wait_for(main(), 10))


@pytest.mark.parametrize("call", ["sock_recv", "sock_sendall"])
def test_raw_sockets(loop_name, loop, kind, call):
    family = socket.AF_INET if kind == "tcp" else socket.AF_UNIX
    order = "read:5" if call == "sock_sendall" else "write:5"
    with none_left(loop), peer(loop_name, kind, "accept", order) as other, socket.socket(family) as sock:
        sock.setblocking(False)
        loop.run_until_complete(loop.sock_connect(sock, other.address))
        if call == "sock_recv":
            assert loop.run_until_complete(loop.sock_recv(sock, 5)) == bytes(5)
            task = loop.create_task(loop.sock_recv(sock, 5))
        else:
            task = loop.create_task(loop.sock_sendall(sock, bytes(20_000_000)))
        steps(loop, 3)
        other.ready()
        other.kill()
        seen = failure(lambda: loop.run_until_complete(asyncio.wait_for(task, 10)))
        if call == "sock_recv":
            assert seen == b""
        else:
            assert seen[0] in ("ConnectionResetError", "BrokenPipeError")


@pytest.mark.parametrize("phase", [(), ("write:5",), ("write:5", "read:5")])
def test_a_client_of_a_server(loop_name, loop, reports, phase):
    made = []

    def make():
        made.append(Recorder(data=lambda transport: transport.write(bytes(20_000_000))))
        return made[-1]

    with none_left(loop):
        server = loop.run_until_complete(loop.create_server(make, "127.0.0.1", 0))
        port = str(server.sockets[0].getsockname()[1])
        for _ in range(2):
            with peer(loop_name, port, *phase) as client:
                until(loop, lambda: made and ("data" in made[-1].names or not phase))
                client.ready()
                client.kill()
                assert lost(loop, made[-1]) in LOST
                made.clear()
        # It still serves.
        with socket.create_connection(server.sockets[0].getsockname()):
            until(loop, lambda: made)
        lost(loop, made[-1])
        server.close()
        steps(loop, 2)
    assert reports == []


@pytest.mark.parametrize("direction", ["read", "write"])
@pytest.mark.parametrize("unsent", [0, 1_000_000])
def test_the_other_end_of_a_pipe(loop_name, loop, reports, direction, unsent):
    program = "import signal, sys; print('ready', file=sys.stderr, flush=True); signal.pause()"
    with none_left(loop):
        child = children.start(["-S", "-c", program], loop_name)
        assert child.stderr.readline() == "ready\n"
        child.stderr.close()
        end = child.stdout if direction == "read" else child.stdin
        connect = getattr(loop, f"connect_{direction}_pipe")
        transport, protocol = loop.run_until_complete(connect(Recorder, end))
        if direction == "write":
            transport.write(bytes(unsent))
        child.kill()
        by = lost(loop, protocol)
        # A pipe's writer hears of it by an event, not by an error of the kernel's.
        assert by == ("BrokenPipeError: " if direction == "write" and unsent else None)
        child.wait()
        (child.stdin if direction == "read" else child.stdout).close()
    assert reports == []
