# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What only native transports can get wrong: objects, threads, the collector, descriptors that somebody else closed.

What they do for a program is compared with asyncio's in `test_stream_*.py`.
"""

import asyncio
import contextlib
import gc
import os
import socket
import threading
import warnings
import weakref

import pytest


class Recorder(asyncio.Protocol):
    def __init__(self):
        self.trace = []
        self.data = b""
        self.ended = threading.Event()

    def connection_made(self, transport):
        self.trace.append("made")

    def data_received(self, data):
        self.data += data

    def connection_lost(self, exc):
        self.trace.append(("lost", type(exc)))
        self.ended.set()


class Stage:
    """A loop, a transport over one end of a socket pair, and the other end."""

    def __init__(self, loop, protocol=None):
        self.loop = loop
        loop.set_debug(False)  # which would refuse what some of these tests do
        self.protocol = protocol or Recorder()
        self.sock, self.peer = socket.socketpair()
        self.sock.setblocking(False)
        self.fd = self.sock.fileno()
        self.transport = loop._make_socket_transport(self.sock, self.protocol)
        self.turns(3)

    def turns(self, count=1):
        """Let the loop go round, polling each time."""
        for _ in range(count):
            self.loop.call_later(0.001, self.loop.stop)
            self.loop.run_forever()

    def until_lost(self):
        for _ in range(1000):
            if self.protocol.ended.is_set():
                return
            self.turns()
        raise AssertionError("connection_lost() was not called")

    def close(self):
        self.peer.close()
        if not self.loop.is_closed():
            self.transport.abort()
            self.turns(2)
            self.loop.close()


@pytest.fixture
def stage(oneloop):
    stage = Stage(oneloop.new_event_loop())
    yield stage
    stage.close()


@contextlib.contextmanager
def unclosed_transport():
    """Something inside drops a transport that nobody closed.

    In a cycle the collector may come to its socket first, which warns too.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
        messages = [str(warning.message) for warning in caught]
        caught.clear()
        gc.collect()
    assert any(message.startswith("unclosed transport <SocketTransport") for message in messages), messages


def drain(sock, size):
    data = bytearray()
    while len(data) < size:
        received = sock.recv(1 << 20)
        assert received, f"{len(data)} of {size} bytes"
        data += received
    return bytes(data)


# The objects.


def test_instances_have_a_dict_and_weak_references(stage):
    transport = stage.transport
    transport.anything = [transport]
    assert transport.anything[0] is transport
    assert vars(transport) == {"anything": [transport]}
    del transport.anything
    assert weakref.ref(transport)() is transport
    transport.__dict__ = {"other": 1}
    assert transport.other == 1
    with pytest.raises(TypeError):
        transport.__dict__ = 3


@pytest.mark.parametrize("through", ["dict", "protocol", "extra", "class"])
def test_a_cycle_through_a_transport_is_collected(oneloop, through):
    stage = Stage(oneloop.new_event_loop())
    stage.transport.close()
    stage.until_lost()
    witness = weakref.ref(stage.transport)
    match through:
        case "dict":
            stage.transport.me = stage.transport
        case "protocol":
            stage.protocol.transport = stage.transport
            stage.transport.set_protocol(stage.protocol)
        case "extra":
            stage.transport._extra["me"] = stage.transport
        case "class":
            stage.transport.kind = type("Kind", (), {"transport": stage.transport})
    stage.peer.close()
    stage.loop.close()
    del stage
    gc.collect()
    assert witness() is None


def test_a_transport_in_a_cycle_with_its_loop_is_collected(oneloop):
    stage = Stage(oneloop.new_event_loop())
    witnesses = [weakref.ref(stage.transport), weakref.ref(stage.loop), weakref.ref(stage.sock)]
    peer = stage.peer
    with unclosed_transport():
        del stage
    assert [witness() for witness in witnesses] == [None, None, None]
    assert peer.recv(1) == b""
    peer.close()


