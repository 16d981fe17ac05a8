# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Datagrams back and forth: whole, in order, each from and to its address; errors that end nothing; what a protocol
raises and what a program does in the middle of a callback.
"""

import array
import asyncio
import contextlib
import contextvars
import errno
import os
import socket
import sys

import pytest
from helpers.children import run_program
from helpers.compare import like_asyncio
from helpers.datagrams import CONNECTED, DatagramRecorder, bound_pair, datagram_scene, receive
from helpers.loops import goes_on

SENDS_EMPTY = sys.version_info >= (3, 13)
LOCAL = "127.0.0.1"
SO_SNDBUFFORCE = 32  # Linux's, which the socket module does not name


@pytest.mark.parametrize("kind", CONNECTED)
@pytest.mark.parametrize("connected", [True, False])
def test_back_and_forth(loop_factory, kind, connected):
    with datagram_scene(loop_factory, kind, connected=connected) as stage:
        ours = stage.transport.get_extra_info("sockname")
        stage.peer.sendto(b"question", ours)
        stage.until(lambda: stage.protocol.data)
        assert stage.trace == [("made",), ("received", b"question", stage.address)]
        (_, _, sender) = stage.trace[1]
        assert type(sender) is type(stage.address)
        stage.call(stage.transport.sendto, b"answer", None if connected else sender)
        assert receive(stage.peer) == [b"answer"]
        assert stage.state() == (0, True, False)


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize(
    "data", [b"bytes", bytearray(b"array"), memoryview(b"0view0")[1:5], memoryview(b"ab" * 4)[::2]]
)
def test_what_can_be_sent(loop_factory, connected, data):
    def scenario(factory):
        with datagram_scene(factory, connected=connected) as stage:
            result = stage.call(stage.transport.sendto, data, None if connected else stage.address)
            stage.step(2)
            return result, receive(stage.peer), stage.trace, stage.reports

    like_asyncio(scenario, loop_factory)


def test_views_of_wider_items(loop_factory):
    with datagram_scene(loop_factory) as stage:
        view = memoryview(array.array("I", [1, 2, 3]))
        stage.call(stage.transport.sendto, view)
        assert receive(stage.peer) == [view.tobytes()]


@pytest.mark.parametrize("data", ["text", None, 5, [b"x"], object, b"x"])
@pytest.mark.parametrize(
    "args", [(), (1,), ("host",), (None, None), (("127.0.0.1",),), (("127.0.0.1", "x"),), ((1, 2, 3),)]
)
@pytest.mark.parametrize("connected", [True, False])
def test_wrong_arguments(loop_factory, data, args, connected):
    def scenario(factory):
        with datagram_scene(factory, connected=connected) as stage:
            result = stage.call(stage.transport.sendto, data, *args)
            stage.step(2)
            if isinstance(result, tuple) and "positional argument" in result[1]:
                result = result[0]
            for report in stage.reports:
                report.pop("source_traceback", None)
            return result, stage.trace, stage.reports, stage.state()

    like_asyncio(scenario, loop_factory)


HOSTS = ("127.0.0.1", "::1", "localhost", "", "127.1", "0x7f.1", "::ffff:127.0.0.1", "::1%lo", "256.1")


@pytest.mark.parametrize("kind", ["udp", "udp6"])
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("tail", [(), (0,), (0, 0), (1, 0), (0, 1), (0, 1, 2)])
def test_addresses_of_all_forms(loop_factory, kind, host, tail):
    """What `socket.sendto` takes, the transport takes: names, the forms of IPv6, what the system refuses."""

    def scenario(factory):
        with datagram_scene(factory, kind, connected=False) as stage:
            result = stage.call(stage.transport.sendto, b"x", (host, stage.address[1], *tail))
            stage.step(2)
            reports = [(each["message"], each["exception"]) for each in stage.reports]
            return result, receive(stage.peer), stage.trace, reports

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize(
    "address", [("127.0.0.1", -1), ("127.0.0.1", 70_000), ("::1", 9), ("no.such.host.invalid", 9), "x"]
)
def test_an_address_that_cannot_be(loop_factory, address):
    """Some of it is the system's error, which the protocol is told of, and some a mistake, which ends the transport."""

    def scenario(factory):
        with datagram_scene(factory, connected=False) as stage:
            result = stage.call(stage.transport.sendto, b"x", address)
            stage.step(2)
            return result, stage.trace, [(each["message"], each["exception"]) for each in stage.reports], stage.state()

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("kind", CONNECTED)
def test_empty_datagrams(loop_factory, kind):
    with datagram_scene(loop_factory, kind) as stage:
        ours = stage.transport.get_extra_info("sockname")
        for data in (b"", b"between", b""):
            stage.peer.sendto(data, ours)
        stage.until(lambda: len(stage.protocol.data) == 3)
        assert stage.protocol.data == [b"", b"between", b""]
        stage.call(stage.transport.sendto, b"")
        stage.call(stage.transport.sendto, bytearray())
        assert receive(stage.peer) == ([b"", b""] if SENDS_EMPTY else [])


