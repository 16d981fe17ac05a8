# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The process may open no more: servers live, say so and go on accepting after a second; every other call fails with
the system's error and can be made again; what is connected goes on. Each test in a process of its own.
"""

import asyncio
import contextlib
import errno
import os
import resource
import socket
import sys
import tempfile
import time

import pytest
from helpers.apart import apart
from helpers.connecting import failure
from helpers.descriptors import none_left
from helpers.loops import goes_on, new_event_loop, run_once, steps
from helpers.peers import abstract_name, connected_pair, drain
from helpers.recorder import Recorder
from helpers.scene import anonymous, scene, until

HOST = "127.0.0.1"
TOO_MANY = ("OSError", errno.EMFILE, "[Errno 24] Too many open files")


@contextlib.contextmanager
def no_descriptors():
    """Whatever is opened inside is refused, also after something was closed; what is open stays so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Not 0: poll() refuses to look at more descriptors than this.
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Listening:
    """A server on a loop whose clock can be put forward, and clients that are not accepted yet."""

    def __init__(self, loop, kind, stack, backlog=100):
        self.loop, self.kind, self.stack = loop, kind, stack
        self.protocols, self.reports, self.ahead = [], [], 0.0
        loop.time = lambda: time.monotonic() + self.ahead
        loop.set_exception_handler(lambda _, context: self.reports.append(context))
        if kind == "tcp":
            making = loop.create_server(self.make, HOST, 0, backlog=backlog)
        else:
            making = loop.create_unix_server(self.make, abstract_name(), backlog=backlog)
        self.server = loop.run_until_complete(making)
        self.sock = self.server.sockets[0]

    def make(self):
        self.protocols.append(Recorder())
        return self.protocols[-1]

    def client(self):
        made = self.stack.enter_context(socket.socket(self.sock.family))
        made.connect(self.sock.getsockname())
        return made

    def end(self):
        self.server.close()
        for protocol in self.protocols:
            protocol.transport.abort()
        steps(self.loop, 3)


@contextlib.contextmanager
def listening_on(loop, kind):
    with none_left(loop), contextlib.ExitStack() as stack:
        # asyncio says it as often as the backlog is long, all at once; on 3.14 once more.
        made = Listening(loop, kind, stack, backlog=0 if sys.version_info >= (3, 14) else 1)
        yield made
        made.end()


each_kind = pytest.mark.parametrize("kind", ["tcp", "unix"])


@each_kind
@apart
def test_a_server_says_so_and_goes_on(loop, kind):
    with listening_on(loop, kind) as listening:
        says_so_and_goes_on(loop, listening, listening.client())


def says_so_and_goes_on(loop, listening, client):
    with no_descriptors():
        until(loop, lambda: listening.reports)
        report, at_once = listening.reports[0], len(listening.reports)
        assert at_once == 1 or isinstance(loop, asyncio.SelectorEventLoop)
        assert report["message"] == "socket.accept() out of system resource"
        assert set(report) == {"message", "exception", "socket"}
        assert type(report["exception"]) is OSError
        assert report["exception"].errno == errno.EMFILE
        assert report["socket"].fileno() == listening.sock.fileno()
        # It has its rest: no more is said, and the loop is idle.
        steps(loop, 20)
        before = time.process_time()
        loop.run_until_complete(asyncio.sleep(0.1))
        assert time.process_time() - before < 0.08
        assert len(listening.reports) == at_once
        # A second later it has another try.
        listening.ahead += 1.01
        until(loop, lambda: len(listening.reports) == 2 * at_once)
    assert listening.protocols == []
    steps(loop, 5)
    assert listening.protocols == []
    listening.ahead += 1.01
    until(loop, lambda: listening.protocols and listening.protocols[0].names == ["made"])
    listening.protocols[0].transport.write(b"served")
    assert client.recv(10) == b"served"
    # From here on it is a server like any other.
    listening.client()
    until(loop, lambda: len(listening.protocols) == 2 and listening.protocols[1].names)
    assert len(listening.reports) == 2 * at_once
    goes_on(loop)


@each_kind
@apart
def test_several_wait_until_there_is_room(loop, kind):
    is_ours = not isinstance(loop, asyncio.SelectorEventLoop)
    with none_left(loop), contextlib.ExitStack() as stack:
        listening = Listening(loop, kind, stack)
        clients = [listening.client() for _ in range(5)]
        with no_descriptors():
            until(loop, lambda: listening.reports)
            assert not is_ours or len(listening.reports) == 1
        listening.ahead += 1.01
        until(loop, lambda: [protocol.names for protocol in listening.protocols] == [["made"]] * len(clients))
        listening.end()


@each_kind
@apart
def test_what_is_connected_goes_on(loop, kind):
    with listening_on(loop, kind) as listening:
        client = listening.client()
        until(loop, lambda: listening.protocols and listening.protocols[0].names)
        (protocol,) = listening.protocols
        listening.client()
        with no_descriptors():
            until(loop, lambda: listening.reports)
            client.send(b"question")
            until(loop, lambda: protocol.data == b"question")
            protocol.transport.write(b"answer")
            assert client.recv(10) == b"answer"
            goes_on(loop)