def test_only_the_loop_makes_them(oneloop):
    for kind in (oneloop._core.SocketTransport, oneloop._core.ReadPipeTransport, oneloop._core.WritePipeTransport):
        with pytest.raises(TypeError):
            kind()
        with pytest.raises(TypeError):
            kind.__new__(kind)
        with pytest.raises(TypeError):
            object.__new__(kind)
        with pytest.raises(TypeError):
            type("Sub", (kind,), {})


def test_the_class_of_one_cannot_be_changed(stage, oneloop):
    class Other(asyncio.Transport):
        pass

    for other in (Other, oneloop._core.ReadPipeTransport):
        with pytest.raises(TypeError):
            stage.transport.__class__ = other


def test_arguments_are_bound_as_python_binds_them(stage):
    transport = stage.transport
    transport.write(data=b"x")
    transport.set_write_buffer_limits(low=1, high=9)
    assert transport.get_write_buffer_limits() == (1, 9)
    transport.set_write_buffer_limits(8, low=2)
    assert transport.get_write_buffer_limits() == (2, 8)
    assert transport.get_extra_info("no such", default=3) == 3
    for call, message in [
        (lambda: transport.write(), r"write\(\) missing 1 required positional argument: 'data'"),
        (lambda: transport.write(b"", b""), r"write\(\) takes 2 positional arguments but 3 were given"),
        (lambda: transport.write(b"", data=b""), r"write\(\) got multiple values for argument 'data'"),
        (lambda: transport.write(dat=b""), r"write\(\) got an unexpected keyword argument 'dat'"),
        (lambda: transport.get_extra_info(), r"missing 1 required positional argument: 'name'"),
        (lambda: transport.get_extra_info(1, 2, 3), r"takes from 2 to 3 positional arguments but 4 were given"),
        (lambda: transport.get_extra_info([]), r"unhashable"),
        (lambda: type(transport).write(3, b""), r"descriptor 'write'|requires a"),
        (lambda: transport.close(1), r"takes no arguments"),
    ]:
        with pytest.raises(TypeError, match=message):
            call()


def test_a_protocol_s_method_may_be_assigned_while_the_connection_lives(stage):
    seen = []
    stage.protocol.data_received = seen.append
    stage.peer.send(b"a")
    stage.turns(3)
    stage.protocol.data_received = lambda data: seen.append(data.upper())
    stage.peer.send(b"b")
    stage.turns(3)
    assert seen == [b"a", b"B"]


# What an accepted connection, whose socket object is made only when somebody asks, tells of itself.


class Accepted:
    """A connection that a server of the loop accepted, and the client's end."""

    def __init__(self, loop, family):
        self.loop, self.protocol = loop, Recorder()
        listening = socket.socket(family)
        match family:
            case socket.AF_INET:
                listening.bind(("127.0.0.1", 0))
            case socket.AF_INET6:
                listening.bind(("::1", 0))
            case socket.AF_UNIX:
                listening.bind(b"\0oneloop-test-%d-%d" % (os.getpid(), id(self)))
        self.server = loop.run_until_complete(loop.create_server(self.accept, sock=listening))
        self.client = socket.socket(family)
        self.client.connect(listening.getsockname())
        self.names = listening.getsockname(), self.client.getsockname()
        self.until(lambda: self.protocol.trace)

    def accept(self):
        self.protocol.connection_made = self.made
        return self.protocol

    def made(self, transport):
        self.transport = transport
        self.protocol.trace.append("made")

    def until(self, condition):
        for _ in range(1000):
            if condition():
                return
            self.loop.run_until_complete(asyncio.sleep(0.001))
        raise AssertionError("it did not happen")

    def end(self):
        self.transport.abort()
        self.until(self.protocol.ended.is_set)

    def close(self):
        self.server.close()
        self.client.close()
        self.end()
        self.loop.close()


@pytest.fixture(params=["AF_INET", "AF_INET6", "AF_UNIX"])
def accepted(request, loop_factory):
    accepted = Accepted(loop_factory(), getattr(socket, request.param))
    yield accepted
    accepted.close()


