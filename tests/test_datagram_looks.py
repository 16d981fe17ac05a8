# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What other code sees of a datagram transport: its classes, extra info, names that others use, its repr, and what is
said of one that nobody closed.
"""

import asyncio
import contextlib
import gc
import socket
import threading
import weakref
from asyncio import trsock

import pytest
from helpers.compare import like_asyncio, raised
from helpers.datagrams import CONNECTED, DatagramRecorder, bound_pair, datagram_scene
from helpers.descriptors import found_unclosed, none_left
from helpers.loops import goes_on, run_once, steps
from helpers.scene import anonymous


def endpoint(loop, protocol):
    """A transport whose socket nobody else has."""
    opening = loop.create_datagram_endpoint(lambda: protocol, local_addr=("127.0.0.1", 0))
    return loop.run_until_complete(opening)[0]


@pytest.mark.parametrize("kind", CONNECTED)
@pytest.mark.parametrize("connected", [True, False])
def test_extra_info(loop_factory, kind, connected):
    with datagram_scene(loop_factory, kind, connected=connected) as stage:
        get = stage.transport.get_extra_info
        assert get("peername") == (stage.address if connected else None)
        stage.peer.connect(get("sockname"))
        assert get("sockname") == stage.peer.getpeername()
        assert type(get("socket")) is trsock.TransportSocket
        assert get("socket") is get("socket")
        assert get("nothing") is None
        assert get("nothing", "default") == "default"
        assert get("peername", default=3) == (stage.address if connected else None)
        stage.call(stage.transport.close)
        stage.step(2)
        assert get("peername") == (stage.address if connected else None)
        assert get("sockname") is not None
        assert get("socket").fileno() == -1


def test_classes(loop_factory):
    with datagram_scene(loop_factory) as stage:
        transport = stage.transport
        for kind in (asyncio.BaseTransport, asyncio.Transport, asyncio.ReadTransport, asyncio.WriteTransport):
            assert isinstance(transport, kind)
        assert weakref.ref(transport)() is transport
        assert len({transport, transport}) == 1
        transport.note = "anything"
        assert transport.note == "anything"
        assert transport._sock.fileno() == transport.get_extra_info("socket").fileno()
        assert not hasattr(transport, "_start_tls_compatible")
        assert not hasattr(transport, "_sendfile_compatible")
        with pytest.raises(NotImplementedError):
            transport.write(b"x")


def test_it_is_a_datagram_transport(oneloop):
    """asyncio's own are from 3.12 on only."""
    with datagram_scene(oneloop.new_event_loop) as stage:
        assert isinstance(stage.transport, asyncio.DatagramTransport)
        assert type(stage.transport).__module__ == "oneloop._core"
        with pytest.raises(TypeError):
            type(stage.transport)()
        with pytest.raises(TypeError):
            type("Derived", (type(stage.transport),), {})


def test_repr(loop_factory):
    def scenario(factory):
        seen = []
        with datagram_scene(factory) as stage:
            seen.append(anonymous(stage.transport))
            stage.call(stage.transport.pause_reading)
            seen.append(anonymous(stage.transport))
            stage.call(stage.transport.resume_reading)
            stage.transport.close()
            seen.append(anonymous(stage.transport))
            stage.step(2)
            seen.append(anonymous(stage.transport))
        return seen

    like_asyncio(scenario, loop_factory)


def test_repr_on_a_closed_loop(loop_factory):
    def scenario(factory):
        loop = factory()
        transport = endpoint(loop, DatagramRecorder())
        loop.close()
        seen = anonymous(transport)
        with found_unclosed():
            del transport
        return seen

    like_asyncio(scenario, loop_factory)


def test_after_the_end(loop_factory):
    def scenario(factory):
        with datagram_scene(factory) as stage:
            stage.call(stage.transport.close)
            stage.step(2)
            seen = [stage.state(), stage.transport.get_write_buffer_limits()]
            for method in ("close", "abort", "pause_reading", "resume_reading", "get_protocol"):
                seen.append(stage.call(getattr(stage.transport, method)))
            return seen, stage.trace

    like_asyncio(scenario, loop_factory)


def test_force_close(loop_factory):
    def scenario(factory):
        with datagram_scene(factory) as stage:
            stage.call(stage.transport._force_close, ValueError("forced"))
            stage.call(stage.transport._force_close, ValueError("again"))
            stage.step(2)
            return stage.trace

    trace = like_asyncio(scenario, loop_factory)
    assert trace == [("made",), ("lost", "ValueError: forced")]