@pytest.mark.parametrize("size", [65_507, 65_508, 100_000])
def test_the_largest_datagram(loop_factory, size):
    def scenario(factory):
        with datagram_scene(factory) as stage:
            stage.call(stage.transport.sendto, bytes(size))
            return [len(data) for data in receive(stage.peer)], stage.trace

    received, trace = like_asyncio(scenario, loop_factory)
    assert received == ([size] if size <= 65_507 else [])
    assert (size <= 65_507) == (len(trace) == 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may send datagrams as large as that")
def test_more_than_is_received_at_once_is_cut_off(loop_factory):
    """Without a word, as asyncio does."""
    with datagram_scene(loop_factory, "abstract") as stage:
        stage.peer.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 20)
        stage.peer.sendto(bytes(range(250)) * 1_200, stage.transport.get_extra_info("sockname"))
        stage.until(lambda: stage.protocol.data)
        assert stage.protocol.data == [(bytes(range(250)) * 1_200)[: 256 * 1024]]


def test_one_datagram_for_each_iteration(loop_factory):
    """What a protocol schedules runs before the next datagram comes."""

    def scenario(factory):
        trace = []
        protocol = DatagramRecorder(
            trace, received=lambda transport: asyncio.get_running_loop().call_soon(trace.append, "scheduled")
        )
        with datagram_scene(factory, protocol=protocol) as stage:
            for number in range(3):
                stage.peer.sendto(bytes([number]), stage.transport.get_extra_info("sockname"))
            seen = []
            for _ in range(6):
                stage.step()
                seen.append([entry if entry == "scheduled" else entry[:2] for entry in trace])
            return seen

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("answers", [False, True])
def test_one_datagram_for_each_iteration_of_a_long_run(loop_factory, answers, beside):
    """The same in a run that nothing stops, alone or beside a transport that hears the answers."""

    def scenario(factory):
        with contextlib.ExitStack() as stack:
            loop = stack.enter_context(contextlib.closing(factory()))
            trace = []

            def received(transport):
                if answers:
                    transport.sendto(b"answer", other.getsockname())
                loop.call_soon(trace.append, "scheduled")
                if protocol.trace[-1][1] == b"last":
                    loop.call_soon(loop.call_soon, loop.call_soon, loop.stop)

            async def serve(protocol, sock):
                transport, _ = await loop.create_datagram_endpoint(lambda: protocol, sock=sock)
                stack.callback(loop.run_until_complete, asyncio.sleep(0))
                stack.callback(transport.abort)

            protocol = DatagramRecorder(trace, received=received)
            ours, peer = bound_pair("udp", stack, connected=False)
            other, _ = bound_pair("udp", stack, connected=False)
            loop.run_until_complete(serve(protocol, ours))
            if beside:
                loop.run_until_complete(serve(DatagramRecorder(trace), other))
            for data in (*map(bytes, range(1, 20)), b"last"):
                peer.sendto(data, ours.getsockname())
            loop.run_forever()
            # When an answer is heard is the system's business.
            seen = [entry if entry == "scheduled" else entry[:2] for entry in trace]
            return [entry for entry in seen if entry not in (("made",), ("received", b"answer"))]

    data = [*map(bytes, range(1, 20)), b"last"]
    assert like_asyncio(scenario, loop_factory) == [
        entry for each in data for entry in (("received", each), "scheduled")
    ]


def test_a_socket_that_is_closed_in_the_middle_of_receiving(loop_factory):
    """By somebody else than its transport: the system tells of it no more, and nobody looks."""

    def scenario(factory):
        with datagram_scene(factory) as stage:
            sock = stage.transport.get_extra_info("socket")._sock

            def go_on(turns):
                if turns:
                    stage.loop.call_soon(go_on, turns - 1)
                else:
                    stage.loop.stop()

            def close(_):
                sock.close()
                go_on(5)

            stage.protocol.on["received"] = close
            for _ in range(2):
                stage.peer.sendto(b"x", sock.getsockname())
            stage.loop.run_forever()
            return stage.protocol.names, stage.reports

    names, reports = like_asyncio(scenario, loop_factory)
    assert (names, reports) == (["made", "received"], [])


