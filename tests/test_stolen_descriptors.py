# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Numbers of descriptors that change hands behind the loop's back: another file takes the number between two closes, is
put over it by dup2, the number is closed under its transport, or was closed under a watch of the user's. Nobody else's
descriptor is hurt, and the loop neither spins nor stops. Each test in a process of its own, whose numbers it may take.
"""

import asyncio
import contextlib
import gc
import os
import socket
import time

import pytest
from helpers.apart import apart
from helpers.descriptors import found_unclosed
from helpers.loops import goes_on, run_once, steps
from helpers.peers import connected_pair
from helpers.recorder import Recorder
from helpers.scene import until


class Owned:
    """A transport of some kind, the number that it has, and the other end."""

    def __init__(self, loop, kind):
        self.loop, self.kind, self.reports = loop, kind, []
        loop.set_exception_handler(lambda _, context: self.reports.append(context["message"]))
        self.protocol = Recorder()
        getattr(self, "_" + kind)()
        steps(loop, 2)

    def _given(self):
        ours, self.peer = connected_pair("socketpair")
        self._make(self.loop.create_connection(lambda: self.protocol, sock=ours), ours.fileno())

    def _connected(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._make(self.loop.create_connection(lambda: self.protocol, *listener.getsockname()))
            self.peer, _ = listener.accept()
        self.number = self.transport.get_extra_info("socket").fileno()

    def _accepted(self):
        server = self.loop.run_until_complete(self.loop.create_server(lambda: self.protocol, "127.0.0.1", 0))
        self.peer = socket.create_connection(server.sockets[0].getsockname())
        until(self.loop, lambda: self.protocol.transport)
        server.close()
        self.transport = self.protocol.transport
        self.number = self.transport.get_extra_info("socket").fileno()

    def _pipe(self):
        reader, self.peer = connected_pair("socketpair")
        end = open(reader.detach(), "rb", 0)  # noqa: SIM115
        self._make(self.loop.connect_read_pipe(lambda: self.protocol, end), end.fileno())

    def _make(self, connecting, number=None):
        self.transport, _ = self.loop.run_until_complete(connecting)
        self.number = number


each_kind = pytest.mark.parametrize("kind", ["given", "connected", "accepted", "pipe"])


@contextlib.contextmanager
def owned_by(loop, kind, what=""):
    """A transport for a moment; `what` is said of an error in it."""
    made = Owned(loop, kind)
    try:
        with made.peer:
            yield made
            if "lost" not in made.protocol.names:
                made.transport.close()
                steps(loop, 3)
    except BaseException as exc:
        exc.add_note(f"{kind}: {what}")
        raise


def idle(loop):
    """The loop has nothing to do and does nothing."""
    before = time.process_time()
    loop.run_until_complete(asyncio.sleep(0.1))
    assert time.process_time() - before < 0.08


def moved(sock, number):
    """The same socket under a given number."""
    if sock.fileno() == number:
        return sock
    os.dup2(sock.fileno(), number)
    sock.close()
    return socket.socket(fileno=number)


@contextlib.contextmanager
def bystander(number):
    """A pair of sockets that works, the first of them under a given number."""
    ours, theirs = connected_pair("socketpair")
    if theirs.fileno() == number:
        ours, theirs = theirs, ours
    with moved(ours, number) as ours, theirs:
        yield
        # Still whole: bytes go through, and it is its own to close.
        theirs.send(b"x")
        assert ours.recv(10) == b"x"
        ours.send(b"y")
        assert theirs.recv(10) == b"y"


AGAIN = {
    "close": lambda transport: transport.close(),
    "abort": lambda transport: transport.abort() if hasattr(transport, "abort") else transport.close(),
    "write": lambda transport: transport.write(b"x") if hasattr(transport, "write") else None,
    "pause and resume": lambda transport: (transport.pause_reading(), transport.resume_reading()),
    "write_eof": lambda transport: transport.write_eof() if hasattr(transport, "write_eof") else None,
    "repr": repr,
    "socket": lambda transport: repr(transport.get_extra_info("socket")),
    "nothing": lambda transport: None,
}


@each_kind
@apart
def test_taken_between_two_closes(loop, kind):
    for again in AGAIN:
        with owned_by(loop, kind, again) as owned:
            owned.transport.close()
            until(loop, lambda: "lost" in owned.protocol.names)
            steps(loop, 2)
            with bystander(owned.number):
                AGAIN[again](owned.transport)
                AGAIN["close"](owned.transport)
                steps(loop, 3)
                with found_unclosed() as messages:
                    owned.protocol.transport = owned.transport = None
                assert messages == []
                goes_on(loop)
            assert owned.protocol.names.count("lost") == 1
            assert owned.reports == []


@each_kind
@apart
def test_taken_and_watched_between_two_closes(loop, kind):
    with owned_by(loop, kind) as owned:
        owned.transport.close()
        until(loop, lambda: "lost" in owned.protocol.names)
        seen = []
        with bystander(owned.number):
            loop.add_reader(owned.number, seen.append, "readable")
            AGAIN["abort"](owned.transport)
            owned.transport.close()
            steps(loop, 2)
            assert loop.remove_reader(owned.number) is True
        assert seen == []


ENDS = ["close", "abort", "the peer leaves"]


def bring_about(end, owned):
    if end == "the peer leaves":
        owned.peer.close()
        steps(owned.loop, 3)
        owned.transport.close()
    else:
        AGAIN[end](owned.transport)
    until(owned.loop, lambda: "lost" in owned.protocol.names)


@each_kind
@apart
def test_another_file_is_put_over_it(loop, kind):
    # The transport has the other file from then on, which is a file like any other, and its original is not touched.
    for end in ENDS:
        with owned_by(loop, kind, end) as owned:
            ours, theirs = connected_pair("socketpair")
            with ours, theirs:
                os.dup2(ours.fileno(), owned.number)
                steps(loop, 2)
                bring_about(end, owned)
                theirs.send(b"x")
                assert ours.recv(10) == b"x"
                idle(loop)
            assert owned.protocol.names.count("lost") == 1
        goes_on(loop)


# asyncio's transports never get rid of a socket that they cannot close, so this is asked of ours alone.


@each_kind
@apart
def test_closed_under_it(oneloop, kind):
    for end in ENDS:
        loop = oneloop.new_event_loop()
        with contextlib.closing(loop), owned_by(loop, kind, end) as owned:
            os.close(owned.number)
            steps(loop, 2)
            bring_about(end, owned)
            idle(loop)
            assert owned.protocol.names.count("lost") == 1
            goes_on(loop)


@apart
def test_closed_under_it_while_it_writes(oneloop):
    loop, protocol, reports = oneloop.new_event_loop(), Recorder(), []
    loop.set_exception_handler(lambda _, context: reports.append(type(context["exception"])))
    sock, peer = connected_pair("socketpair")
    transport, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=sock))
    with peer:
        transport.write(bytes(10_000_000))
        steps(loop, 2)
        os.close(sock.fileno())
        steps(loop, 2)
        transport.write(b"more")
        idle(loop)
        transport.abort()
        until(loop, lambda: "lost" in protocol.names)
        steps(loop, 2)
    assert protocol.names.count("lost") == 1
    # That its socket could not be closed is said, as asyncio says it.
    assert reports == [OSError]
    goes_on(loop)
    loop.close()


@apart
def test_the_user_closes_the_socket_that_he_gave(loop):
    # By its own method, so that it says that it is closed: the next use is an error of the connection, or its end.
    for number_is_taken in (False, True):
        protocol = Recorder()
        loop.set_exception_handler(lambda *_: None)
        sock, peer = connected_pair("socketpair")
        transport, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=sock))  # noqa: B023
        number = sock.fileno()
        sock.close()
        with peer, bystander(number) if number_is_taken else contextlib.nullcontext():
            steps(loop, 3)
            transport.write(b"for nobody")
            transport.abort()
            until(loop, lambda: "lost" in protocol.names)  # noqa: B023
            idle(loop)
        assert protocol.names.count("lost") == 1
        goes_on(loop)


@apart
def test_a_listening_socket_that_is_closed_under_its_server(loop):
    reports = []
    loop.set_exception_handler(lambda _, context: reports.append(context["message"]))
    server = loop.run_until_complete(loop.create_server(Recorder, "127.0.0.1", 0))
    number = server.sockets[0].fileno()
    os.close(number)
    steps(loop, 3)
    idle(loop)
    with contextlib.suppress(OSError):
        server.close()
    run_once(loop)
    goes_on(loop)
    with bystander(number), contextlib.suppress(OSError):
        server.close()
    assert reports == []


@apart
def test_a_listening_socket_s_number_that_is_taken(loop):
    server = loop.run_until_complete(loop.create_server(Recorder, "127.0.0.1", 0))
    number = server.sockets[0].fileno()
    server.close()
    run_once(loop)
    with bystander(number):
        server.close()
        with found_unclosed() as messages:
            del server
        assert messages == []
        steps(loop, 3)
        gc.collect()
        goes_on(loop)


@contextlib.contextmanager
def watches_on_closed_numbers(loop, count=20):
    """The lowest free numbers have watches of the user's, whose files he has closed without a word."""
    seen, stack = [], contextlib.ExitStack()
    numbers = []
    with stack:
        for _ in range(count):
            for end in connected_pair("socketpair"):
                stack.enter_context(end)
                loop.add_reader(end, seen.append, end.fileno())
                numbers.append(end.fileno())
    run_once(loop)
    yield numbers
    assert seen == []


