# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What nobody closed says so as asyncio's does: the same ResourceWarning, with the same text and the object itself as
its source, for each kind of transport, for servers, streams and loops; and under `-W error` it is closed all the same.

A socket object warns for itself if the collector comes to it before it comes to its transport: whether it does is
nobody's promise, and is left out, but where the socket is all that is left.
"""

import asyncio
import contextlib
import gc
import os
import re
import socket
import sys
import warnings
from asyncio import unix_events

import pytest
from helpers.compare import like_asyncio
from helpers.datagrams import DatagramRecorder
from helpers.descriptors import none_left
from helpers.loops import run_once, steps
from helpers.peers import connected_pair
from helpers.processes import look
from helpers.recorder import BufferedRecorder, Recorder
from helpers.scene import anonymous, until
from helpers.tls import Peer, client_context, server_context, start


def kind_of(source):
    """What a warning is about, by the class of asyncio's that it is of."""
    for each in (asyncio.BaseTransport, asyncio.AbstractEventLoop, socket.socket):
        if isinstance(source, each):
            return each.__name__
    return source


@contextlib.contextmanager
def said(text=anonymous):
    """What is warned of inside and by a collection at the end: the category, the text, and what it is about."""
    seen = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield seen
        gc.collect()
        seen += sorted((each.category.__name__, text(each.message), kind_of(each.source)) for each in caught)
        # The record holds what it warns about.
        caught.clear()
        gc.collect()


def of_asyncio(seen):
    return [each for each in seen if each[1].startswith(("unclosed transport", "unclosed event loop"))]


# Each makes a transport that neither its loop nor its protocol refers to (nothing watches its descriptor), and gives it
# with what is to be closed afterwards.


def of_a_stream(kind, protocol=Recorder):
    def make(loop):
        ours, peer = connected_pair(kind)
        transport, protocol_ = loop.run_until_complete(loop.create_connection(protocol, sock=ours))
        transport.pause_reading()
        protocol_.transport = None
        return transport, [peer]

    return make


def of_a_pipe(direction):
    def make(loop):
        ends = [os.fdopen(number, mode, buffering=0) for number, mode in zip(os.pipe(), ("rb", "wb"), strict=True)]
        ours, peer = ends if direction == "read" else ends[::-1]
        connect = loop.connect_read_pipe if direction == "read" else loop.connect_write_pipe
        transport, protocol = loop.run_until_complete(connect(Recorder, ours))
        protocol.transport = None
        if direction == "read":
            transport.pause_reading()
        return transport, [peer]

    return make


def of_a_datagram(loop):
    create = loop.create_datagram_endpoint(DatagramRecorder, local_addr=("127.0.0.1", 0))
    transport, protocol = loop.run_until_complete(create)
    transport.pause_reading()
    protocol.transport = None
    return transport, []


TRANSPORTS = {
    "tcp": of_a_stream("tcp"),
    "tcp6": of_a_stream("tcp6"),
    "unix": of_a_stream("unix"),
    "a buffered protocol": of_a_stream("tcp", BufferedRecorder),
    "a pipe that is read": of_a_pipe("read"),
    "a pipe that is written": of_a_pipe("write"),
    "datagrams": of_a_datagram,
}
# The loop watches it for the end of its reader, and so keeps it until it is closed.
KEPT_BY_THE_LOOP = {"a pipe that is written"}


def forget(factory, kind, closed, debug):
    with contextlib.closing(factory()) as loop, contextlib.ExitStack() as stack:
        loop.set_debug(debug)
        transport, others = TRANSPORTS[kind](loop)
        for other in others:
            stack.enter_context(other)
        if closed or kind in KEPT_BY_THE_LOOP:
            loop.close()
        with said() as seen:
            del transport
        if not loop.is_closed():
            steps(loop, 2)
    return of_asyncio(seen)


@pytest.mark.parametrize("closed", [False, True], ids=["open loop", "closed loop"])
@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_transport(oneloop, kind, closed, debug):
    with none_left(collect=True):
        seen = like_asyncio(lambda factory: forget(factory, kind, closed, debug), oneloop.new_event_loop)
    ((category, text, source),) = seen
    assert (category, text[:29], source) == ("ResourceWarning", "unclosed transport <TRANSPORT", "BaseTransport")


# The same under -W error: an exception out of a finalizer goes to `sys.unraisablehook`.


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_transport_whose_warning_is_an_error_is_closed(oneloop, kind, monkeypatch):
    raised = []
    monkeypatch.setattr(sys, "unraisablehook", lambda info: raised.append((info.exc_type, anonymous(info.exc_value))))

    def scenario(factory):
        raised.clear()
        with contextlib.closing(factory()) as loop, contextlib.ExitStack() as stack:
            transport, others = TRANSPORTS[kind](loop)
            for other in others:
                stack.enter_context(other)
            if kind in KEPT_BY_THE_LOOP:
                loop.close()
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                del transport
                gc.collect()
        return [each for each in raised if each[1].startswith("unclosed transport")]

    with none_left(collect=True):
        ((category, text),) = like_asyncio(scenario, oneloop.new_event_loop)
    assert (category, text[:29]) == (ResourceWarning, "unclosed transport <TRANSPORT")


