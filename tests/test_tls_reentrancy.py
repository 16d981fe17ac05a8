# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Any callback may call any method: the protocol's, OpenSSL's own in the middle of its work, another thread's.

Whatever is called, the protocol is told in order and of the end once, nothing is reported, nothing hangs, and the
loop goes on.
"""

import contextlib
import itertools
import os
import random
import socket
import ssl
import threading

import pytest
from helpers.descriptors import none_left
from helpers.loops import goes_on, run_once, steps
from helpers.peers import connected_pair
from helpers.recorder import Recorder
from helpers.scene import until
from helpers.tls import Peer, buffered, client_context, server_context, start, tls_scene

SEND_BUFFER = 8192

METHODS = {
    "write": lambda transport: transport.write(b"reaction"),
    "write much": lambda transport: transport.write(bytes(600_000)),
    "writelines": lambda transport: transport.writelines([b"re", b"", bytearray(b"action")]),
    "close": lambda transport: transport.close(),
    "abort": lambda transport: transport.abort(),
    "pause reading": lambda transport: transport.pause_reading(),
    "resume reading": lambda transport: transport.resume_reading(),
    "pause and resume": lambda transport: (transport.pause_reading(), transport.resume_reading()),
    "another protocol": lambda transport: transport.set_protocol(transport.get_protocol()),
    "limits": lambda transport: (transport.set_write_buffer_limits(1), transport.set_read_buffer_limits(1)),
    "looks": lambda transport: [transport.get_extra_info(key) for key in ("cipher", "peername", "ssl_object", "x")],
    "close and write": lambda transport: (transport.close(), transport.write(b"late")),
    "write and abort": lambda transport: (transport.write(b"lost"), transport.abort()),
}
CALLBACKS = ("made", "data", "eof", "lost", "pause", "resume")


@contextlib.contextmanager
def pair():
    """Two ends, of which the loop's takes little at once; the other one is closed afterwards."""
    ours, theirs = connected_pair("socketpair")
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    with theirs:
        yield ours, theirs


def in_order(names):
    """A protocol's life: made, then anything, then perhaps the end of input and nothing after it but the loss."""
    assert names[0] == "made"
    assert names.count("lost") == 1
    assert names[-1] == "lost"
    assert names.count("eof") <= 1
    if "eof" in names:
        assert "data" not in names[names.index("eof") :]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("recorder", [Recorder, buffered])
def test_any_method_in_any_callback(oneloop, callback, method, recorder):
    # On ours only: asyncio's raises AttributeError in some of them, and one that pauses reading in connection_made
    # never sends its last message of the handshake.
    called = []

    def react(transport):
        # Twice, or a protocol that writes when it may would never come to an end.
        if len(called) < 2:
            called.append(callback)
            METHODS[method](transport)

    protocol = recorder(**{callback: react})
    with contextlib.closing(oneloop.new_event_loop()) as loop, none_left(loop), pair() as (ours, theirs):
        reports = []
        loop.set_exception_handler(lambda _, context: reports.append(context))
        peer = Peer(theirs, server_context(), "server")
        task = start(loop, ours, "client", client_context(), protocol)

        def go_on(condition):
            def check():
                with contextlib.suppress(ssl.SSLError):
                    peer.read() if peer.ready else peer.handshake()
                return condition() or "lost" in protocol.names or peer.ended

            until(loop, check)

        go_on(lambda: peer.ready and task.done())
        until(loop, task.done)
        if task.exception() is None and "lost" not in protocol.names:
            transport, _ = task.result()
            # Fill, empty, speak, say goodbye.
            piece = os.urandom(300_000)
            for _ in range(3):
                loop.call_soon(transport.write, piece)
            steps(loop, 3)
            with contextlib.suppress(ssl.SSLError):
                peer.write(b"to react to")
            go_on(lambda: protocol.data or not transport.is_reading())
            if not transport.is_closing():
                loop.call_soon(transport.resume_reading)
            with contextlib.suppress(ssl.SSLError):
                peer.unwrap()
            go_on(lambda: False) if callback != "lost" or not transport.is_closing() else None
            if not peer.ended:
                go_on(lambda: False)
            if "lost" not in protocol.names:
                transport.abort()
        until(loop, lambda: "lost" in protocol.names)
        steps(loop, 3)
        in_order(protocol.names)
        assert reports == []
        goes_on(loop)
        protocol.transport = transport = task = None