@pytest.mark.parametrize("when", ["open", "closed", "first asked when open"])
def test_names_of_an_accepted_connection(accepted, when):
    ask = accepted.transport.get_extra_info
    if when != "open":
        if when != "closed":
            ask("peername"), ask("sockname")
        accepted.end()
    assert (ask("sockname"), ask("peername")) == accepted.names
    assert ask("sockname") is ask("sockname")
    assert ask("no such") is None


def test_names_of_one_whose_peer_has_gone(accepted):
    accepted.client.close()
    accepted.until(accepted.protocol.ended.is_set)
    ask = accepted.transport.get_extra_info
    assert (ask("sockname"), ask("peername")) == accepted.names


def test_the_socket_of_an_accepted_connection(accepted):
    sock = accepted.transport.get_extra_info("socket")
    assert isinstance(sock, asyncio.trsock.TransportSocket)
    assert sock is accepted.transport.get_extra_info("socket")
    assert (sock.family, sock.type) == (accepted.client.family, socket.SOCK_STREAM)
    assert (sock.getsockname(), sock.getpeername()) == accepted.names
    assert sock.gettimeout() == 0
    assert f"fd={sock.fileno()}" in repr(accepted.transport)
    # The connection goes on over it.
    accepted.client.send(b"hello")
    accepted.until(lambda: accepted.protocol.data == b"hello")
    accepted.transport.write(b"hello yourself")
    assert accepted.client.recv(100) == b"hello yourself"
    accepted.end()
    assert sock.fileno() == -1
    assert accepted.client.recv(1) == b""


def test_the_socket_of_an_accepted_connection_that_is_over(accepted):
    accepted.end()
    sock = accepted.transport.get_extra_info("socket")
    assert sock.fileno() == -1
    assert sock.family == accepted.client.family


def test_the_whole_extra_info_of_an_accepted_connection(accepted):
    extra = accepted.transport._extra
    assert {"socket", "sockname", "peername"} <= extra.keys()
    assert (extra["sockname"], extra["peername"]) == accepted.names
    extra["more"] = 3
    assert accepted.transport.get_extra_info("more") == 3
    assert accepted.transport._extra is extra


# Descriptors.


def test_nobody_else_may_watch_a_transport_s_descriptor_before_it_closes(stage):
    for method in (stage.loop.add_reader, stage.loop.add_writer):
        for file in (stage.sock, stage.fd):
            with pytest.raises(RuntimeError, match="is used by transport <SocketTransport"):
                method(file, print)
    for method in (stage.loop.remove_reader, stage.loop.remove_writer):
        with pytest.raises(RuntimeError, match="is used by transport"):
            method(stage.fd)
    with pytest.raises(RuntimeError, match="is used by transport"):
        stage.loop._make_socket_transport(stage.sock, Recorder())
    stage.transport.close()
    stage.loop.add_reader(stage.fd, print)
    assert stage.loop.remove_reader(stage.fd)


def test_a_number_that_somebody_else_has_by_now_is_left_alone(stage):
    """The user closes the socket of a transport that still has to send, and another transport gets the number."""
    stage.transport.write(bytes(1 << 24))
    stage.transport.close()
    stage.sock.close()
    theirs, their_peer = socket.socketpair()
    if theirs.fileno() != stage.fd:
        theirs = socket.socket(fileno=os.dup2(theirs.detach(), stage.fd))
    theirs.setblocking(False)
    protocol = Recorder()
    other = stage.loop._make_socket_transport(theirs, protocol)
    # What the first one has left to send does not reach the second's descriptor, which is neither unwatched nor closed.
    stage.until_lost()
    stage.turns(3)
    assert stage.protocol.trace == ["made", ("lost", OSError)]
    their_peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        their_peer.recv(100)
    their_peer.send(b"hello")
    stage.turns(3)
    assert protocol.data == b"hello"
    other.write(b"hello yourself")
    assert their_peer.recv(100) == b"hello yourself"
    with pytest.raises(RuntimeError, match="is used by transport"):
        stage.loop.add_reader(stage.fd, print)
    other.close()
    stage.turns(3)
    assert protocol.trace == ["made", ("lost", type(None))]
    their_peer.close()


