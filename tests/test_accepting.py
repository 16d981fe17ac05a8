# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""How the connections of a server come in: in which order and how many at once, what becomes of those whose protocol is
not made, and serving that starts later.
"""

import asyncio
import contextlib
import inspect
import socket
import struct

import pytest
from helpers.compare import like_asyncio
from helpers.descriptors import none_left
from helpers.loops import goes_on, run_once
from helpers.peers import drain
from helpers.recorder import Recorder
from helpers.scene import anonymous, until

HOST = "127.0.0.1"
PARAMETERS = inspect.signature(asyncio.SelectorEventLoop.create_server).parameters


def listening(loop, *args, protocol_factory=Recorder, **kwargs):
    return loop.run_until_complete(loop.create_server(protocol_factory, *args, **kwargs))


def shut(loop, server):
    server.close()
    run_once(loop)


class Serving:
    """A server whose protocols are kept, and clients of it."""

    def __init__(self, loop, stack, **kwargs):
        self.loop, self.stack, self.protocols = loop, stack, []
        self.server = listening(loop, HOST, 0, protocol_factory=self.make, **kwargs)
        self.address = self.server.sockets[0].getsockname()

    def make(self):
        self.protocols.append(Recorder())
        return self.protocols[-1]

    def clients(self, count):
        made = [self.stack.enter_context(socket.create_connection(self.address)) for _ in range(count)]
        for client in made:
            client.setblocking(False)
        return made

    def until_accepted(self, count):
        until(self.loop, lambda: sum("made" in protocol.names for protocol in self.protocols) >= count)

    def end(self):
        for protocol in self.protocols:
            protocol.transport.abort()
        self.server.close()
        run_once(self.loop)
        run_once(self.loop)


@pytest.fixture
def serving(loop):
    with contextlib.ExitStack() as stack:
        made = Serving(loop, stack)
        yield made
        made.end()


def test_a_connection(serving):
    (client,) = serving.clients(1)
    serving.until_accepted(1)
    (protocol,) = serving.protocols
    transport = protocol.transport
    assert transport.get_extra_info("peername") == client.getsockname()
    assert transport.get_extra_info("sockname") == client.getpeername()
    sock = transport.get_extra_info("socket")
    assert sock.fileno() not in (-1, serving.server.sockets[0].fileno())
    assert sock.get_inheritable() is False
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    assert transport.is_reading()
    client.send(b"question")
    until(serving.loop, lambda: protocol.data)
    transport.write(b"answer")
    transport.close()
    until(serving.loop, lambda: "lost" in protocol.names)
    assert drain(client) == b"answer"
    assert protocol.trace == [("made",), ("data", b"question"), ("lost", None)]


@pytest.mark.parametrize("host", [HOST, "::1"])
def test_the_address_of_a_client_that_has_gone_already(loop, host):
    """Who was accepted is known, though nobody is at the other end any more."""
    protocol = Recorder()
    server = listening(loop, host, 0, protocol_factory=lambda: protocol)
    client = socket.create_connection(server.sockets[0].getsockname()[:2])
    address = client.getsockname()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    until(loop, lambda: "made" in protocol.names)
    assert protocol.transport.get_extra_info("peername") == address
    protocol.transport.abort()
    shut(loop, server)


def test_many_at_once_are_accepted_in_their_order(serving):
    clients = serving.clients(90)
    serving.until_accepted(90)
    peers = [protocol.transport.get_extra_info("peername") for protocol in serving.protocols]
    assert peers == [client.getsockname() for client in clients]


def test_no_more_than_the_backlog_in_one_step(loop_factory):
    def scenario(factory):
        loop = factory()
        with contextlib.ExitStack() as stack:
            serving = Serving(loop, stack, backlog=3)
            serving.clients(4)
            seen = []
            for _ in range(8):
                seen.append([protocol.names for protocol in serving.protocols])
                run_once(loop)
            serving.end()
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory)[-1] == [["made"]] * 4


def test_a_client_that_left_before_it_was_accepted(serving):
    for client in serving.clients(3):
        client.send(b"bye")
        client.close()
    until(serving.loop, lambda: [protocol.names[-1:] for protocol in serving.protocols] == [["lost"]] * 3)
    assert serving.protocols[0].trace == [("made",), ("data", b"bye"), ("eof",), ("lost", None)]


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("how", ["raises", "makes None", "is cancelled"])
def test_a_protocol_factory_that_fails(loop_factory, how, debug):
    def scenario(factory):
        loop, reports, calls = factory(), [], []
        loop.set_debug(debug)
        loop.set_exception_handler(
            lambda _, context: reports.append(
                (context["message"].partition(" ")[0], sorted(context), anonymous(repr(context["exception"])))
            )
        )

        def make():
            calls.append(how)
            if how == "makes None":
                return
            raise asyncio.CancelledError if how == "is cancelled" else ValueError("mine")

        server = listening(loop, HOST, 0, protocol_factory=make)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.setblocking(False)
            until(loop, lambda: calls)
            for _ in range(5):
                run_once(loop)
            # Nobody else will ever answer, so the client must not be left waiting; asyncio leaves it to the collector.
            import gc

            gc.collect()
            until(loop, lambda: _hung_up(client))
            with socket.create_connection(server.sockets[0].getsockname()):
                until(loop, lambda: len(calls) == 2)
        for _ in range(5):
            run_once(loop)
        gc.collect()
        goes_on(loop)
        shut(loop, server)
        loop.close()
        return calls, reports

    with pytest.MonkeyPatch.context() as patch, none_left(collect=True):
        patch.setattr("sys.unraisablehook", lambda *_: None)
        calls, reports = like_asyncio(scenario, loop_factory)
    assert len(calls) == 2
    if how == "raises" and debug:
        assert reports[0][2] == "ValueError('mine')"


def _hung_up(client):
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_a_connection_made_that_raises_keeps_the_connection(loop):
    reports = []
    loop.set_exception_handler(lambda _, context: reports.append(context["message"]))
    protocol = Recorder(made=lambda transport: 1 / 0)
    server = listening(loop, HOST, 0, protocol_factory=lambda: protocol)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        client.send(b"x")
        until(loop, lambda: protocol.data)
        assert len(reports) == 1
        protocol.transport.abort()
        run_once(loop)
    shut(loop, server)


def test_start_serving_later(loop_factory):
    with contextlib.ExitStack() as stack:
        loop = loop_factory()
        serving = Serving(loop, stack, start_serving=False)
        server = serving.server
        assert server.is_serving() is False
        with pytest.raises(ConnectionRefusedError):
            serving.clients(1)
        loop.run_until_complete(server.start_serving())
        assert server.is_serving() is True
        loop.run_until_complete(server.start_serving())
        serving.clients(1)
        serving.until_accepted(1)
        serving.end()
        assert server.is_serving() is False
        loop.close()