@apart
def test_closed_while_it_rests(oneloop):
    # asyncio's own tries to watch the closed socket a second later, and reports that it cannot.
    loop = oneloop.new_event_loop()
    with none_left(loop), contextlib.ExitStack() as stack:
        listening = Listening(loop, "tcp", stack)
        listening.client()
        with no_descriptors():
            until(loop, lambda: listening.reports)
            listening.end()
        # The number is somebody else's by now.
        ours, theirs = connected_pair("socketpair")
        with ours, theirs:
            theirs.send(b"x")
            listening.ahead += 1.01
            steps(loop, 5)
            assert len(listening.reports) == 1
            assert ours.recv(10) == b"x"
    goes_on(loop)
    loop.close()


CALLS = {
    "create_connection": lambda loop, address: loop.create_connection(Recorder, *address),
    "create_connection with happy eyeballs": lambda loop, address: loop.create_connection(
        Recorder, *address, happy_eyeballs_delay=0.01
    ),
    "open_connection": lambda loop, address: asyncio.open_connection(*address),
}


@pytest.mark.parametrize("call", CALLS)
@apart
def test_connecting(loop, call):
    with none_left(loop), socket.create_server((HOST, 0)) as listener:
        for _ in range(2):
            with no_descriptors():
                seen = failure(lambda: loop.run_until_complete(CALLS[call](loop, listener.getsockname())))
                assert seen == TOO_MANY
            goes_on(loop)
        transport, protocol = loop.run_until_complete(CALLS[call](loop, listener.getsockname()))
        (protocol.transport if isinstance(transport, asyncio.StreamReader) else transport).abort()
        steps(loop, 2)


@apart
def test_connecting_and_serving_on_unix_sockets(loop):
    with none_left(loop), tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "socket")
        with no_descriptors():
            for making in (loop.create_unix_connection(Recorder, path), loop.create_unix_server(Recorder, path)):
                assert failure(lambda making=making: loop.run_until_complete(making)) == TOO_MANY
        server = loop.run_until_complete(loop.create_unix_server(Recorder, path))
        server.close()
        run_once(loop)


@apart
def test_serving(loop):
    with none_left(loop):
        with no_descriptors():
            seen = failure(lambda: loop.run_until_complete(loop.create_server(Recorder, HOST, 0)))
        if isinstance(loop, asyncio.SelectorEventLoop) and isinstance(seen, asyncio.Server):
            seen.close()  # asyncio's of some versions serves nothing, and calls it a success
        else:
            assert seen[0] == "OSError"
        server = loop.run_until_complete(loop.create_server(Recorder, HOST, 0))
        server.close()
        run_once(loop)


@apart
def test_sock_accept(loop):
    with none_left(loop), socket.create_server((HOST, 0)) as listener:
        listener.setblocking(False)
        with socket.create_connection(listener.getsockname()) as client:
            with no_descriptors():
                for _ in range(3):
                    assert failure(lambda: loop.run_until_complete(loop.sock_accept(listener))) == TOO_MANY
            # Nobody was lost.
            accepted, address = loop.run_until_complete(loop.sock_accept(listener))
            accepted.close()
            assert address == client.getsockname()


@apart
def test_sock_accept_that_waits(loop):
    with none_left(loop), socket.create_server((HOST, 0)) as listener:
        listener.setblocking(False)
        task = loop.create_task(loop.sock_accept(listener))
        steps(loop, 3)
        with socket.create_connection(listener.getsockname()):
            with no_descriptors():
                assert failure(lambda: loop.run_until_complete(task)) == TOO_MANY
            accepted, _ = loop.run_until_complete(loop.sock_accept(listener))
            accepted.close()


@apart
def test_the_socket_of_an_accepted_connection(loop):
    # It may be made when somebody asks for it, and then it needs no descriptor of its own.
    protocols = []

    def make():
        protocols.append(Recorder())
        return protocols[-1]

    with none_left(loop):
        server = loop.run_until_complete(loop.create_server(make, HOST, 0))
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            until(loop, lambda: protocols and protocols[0].names)
            transport = protocols[0].transport
            with no_descriptors():
                assert transport.get_extra_info("socket").getpeername() == client.getsockname()
                assert transport.get_extra_info("peername") == client.getsockname()
                transport.abort()
                steps(loop, 2)
        server.close()
        run_once(loop)


@apart
def test_a_transport_that_sends_and_receives():
    with scene(new_event_loop, "tcp") as stage:
        stage.call(stage.transport.write, bytes(5_000_000))
        with no_descriptors():
            received = 0

            def sent():
                nonlocal received
                received += len(drain(stage.peer))
                return received == 5_000_000

            stage.until(sent)
            stage.peer.send(b"x")
            stage.until(lambda: stage.protocol.data)
            stage.call(stage.transport.close)
            stage.step()
            assert stage.trace[-1] == ("lost", None)


@apart
def test_a_new_loop(oneloop):
    # It may find out at once, or when it runs for the first time. asyncio leaves half a loop to the collector.
    def use():
        with contextlib.closing(oneloop.new_event_loop()) as loop:
            loop.run_until_complete(asyncio.sleep(0))

    with none_left():
        with no_descriptors():
            for _ in range(3):
                kind, number, text = failure(use)
                assert (kind, number) == ("OSError", errno.EMFILE)
                assert "Too many open files" in anonymous(text)
        use()