# OpenSSL's own callbacks.


@pytest.mark.parametrize(
    "method", ["write", "close", "abort", "looks", "limits", "close and write", "another protocol"]
)
@pytest.mark.parametrize("where", ["sni", "messages"])
def test_a_callback_of_openssl_s(oneloop, where, method):
    """It runs in the middle of a call of the TLS object's: what needs that object has to wait."""
    context, protocol, called = server_context(), Recorder(), []

    def react(*_):
        transport = layers[0]._app_transport
        if len(called) < 3 and transport is not None:
            called.append(method)
            METHODS[method](transport)

    if where == "sni":
        context.sni_callback = react
    else:
        context._msg_callback = react
    layers = []
    with contextlib.closing(oneloop.new_event_loop()) as loop, none_left(loop), pair() as (ours, theirs):
        reports = []
        loop.set_exception_handler(lambda _, context: reports.append(context))
        peer = Peer(theirs, client_context(), "client")
        waiter = loop.create_future()
        settings = oneloop._core._TLSSettings(context, server_side=True)
        layers.append(oneloop._core._wrap_tls(loop, protocol, settings, waiter))
        loop._make_socket_transport(ours, layers[0])

        def check():
            with contextlib.suppress(ssl.SSLError):
                peer.read() if peer.ready else peer.handshake()
            return peer.ended or "lost" in protocol.names or (peer.ready and waiter.done())

        until(loop, check)
        assert called
        transport = layers[0]._app_transport
        if not peer.ended and transport is not None and not transport.is_closing():
            peer.write(b"hello")
            until(loop, lambda: protocol.data == b"hello")
            if method == "write":
                until(loop, lambda: (peer.read(), len(peer.data) == len(b"reaction") * len(called))[1])
            transport.abort()
        steps(loop, 6)
        if "made" in protocol.names:
            in_order(protocol.names)
        if waiter.done() and waiter.exception() is not None:
            assert isinstance(waiter.exception(), OSError)
        assert reports == []
        waiter = transport = protocol.transport = None
        layers.clear()


class Below:
    """A transport that keeps what it is given, and what it is told."""

    def __init__(self):
        self.written, self.told = bytearray(), []

    def write(self, data):
        self.written += data

    def pause_reading(self):
        self.told.append("pause")

    def resume_reading(self):
        self.told.append("resume")

    def get_extra_info(self, name, default=None):
        return default

    def is_closing(self):
        return False

    def abort(self):
        self.told.append("abort")


def test_what_comes_while_the_tls_object_is_in_use(oneloop):
    """Nobody can decrypt it: the transport below is stopped, and one entry of the loop's goes on with all of it."""
    scheduled = []

    class CountingLoop(oneloop.Loop):
        def call_soon_threadsafe(self, callback, *arguments, **keywords):
            scheduled.append(callback.__name__)
            return super().call_soon_threadsafe(callback, *arguments, **keywords)

    def receive(raw):
        raw = memoryview(raw)
        while raw:
            memory = layer.get_buffer(-1)
            size = min(len(memory), len(raw), 50_000)
            memory[:size], raw = raw[:size], raw[size:]
            layer.buffer_updated(size)

    def in_the_middle_of_a_call(*_):
        if raw:
            receive(raw.pop())
            told.extend(below.told)

    blob, raw, told = os.urandom(1_000_000), [], []
    context, protocol, below = client_context(), Recorder(), Below()
    context._msg_callback = in_the_middle_of_a_call
    peer = Peer(None, server_context(), "server")
    with contextlib.closing(CountingLoop()) as loop:
        settings = oneloop._core._TLSSettings(context, server_hostname="localhost")
        layer = oneloop._core._wrap_tls(loop, protocol, settings)
        layer.connection_made(below)
        while "made" not in protocol.names or not peer.ready:
            peer.incoming.write(below.written)
            below.written.clear()
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.tls.do_handshake()
                peer.ready = True
            receive(peer.outgoing.read())
        transport = layer._app_transport
        peer.tls.write(blob)
        raw.append(peer.outgoing.read())
        scheduled.clear()
        transport.write(b"use it")
        assert told == ["pause"]
        assert scheduled == ["_proceed"]
        assert not protocol.data
        steps(loop, 2)
        assert protocol.data == blob
        assert below.told == ["pause", "resume"]
        assert scheduled == ["_proceed"]
        transport.abort()
        layer.connection_lost(None)
        steps(loop, 2)
        protocol.transport = transport = None