def test_a_number_that_was_closed_and_given_to_a_file_is_not_closed_again(stage, tmp_path):
    stage.sock.close()
    with (tmp_path / "file").open("wb", 0) as file:
        if file.fileno() != stage.fd:
            os.dup2(file.fileno(), stage.fd)
        stage.transport.abort()
        stage.until_lost()
        os.write(stage.fd, b"still open")
        if file.fileno() != stage.fd:
            os.close(stage.fd)
    assert (tmp_path / "file").read_bytes() == b"still open"


def test_reading_from_what_the_user_closed_is_an_error_of_the_connection(stage):
    duplicate = stage.sock.dup()  # keeps the connection, and so the event, alive
    stage.peer.send(b"x")
    stage.sock.close()
    stage.turns(3)
    stage.transport.write(b"y")
    stage.until_lost()
    assert stage.protocol.trace == ["made", ("lost", OSError)]
    duplicate.close()


# The loop's end.


def test_a_loop_that_is_closed_under_a_transport(oneloop):
    stage = Stage(oneloop.new_event_loop())
    transport, loop = stage.transport, stage.loop
    stage.peer.send(b"never read")
    loop.close()
    transport.write(b"goes out all the same")
    assert stage.peer.recv(100) == b"goes out all the same"
    transport.pause_reading()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.resume_reading()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.write(bytes(1 << 24))
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.abort()
    assert transport.is_closing()
    transport.abort()
    transport.close()
    assert "closing" in repr(transport)
    assert stage.protocol.trace == ["made"]
    with unclosed_transport():
        del stage.transport, transport
    assert stage.sock.fileno() == -1
    stage.peer.close()


def test_a_transport_outlives_its_loop(oneloop):
    stage = Stage(oneloop.new_event_loop())
    transport, peer = stage.transport, stage.peer
    transport.close()
    stage.until_lost()
    stage.loop.close()
    witness = weakref.ref(stage.loop)
    del stage
    gc.collect()
    assert witness() is None
    transport.write(b"x")
    transport.close()
    transport.abort()
    assert transport.get_extra_info("socket").fileno() == -1
    assert "closed" in repr(transport)
    peer.close()


# Finalizers and the collector.


def test_dropped_without_being_closed(oneloop):
    stage = Stage(oneloop.new_event_loop())
    stage.transport.pause_reading()  # the loop, which reads from it, keeps a transport alive
    with unclosed_transport():
        del stage.transport
    assert stage.sock.fileno() == -1
    stage.peer.close()
    stage.loop.close()


@pytest.mark.parametrize("how", ["close", "abort", "write"])
def test_ended_by_the_collector_in_the_middle_of_a_run(oneloop, how):
    class Keeper:
        def __init__(self, transport):
            self.transport, self.me = transport, self

        def __del__(self):
            if how == "write":
                self.transport.write(bytes(1 << 22))
            else:
                getattr(self.transport, how)()

    loop = oneloop.new_event_loop()
    threshold = gc.get_threshold()
    stages = [Stage(loop) for _ in range(20)]
    gc.set_threshold(5)
    try:
        for stage in stages:
            Keeper(stage.transport)
            stage.peer.send(b"x" * 10)
        stages[0].turns(20)
        gc.collect()
    finally:
        gc.set_threshold(*threshold)
    for stage in stages:
        if how == "write":
            assert stage.transport.get_write_buffer_size() > 0
            stage.transport.abort()
        stage.until_lost()
        assert stage.protocol.trace == ["made", ("lost", type(None))]
        stage.peer.close()
    loop.close()


def test_a_protocol_that_revives_its_transport(oneloop):
    kept = []

    class Reviving(Recorder):
        def __del__(self):
            kept.append(self.transport)

    stage = Stage(oneloop.new_event_loop(), Reviving())
    stage.protocol.transport = stage.transport
    stage.transport.pause_reading()
    peer, loop = stage.peer, stage.loop
    with unclosed_transport():
        del stage
    (transport,) = kept
    # What was closed when nobody had it stays so.
    assert "closed" in repr(transport)
    transport.write(b"x")
    transport.close()
    peer.close()
    loop.close()