@pytest.mark.parametrize("kind", ["udp", "udp6"])
@pytest.mark.parametrize("senders", [5, 16, 17, 40])
def test_addresses_are_not_mixed_up(loop_factory, kind, senders):
    """Of many senders in turn, each with its own address, and an answer for each: of more, too, than are remembered."""
    count = 2 * senders
    with datagram_scene(loop_factory, kind, connected=False) as stage, contextlib.ExitStack() as stack:
        protocol, transport = stage.protocol, stage.transport
        protocol.on["received"] = lambda it: it.sendto(*protocol.trace[-1][1:])
        others = [bound_pair(kind, stack, connected=False)[0] for _ in range(senders)]
        for number in range(count):
            others[number * 7 % senders].sendto(bytes([number]), transport.get_extra_info("sockname"))
        stage.until(lambda: len(protocol.data) == count)
        for data, address in (entry[1:] for entry in protocol.trace[1:]):
            assert address == others[data[0] * 7 % senders].getsockname()
        for index, other in enumerate(others):
            echoes = b"".join(receive(other))
            assert list(echoes) == [number for number in range(count) if number * 7 % senders == index]


@pytest.mark.parametrize("kind", ["udp", "udp6"])
def test_addresses_are_remembered(oneloop, kind):
    """Of as many senders as there are places for, each has one tuple; of more, the first one loses its own."""
    with datagram_scene(oneloop.new_event_loop, kind, connected=False) as stage, contextlib.ExitStack() as stack:
        others = [bound_pair(kind, stack, connected=False)[0] for _ in range(17)]

        def hears(sender):
            before = len(stage.protocol.data)
            sender.sendto(b"x", stage.transport.get_extra_info("sockname"))
            stage.until(lambda: len(stage.protocol.data) > before)
            address = stage.trace[-1][2]
            assert address == sender.getsockname()
            return address

        first = [hears(other) for other in others[:16]]
        again = [hears(other) for other in others[:16]]
        assert all(one is two for one, two in zip(first, again, strict=True))
        hears(others[16])
        assert hears(others[1]) is first[1]
        assert hears(others[0]) is not first[0]
        # Its place is taken, and whoever has the tuple still can use it.
        for address, other in zip(first, others, strict=False):
            stage.call(stage.transport.sendto, b"answer", address)
            assert receive(other) == [b"answer"]


def test_an_address_equal_to_the_last_one_but_its_own_object(loop_factory):
    with datagram_scene(loop_factory, connected=False) as stage:
        stage.peer.sendto(b"x", stage.transport.get_extra_info("sockname"))
        stage.until(lambda: stage.protocol.data)
        for address in (stage.trace[-1][2], (stage.address[0], stage.address[1]), stage.address):
            stage.call(stage.transport.sendto, b"answer", address)
        assert receive(stage.peer) == [b"answer"] * 3


# Errors.


@pytest.mark.parametrize("kind", ["udp", "udp6"])
def test_nobody_there(loop_factory, kind):
    """A connected socket is told of a refused datagram by whatever it does next."""

    def scenario(factory):
        with datagram_scene(factory, kind) as stage:
            stage.peer.close()
            seen = []
            for _ in range(3):
                stage.call(stage.transport.sendto, b"anybody?")
                stage.step(2)
                seen.append(stage.trace)
            return seen, stage.state(), stage.reports

    seen, state, _ = like_asyncio(scenario, loop_factory)
    assert seen[-1][1] == ("error", "ConnectionRefusedError", errno.ECONNREFUSED, "[Errno 111] Connection refused")
    assert state == (0, True, False)