@pytest.mark.parametrize("seed", range(4))
def test_another_thread_calls_meanwhile(oneloop, seed):
    """Nobody may do that, and it must not hurt more than the connection."""
    choose = random.Random(seed)
    names = ["write", "write much", "writelines", "pause and resume", "looks", "limits", "close", "abort"]
    for _ in range(10):
        with tls_scene(oneloop.new_event_loop) as stage:
            plan = [*choose.choices(names[:-2], k=60), names[-1 - (seed % 2)]]
            thread = threading.Thread(
                target=lambda plan=plan, transport=stage.transport: [METHODS[name](transport) for name in plan]
            )
            thread.start()
            blob = os.urandom(50_000)
            while thread.is_alive():
                with contextlib.suppress(ssl.SSLError):
                    # One is enough, while the other side does not take it: how long the thread needs is not known.
                    stage.peer.write(b"" if stage.peer.outgoing.pending else blob)
                    stage.peer.read()
                run_once(stage.loop)
            thread.join()
            stage.transport.abort()
            stage.step(6)
            assert stage.protocol.names.count("lost") == 1
            goes_on(stage.loop)


@pytest.mark.parametrize("seed", range(60))
def test_random_operations(oneloop, seed):
    """Any order of what users, peers and the network do: every byte that both sides could have agreed on arrives in
    order, and the end comes once."""
    operations = ["us", "them", "step", "pause", "resume", "limits", "large"]
    choose = random.Random(seed)
    with tls_scene(
        oneloop.new_event_loop, send_buffer=SEND_BUFFER, protocol=choose.choice([Recorder, buffered])()
    ) as stage:
        to_peer, to_us = bytearray(), bytearray()
        for operation in choose.choices(operations, k=40):
            data = choose.randbytes(choose.choice([1, 100, 16384, 40_000]))
            if operation == "us":
                stage.transport.write(data)
                to_peer += data
            elif operation == "large":
                lines = [data[start : start + 999] for start in range(0, len(data), 999)]
                stage.transport.writelines(lines)
                to_peer += data
            elif operation == "them" and not stage.peer.outgoing.pending:
                stage.peer.write(data)
                to_us += data
            elif operation == "step":
                stage.peer.read()
                stage.step(choose.randrange(4))
            elif operation == "pause":
                stage.transport.pause_reading()
            elif operation == "resume":
                stage.transport.resume_reading()
            elif operation == "limits":
                stage.transport.set_write_buffer_limits(choose.randrange(1 << 18))
                stage.transport.set_read_buffer_limits(choose.randrange(1 << 18))
        stage.transport.resume_reading()
        how = choose.choice(["close", "peer closes", "peer ends"])
        if how == "close":
            # What is on its way to us may be lost now: a peer that writes on is an error to TLS.
            stage.until(lambda: (stage.peer.read(), len(stage.protocol.data) == len(to_us))[1])
            stage.transport.close()
            stage.until(lambda: (stage.peer.read(), stage.peer.told_end)[1])
            stage.peer.unwrap()
        else:
            stage.until(lambda: (stage.peer.read(), not stage.peer.outgoing.pending)[1])
            stage.peer.unwrap() if how == "peer closes" else stage.peer.sock.shutdown(1)
            stage.until(lambda: (stage.peer.read(), len(stage.peer.data) >= len(to_peer))[1])
        stage.until(lambda: (stage.peer.read(), "lost" in stage.protocol.names)[1])
        assert stage.peer.data == to_peer
        assert stage.protocol.data == to_us
        in_order(stage.protocol.names)
        pauses = [name for name in stage.protocol.names if name in ("pause", "resume")]
        assert all(one != other for one, other in itertools.pairwise(pauses))
        assert stage.reports == []