# Threads.


def running(loop):
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    return thread


@contextlib.contextmanager
def run_in_thread(stage):
    thread = running(stage.loop)
    yield
    stage.loop.call_soon_threadsafe(stage.loop.stop)
    thread.join()


def test_written_from_other_threads_while_the_loop_sends(stage):
    """asyncio promises nothing here; a native transport still keeps its state and every byte."""
    size, writers = 200_000, 4

    def write(number):
        for _ in range(50):
            stage.transport.write(bytes([number]) * (size // 50))

    with run_in_thread(stage):
        threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
        for thread in threads:
            thread.start()
        received = drain(stage.peer, size * writers)
        for thread in threads:
            thread.join()
    assert sorted(received) == sorted(b"".join(bytes([number]) * size for number in range(writers)))
    assert stage.transport.get_write_buffer_size() == 0


def test_paused_and_resumed_from_another_thread(stage):
    size = 1 << 22

    def toggle():
        for _ in range(300):
            stage.transport.pause_reading()
            stage.transport.resume_reading()

    sender = threading.Thread(target=stage.peer.sendall, args=(bytes(range(256)) * (size // 256),))
    with run_in_thread(stage):
        toggler = threading.Thread(target=toggle)
        toggler.start()
        sender.start()
        sender.join()
        toggler.join()
        stage.peer.close()
        assert stage.protocol.ended.wait(60)
    assert stage.protocol.data == bytes(range(256)) * (size // 256)


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("unsent", [False, True])
def test_ended_by_another_thread(stage, how, unsent):
    with run_in_thread(stage):
        if unsent:
            stage.transport.write(bytes(1 << 22))
        getattr(stage.transport, how)()
        assert stage.transport.is_closing()
        if unsent and how == "close":
            drain(stage.peer, 1 << 22)
        assert stage.protocol.ended.wait(60)
    assert stage.protocol.trace == ["made", ("lost", type(None))]
    assert stage.sock.fileno() == -1


def test_debug_mode_refuses_to_end_one_on_another_thread(stage):
    stage.loop.set_debug(True)
    with run_in_thread(stage):
        for end in (stage.transport.close, stage.transport.abort):
            with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
                end()
        assert not stage.transport.is_closing()


def test_dropped_on_another_thread(oneloop):
    stage = Stage(oneloop.new_event_loop())
    stage.transport.pause_reading()
    with run_in_thread(stage), unclosed_transport():
        del stage.transport
    assert stage.sock.fileno() == -1
    stage.peer.close()
    stage.loop.close()


# Reports.


def test_a_callback_that_fails_is_named(oneloop):
    class Failing(Recorder):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            raise ZeroDivisionError

    stage = Stage(oneloop.new_event_loop(), Failing())
    contexts = []
    stage.loop.set_exception_handler(lambda loop, context: contexts.append(context))
    stage.transport.close()
    stage.until_lost()
    (context,) = contexts
    assert context["message"].startswith("Exception in callback SocketTransport._call_connection_lost(")
    assert isinstance(context["handle"], asyncio.Handle)
    assert isinstance(context["exception"], ZeroDivisionError)
    # The descriptor was closed all the same.
    assert stage.sock.fileno() == -1
    stage.peer.close()
    stage.loop.close()


def test_a_slow_step_is_logged_in_debug_mode(oneloop, caplog):
    class Slow(Recorder):
        def data_received(self, data):
            event.wait(0.02)

    event = threading.Event()
    stage = Stage(oneloop.new_event_loop(), Slow())
    stage.loop.set_debug(True)
    stage.loop.slow_callback_duration = 0.01
    stage.peer.send(b"x")
    stage.turns(3)
    assert any("Executing <Handle SocketTransport._read_ready()" in record.getMessage() for record in caplog.records)
    stage.close()