@pytest.mark.parametrize("kind", ["abstract", "path"])
def test_a_unix_peer_that_went_away(loop_factory, kind):
    def scenario(factory):
        with datagram_scene(factory, kind) as stage:
            stage.peer.close()
            for _ in range(2):
                stage.call(stage.transport.sendto, b"anybody?")
                stage.step(2)
            return [entry[:3] for entry in stage.trace], stage.state()

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("what", ["send", "read"])
@pytest.mark.parametrize("raises", [ValueError, OSError])
def test_error_received_may_raise(loop_factory, what, raises):
    def scenario(factory):
        def react(_):
            raise raises("from error_received")

        with datagram_scene(factory, protocol=DatagramRecorder(error=react)) as stage:
            stage.peer.close()
            results = [stage.call(stage.transport.sendto, b"1")]
            if what == "send":
                results.append(stage.transport.is_reading() and stage.call(stage.transport.sendto, b"2"))
            stage.step(3)
            reports = [(report["message"].partition(" callback ")[0], report["exception"]) for report in stage.reports]
            return results, reports, stage.trace, stage.state()

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("error", [ValueError("wrong"), OSError(5, "five"), asyncio.CancelledError()])
def test_a_protocol_that_raises(loop_factory, error):
    """It is that callback's error, and no reason to end the transport."""

    def scenario(factory):
        def react(_):
            raise error

        with datagram_scene(factory, protocol=DatagramRecorder(received=react)) as stage:
            for data in (b"one", b"two"):
                stage.peer.sendto(data, stage.transport.get_extra_info("sockname"))
            stage.until(lambda: len(stage.protocol.data) == 2)
            stage.step()
            goes_on(stage.loop)
            reports = [(sorted(each), each["message"].partition(" callback ")[0]) for each in stage.reports]
            exceptions = [each["exception"] for each in stage.reports]
            return reports, exceptions, stage.protocol.data, stage.state()

    reports, exceptions, *_ = like_asyncio(scenario, loop_factory)
    assert [len(reports), exceptions] == [2, [repr(error)] * 2]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("callback", ["received", "error"])
def test_what_ends_the_run(loop_factory, error, callback):
    def react(_):
        raise error

    with datagram_scene(loop_factory, protocol=DatagramRecorder(**{callback: react})) as stage:
        if callback == "error":
            stage.peer.close()
            stage.transport.sendto(b"nobody")
        else:
            stage.peer.sendto(b"somebody", stage.transport.get_extra_info("sockname"))
        with pytest.raises(error):
            stage.step(5)
        stage.protocol.on.clear()
        goes_on(stage.loop)
        assert stage.state() == (0, True, False)
        assert stage.reports == []


# Callbacks that do something.


@pytest.mark.parametrize("action", ["close", "abort", "pause_reading"])
def test_the_end_in_the_middle_of_receiving(loop_factory, action):
    def scenario(factory):
        protocol = DatagramRecorder(received=lambda transport: getattr(transport, action)())
        with datagram_scene(factory, protocol=protocol) as stage:
            for data in (b"one", b"two"):
                stage.peer.sendto(data, stage.transport.get_extra_info("sockname"))
            stage.until(lambda: stage.protocol.data)
            stage.step(3)
            return [entry[:2] for entry in stage.trace], stage.state(), stage.reports

    trace, *_ = like_asyncio(scenario, loop_factory)
    assert trace[1] == ("received", b"one")
    assert ("received", b"two") not in trace


def test_a_paused_transport_receives_later(loop_factory):
    with datagram_scene(loop_factory) as stage:
        stage.call(stage.transport.pause_reading)
        assert stage.state() == (0, False, False)
        stage.call(stage.transport.pause_reading)
        stage.peer.sendto(b"later", stage.transport.get_extra_info("sockname"))
        stage.step(3)
        assert stage.protocol.data == []
        stage.call(stage.transport.sendto, b"goes on")
        assert receive(stage.peer) == [b"goes on"]
        stage.call(stage.transport.resume_reading)
        stage.call(stage.transport.resume_reading)
        stage.until(lambda: stage.protocol.data)
        assert stage.protocol.data == [b"later"]


@pytest.mark.parametrize("action", ["pause_reading", "close", "abort"])
def test_in_connection_made(loop_factory, action):
    def scenario(factory):
        protocol = DatagramRecorder(made=lambda transport: getattr(transport, action)())
        with datagram_scene(factory, protocol=protocol) as stage:
            if not stage.transport.is_closing():
                stage.peer.sendto(b"x", stage.transport.get_extra_info("sockname"))
            stage.step(3)
            return stage.trace, stage.state(), stage.reports

    like_asyncio(scenario, loop_factory)


def test_another_protocol(loop_factory):
    with datagram_scene(loop_factory) as stage:
        other = DatagramRecorder()
        assert stage.transport.get_protocol() is stage.protocol
        stage.call(stage.transport.set_protocol, other)
        assert stage.transport.get_protocol() is other
        stage.peer.sendto(b"x", stage.transport.get_extra_info("sockname"))
        stage.until(lambda: other.data)
        stage.call(stage.transport.close)
        stage.step()
        assert stage.trace == [("made",)]
        assert other.names == ["received", "lost"]
        stage.protocol.note("lost")