def unaddressed(text):
    """asyncio's own text about TLS has the class, and no address and no source."""
    return re.sub(r"<[\w.]*(SSLProtocol|SSL|TLS)Transport object( at 0x)?>", "<TLS TRANSPORT>", anonymous(text))


def test_tls(oneloop):
    def scenario(factory):
        with said(unaddressed) as seen:
            loop = factory()
            ours, theirs = connected_pair("socketpair")
            peer = Peer(theirs, server_context(), "server")
            task = start(loop, ours, "client", client_context(), Recorder())
            until(loop, lambda task=task: peer.handshake() and task.done())
            loop.close()
            theirs.close()
            del task, loop, ours
        return [(category, text) for category, text, _ in of_asyncio(seen)]

    with none_left(collect=True):
        seen = like_asyncio(scenario, oneloop.new_event_loop)
    texts = ["unclosed transport <TLS TRANSPORT>", "unclosed transport <TRANSPORT fd=N>"]  # and the one below
    assert seen == [("ResourceWarning", text) for text in texts]


def test_a_child(oneloop, monkeypatch):
    """Its pipes are left out: before 3.14 asyncio's stumbles over them on a loop that is closed."""
    monkeypatch.setattr(sys, "unraisablehook", lambda *_: None)

    def scenario(factory):
        loop = factory()
        create = loop.subprocess_exec(asyncio.SubprocessProtocol, "sleep", "1000", stdin=None, stdout=None, stderr=None)
        transport, _ = loop.run_until_complete(create)
        child = transport.get_extra_info("subprocess")
        with said(look) as seen:
            loop.close()
            del transport, loop
        child.kill()
        child.wait()
        return of_asyncio(seen)

    # Where asyncio's has a thread for each child, that keeps the transport.
    compare = like_asyncio if hasattr(unix_events, "can_use_pidfd") else lambda scenario, factory: scenario(factory)
    seen = compare(scenario, oneloop.new_event_loop)
    text = "unclosed transport <Subprocess pid=N running>"
    assert seen == [("ResourceWarning", text, "BaseTransport")]


# Servers say nothing themselves: what is left of one are its sockets.


@pytest.mark.parametrize("serving", [True, False])
def test_a_server(oneloop, serving):
    def scenario(factory):
        loop = factory()
        create = loop.create_server(Recorder, ["127.0.0.1", "::1"], 0, start_serving=serving)
        server = loop.run_until_complete(create)
        assert len(server.sockets) == 2
        with said() as seen:
            loop.close()
            del server, loop
        return [(category, text.partition(" fd=")[0], source) for category, text, source in seen]

    with none_left(collect=True):
        seen = like_asyncio(scenario, oneloop.new_event_loop)
    assert seen == [("ResourceWarning", "unclosed <socket.socket", "socket")] * 2


# Streams: asyncio's own StreamWriter, over transports of ours.


@pytest.mark.parametrize("how", ["open loop", "closed loop", "closed writer"])
def test_a_stream(oneloop, how):
    def scenario(factory):
        loop = factory()
        ours, peer = connected_pair("socketpair")
        reader, writer = loop.run_until_complete(asyncio.open_connection(sock=ours))
        writer.transport.pause_reading()
        with peer, said() as seen:
            if how == "closed writer":
                writer.close()
                steps(loop, 2)
            if how == "closed loop":
                loop.close()
            del reader, writer, ours
            gc.collect()
            if not loop.is_closed():
                steps(loop, 2)
                loop.close()
        return [each for each in seen if "socket.socket" not in each[1]]

    with none_left(collect=True):
        seen = like_asyncio(scenario, oneloop.new_event_loop)
    assert bool(seen) == (how != "closed writer")


@pytest.mark.parametrize("with_work", [False, True])
@pytest.mark.parametrize("subclass", [False, True])
def test_a_loop(oneloop, with_work, subclass, debug):
    def scenario(factory):
        if subclass:
            base = asyncio.SelectorEventLoop if factory is asyncio.SelectorEventLoop else oneloop.Loop
            factory = type("Derived", (base,), {})
        with said() as seen:
            loop = factory()
            loop.set_debug(debug)
            run_once(loop)
            if with_work:
                loop.call_soon(print)
                loop.call_later(5, print, loop)
            del loop, factory
        return of_asyncio(seen)

    with none_left(collect=True):
        ((category, text, source),) = like_asyncio(scenario, oneloop.new_event_loop)
    expected = f"unclosed event loop <LOOP running=False closed=False debug={debug}>"
    assert (category, text, source) == ("ResourceWarning", expected, "AbstractEventLoop")