def forget(factory, by):
    """Make a transport, drop it, and return what is said of it."""
    protocol = DatagramRecorder()
    with contextlib.closing(factory()) as loop, found_unclosed() as messages:
        transport = endpoint(loop, protocol)
        # Nothing watches it now.
        transport.pause_reading()
        if by == "reference":
            protocol.transport = None
        del transport, protocol
        goes_on(loop)
    return [anonymous(message) for message in messages if "socket.socket" not in message]


@pytest.mark.parametrize("by", ["reference", "collector"])
def test_one_that_nobody_closed(loop_factory, by):
    with none_left(collect=True):
        (message,) = like_asyncio(lambda factory: forget(factory, by), loop_factory)
    assert message.startswith("unclosed transport <TRANSPORT fd=N")


def test_dropped_with_its_loop(loop_factory):
    def scenario(factory):
        with found_unclosed() as messages:
            loop = factory()
            endpoint(loop, DatagramRecorder())
            loop.close()
            del loop
        return [anonymous(message) for message in messages if "transport" in message]

    with none_left(collect=True):
        like_asyncio(scenario, loop_factory)


def test_the_collector_finds_what_waits(loop_factory):
    """An address may be anything, and refer to the transport; it is looked at when it is sent to."""
    with contextlib.ExitStack() as stack:
        loop = stack.enter_context(contextlib.closing(loop_factory()))
        ours, peer = bound_pair("abstract", stack, connected=False)
        protocol = DatagramRecorder()
        transport, _ = loop.run_until_complete(loop.create_datagram_endpoint(lambda: protocol, sock=ours))
        while "write=<idle" in repr(transport):
            transport.sendto(b"x", peer.getsockname())
        address = [transport]
        gone = weakref.ref(transport)
        transport.sendto(b"x", address)
        assert "lost" not in protocol.names
        transport.abort()
        steps(loop, 2)
        del transport, address
        protocol.transport = None
        gc.collect()
        assert gone() is None


def live_and_die(loop):
    """A short life of a transport; weak references to it and to its protocol."""
    protocol = DatagramRecorder()
    transport = endpoint(loop, protocol)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.sendto(b"x", transport.get_extra_info("sockname"))
        while not protocol.data:
            run_once(loop)
        transport.sendto(b"x", peer.getsockname())
    transport.close()
    steps(loop, 2)
    return weakref.ref(transport), weakref.ref(protocol)


def test_many_of_them_leave_nothing(loop_factory):
    with contextlib.closing(loop_factory()) as loop, none_left(loop):
        gone = [reference for _ in range(50) for reference in live_and_die(loop)]
        gc.collect()
        assert [reference() for reference in gone] == [None] * 100


@pytest.mark.parametrize("method", ["close", "abort"])
def test_closing_on_another_thread_in_debug_mode(loop_factory, method):
    def scenario(factory):
        with found_unclosed(), contextlib.closing(factory()) as loop:
            loop.set_debug(True)
            seen = []

            def start(transport):
                thread = threading.Thread(target=lambda: seen.append(raised(getattr(transport, method))))
                thread.start()
                thread.join()
                transport._sock.close()

            loop.call_soon(start, endpoint(loop, DatagramRecorder()))
            run_once(loop)
            return seen

    assert like_asyncio(scenario, loop_factory) != [None]


def test_sending_on_another_thread(oneloop):
    """Nobody promises that; but nothing breaks, and what waits is sent."""
    with datagram_scene(oneloop.new_event_loop, "abstract") as stage:
        stage.peer.setblocking(True)

        def elsewhere():
            for number in range(500):
                stage.transport.sendto(number.to_bytes(2, "big"))
            stage.loop.call_soon_threadsafe(stage.transport.close)

        received = []

        def receiver():
            received.extend(stage.peer.recv(9) for _ in range(500))

        threads = [threading.Thread(target=elsewhere), threading.Thread(target=receiver)]
        for thread in threads:
            thread.start()
        stage.until(lambda: "lost" in stage.protocol.names)
        for thread in threads:
            thread.join()
        assert sorted(received) == [number.to_bytes(2, "big") for number in range(500)]


def test_a_socket_that_is_closed_behind_its_back(loop_factory):
    def scenario(factory):
        with datagram_scene(factory) as stage:
            sock = stage.transport._sock
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bystander:
                bystander.bind(("127.0.0.1", 0))
                stage.transport.pause_reading()
                sock.close()
                # Whoever has the number by now is not hurt.
                stage.call(stage.transport.sendto, b"x")
                return [entry[:3] for entry in stage.trace], stage.transport.is_closing()

    like_asyncio(scenario, loop_factory)