def test_a_method_that_is_replaced_while_it_lives(loop_factory):
    with datagram_scene(loop_factory) as stage:
        seen = []
        stage.protocol.datagram_received = lambda data, addr: seen.append((data, addr))
        stage.peer.sendto(b"x", stage.transport.get_extra_info("sockname"))
        stage.until(lambda: seen)
        assert seen == [(b"x", stage.address)]


def test_each_callback_has_its_context(loop_factory):
    number = contextvars.ContextVar("number", default=0)

    def scenario(factory):
        seen = []

        def react(_):
            seen.append(number.get())
            number.set(number.get() + 1)

        protocol = DatagramRecorder(made=react, received=react, error=react, lost=react)
        number.set(10)
        with datagram_scene(factory, protocol=protocol) as stage:
            for _ in range(2):
                stage.peer.sendto(b"x", stage.transport.get_extra_info("sockname"))
            stage.until(lambda: len(stage.protocol.data) == 2)
            number.set(20)
            stage.transport.pause_reading()
            stage.transport.resume_reading()
            stage.peer.sendto(b"x", stage.transport.get_extra_info("sockname"))
            stage.until(lambda: len(stage.protocol.data) == 3)
            number.set(30)
            stage.transport.close()
            stage.step()
        return seen

    like_asyncio(scenario, loop_factory)


# Sockets of other kinds.


class Loud(socket.socket):
    """A socket of the user's own class, whose methods are to be called."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = []

    def send(self, data, *args):
        self.calls.append(("send", bytes(data)))
        return super().send(data, *args)

    def sendto(self, data, *args):
        self.calls.append(("sendto", bytes(data)))
        return super().sendto(data, *args)

    def recvfrom(self, *args):
        self.calls.append(("recvfrom", *args))
        return super().recvfrom(*args)


@pytest.mark.parametrize("connected", [True, False])
def test_a_socket_of_another_class(loop_factory, connected):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((LOCAL, 0))
        loop = loop_factory()
        ours = Loud(socket.AF_INET, socket.SOCK_DGRAM)
        ours.bind((LOCAL, 0))
        if connected:
            ours.connect(peer.getsockname())
        protocol = DatagramRecorder()
        transport, _ = loop.run_until_complete(loop.create_datagram_endpoint(lambda: protocol, sock=ours))
        transport.sendto(b"out", None if connected else peer.getsockname())
        peer.sendto(b"in", ours.getsockname())
        while not protocol.data:
            loop.run_until_complete(asyncio.sleep(0))
        assert protocol.data == [b"in"]
        assert ours.calls == [("send" if connected else "sendto", b"out"), ("recvfrom", 256 * 1024)]
        transport.close()
        loop.run_until_complete(asyncio.sleep(0))
        assert ours.fileno() == -1
        loop.close()


def test_a_socketpair_has_no_names(loop_factory):
    """It is connected, and yet asyncio sends as if it was not: to None, which is nowhere."""

    def scenario(factory):
        loop = factory()
        reports = []
        loop.set_exception_handler(lambda _, context: reports.append((context["message"], repr(context["exception"]))))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with theirs:
            protocol = DatagramRecorder()
            transport, _ = loop.run_until_complete(loop.create_datagram_endpoint(lambda: protocol, sock=ours))
            theirs.send(b"in")
            while not protocol.data:
                loop.run_until_complete(asyncio.sleep(0))
            transport.sendto(b"out")
            loop.run_until_complete(asyncio.sleep(0))
            transport.abort()
            loop.run_until_complete(asyncio.sleep(0))
            info = [transport.get_extra_info(name) for name in ("sockname", "peername")]
        loop.close()
        return protocol.trace, reports, info

    like_asyncio(scenario, loop_factory)


def test_audit_events(loop_factory):
    """Whoever listens hears where datagrams go, as of Python's own socket."""
    name = "asyncio" if loop_factory is asyncio.SelectorEventLoop else "oneloop"
    finished = run_program(
        """
        import asyncio, socket, sys
        from helpers.loops import run

        events = []
        sys.addaudithook(lambda event, args: events.append((event, *args[1:])) if event == "socket.sendto" else None)

        async def main():
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
            address = transport.get_extra_info("sockname")
            transport.sendto(b"x", address)
            transport.sendto(b"x", ("localhost", address[1]))
            transport.close()
            assert events == [("socket.sendto", address), ("socket.sendto", ("localhost", address[1]))], events

        run(main())
        """,
        name,
    )
    assert finished.quiet, finished