# asyncio's selector takes such a number for the file that it knows, and never looks at the new one.


@each_kind
@apart
def test_a_connection_with_a_number_that_was_closed_under_a_watch(oneloop, kind):
    loop = oneloop.new_event_loop()
    with (
        contextlib.closing(loop),
        watches_on_closed_numbers(loop) as numbers,
        owned_by(loop, kind) as owned,
    ):
        assert owned.number in numbers
        owned.peer.send(b"question")
        until(loop, lambda: owned.protocol.data == b"question")
        if hasattr(owned.transport, "write"):
            owned.transport.write(b"answer")
            assert owned.peer.recv(10) == b"answer"
        # What stood there is over.
        assert loop.remove_writer(max(numbers)) is False
        goes_on(loop)


@apart
def test_the_queued_callback_of_a_watch_whose_number_a_transport_has_taken(oneloop):
    # The file lives on in a duplicate, so its event comes: in the very iteration in which the transport begins to read.
    loop = oneloop.new_event_loop()
    seen, protocol = [], Recorder()
    watched, peer = connected_pair("socketpair")
    with contextlib.closing(loop), peer, contextlib.closing(watched.dup()):
        loop.add_reader(watched, seen.append, "watched")
        run_once(loop)
        number = watched.fileno()
        watched.close()
        taker, other = connected_pair("socketpair")
        if other.fileno() == number:
            taker, other = other, taker
        with moved(taker, number) as taker, other:
            connecting = loop.create_task(loop.connect_accepted_socket(lambda: protocol, taker))
            loop.call_soon(peer.send, b"x")
            run_once(loop)
            assert (seen, protocol.names) == ([], [])
            run_once(loop)
            assert (seen, protocol.names) == ([], ["made"])
            other.send(b"question")
            until(loop, lambda: protocol.data == b"question")
            assert seen == []
            transport, _ = loop.run_until_complete(connecting)
            transport.close()
            goes_on(loop)


@apart
def test_a_child_process_with_numbers_that_were_closed_under_a_watch(oneloop):
    # A child's exit is a descriptor of the loop's own.
    async def main():
        for _ in range(3):
            child = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=-1)
            assert await child.communicate(b"through") == (b"through", None)
            assert await child.wait() == 0

    loop = oneloop.new_event_loop()
    with contextlib.closing(loop), watches_on_closed_numbers(loop):
        loop.run_until_complete(main())
        goes_on(loop)


@apart
def test_a_coroutine_that_waits_for_a_number_that_was_closed(oneloop):
    # asyncio's would wait for ever. Ours looks again as soon as the number is somebody else's.
    loop = oneloop.new_event_loop()
    with contextlib.closing(loop), contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(end) for _ in range(20) for end in connected_pair("socketpair")]
        waiting = [loop.create_task(loop.sock_recv(end, 10)) for end in pairs]
        run_once(loop)
        stack.close()

        async def main():
            child = await asyncio.create_subprocess_exec("true")
            assert await child.wait() == 0

        loop.run_until_complete(main())
        over = [task for task in waiting if task.done()]
        assert over
        assert {type(task.exception()) for task in over} <= {OSError, ValueError}
        for task in waiting:
            task.cancel()
        steps(loop, 2)
        assert all(task.done() for task in waiting)
        goes_on(loop)
