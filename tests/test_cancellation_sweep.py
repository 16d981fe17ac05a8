# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Every call of the network's surface, cancelled at each of its suspension points: no descriptor is left, no byte and
no connection is lost, no task goes on, no cancellation is swallowed, and the loop goes on.

asyncio itself may take a byte from the kernel for a call that is cancelled before it hears of it, and leave a socket to
the collector. Its half shows that the sweeps are sound; ours has to do better.
"""

import asyncio
import contextlib
import gc
import io
import os
import socket

import pytest
from helpers.loops import steps
from helpers.peers import abstract_name, connected_pair, drain
from helpers.recorder import Recorder
from helpers.sweep import Swept, sweep

HOST = "127.0.0.1"
# Whether asyncio's own faults may show.
STRICT = {"asyncio": False, "oneloop": True}
DATA = bytes(number % 251 for number in range(700_000))


def run(loop, coroutine):
    return loop.run_until_complete(asyncio.wait_for(coroutine, 5))


def pair(stack, kind="socketpair"):
    return [stack.enter_context(end) for end in connected_pair(kind)]


def listener(stack, family=socket.AF_INET):
    made = stack.enter_context(socket.socket(family))
    made.bind((HOST, 0) if family == socket.AF_INET else abstract_name())
    made.listen()
    made.setblocking(False)
    return made


def drop(result):
    result[0].abort()


# Raw sockets.


def receiving(call, get=lambda result: result):
    def make(loop, stack, strict):
        ours, theirs = pair(stack)

        def cancelled(loop):
            drain_before = theirs.send(b"and more")
            assert drain_before == 8
            received = bytearray()
            while not received.endswith(b"and more"):
                received += run(loop, loop.sock_recv(ours, 100))
            # Sent in the third iteration, or not at all.
            assert received in (b"preciousand more", b"and more")
            if strict and sent:
                assert received == b"preciousand more"

        sent = []

        def help_(iteration):
            if iteration == 3:
                sent.append(theirs.send(b"precious"))

        return Swept(
            lambda: call(loop, ours),
            help_,
            cancelled,
            lambda result: _equal(get(result), b"precious"),
        )

    return make


def _equal(one, other):
    assert one == other


def recv_into(loop, sock):
    async def main():
        buffer = bytearray(100)
        return bytes(buffer[: await loop.sock_recv_into(sock, buffer)])

    return main()


def recvfrom_into(loop, sock):
    async def main():
        buffer = bytearray(100)
        return bytes(buffer[: (await loop.sock_recvfrom_into(sock, buffer))[0]])

    return main()


def sock_sendall(loop, stack, strict):
    ours, theirs = pair(stack)
    received = bytearray()

    def cancelled(loop):
        received.extend(drain(theirs))
        assert DATA.startswith(received)
        run(loop, loop.sock_sendall(ours, b"goes on"))
        assert drain(theirs) == b"goes on"

    def finished(_):
        received.extend(drain(theirs))
        assert received == DATA

    def help_(iteration):
        if iteration >= 2:
            received.extend(drain(theirs, 100_000))

    return Swept(lambda: loop.sock_sendall(ours, DATA), help_, cancelled, finished)


def sock_sendto(loop, stack, strict):
    ours, theirs = (stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) for _ in range(2))
    theirs.bind(abstract_name())
    for end in (ours, theirs):
        end.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.sendto(b"filler", theirs.getsockname())

    def received():
        seen = []
        with contextlib.suppress(BlockingIOError):
            while True:
                seen.append(theirs.recv(100))
        return [each for each in seen if each != b"filler"]

    everything = []

    def help_(iteration):
        if iteration == 3:
            everything.extend(received())

    def cancelled(loop):
        everything.extend(received())
        assert everything in ([], [b"datagram"])
        assert run(loop, loop.sock_sendto(ours, b"again", theirs.getsockname())) == 5
        assert received() == [b"again"]

    return Swept(
        lambda: loop.sock_sendto(ours, b"datagram", theirs.getsockname()),
        help_,
        cancelled,
        lambda count: (_equal(count, 8), _equal(everything + received(), [b"datagram"])),
    )


def sock_connect(host):
    def make(loop, stack, strict):
        server = listener(stack)
        client = stack.enter_context(socket.socket())
        client.setblocking(False)

        def cancelled(loop):
            # The socket is its owner's, and whether it is connected its owner can see.
            assert client.fileno() >= 0
            client.close()

        def finished(_):
            assert client.getpeername() == server.getsockname()

        return Swept(
            lambda: loop.sock_connect(client, (host, server.getsockname()[1])), cancelled=cancelled, finished=finished
        )

    return make


def sock_accept(loop, stack, strict):
    server, clients = listener(stack), []

    def help_(iteration):
        if iteration == 3:
            clients.append(stack.enter_context(socket.create_connection(server.getsockname())))

    def cancelled(loop):
        if not clients:
            help_(3)
        if strict:
            end, address = run(loop, loop.sock_accept(server))
            assert address == clients[0].getsockname()
            end.close()

    def finished(result):
        end, address = result
        end.close()
        assert address == clients[0].getsockname()

    return Swept(lambda: loop.sock_accept(server), help_, cancelled, finished)


def sock_sendfile(how):
    def make(loop, stack, strict):
        ours, theirs = pair(stack)
        if how == "native":
            descriptor = os.memfd_create("sendfile")
            file = stack.enter_context(os.fdopen(descriptor, "w+b", 0))
            file.write(DATA)
            file.seek(0)
        else:
            file = io.BytesIO(DATA)
        received = bytearray()

        def cancelled(loop):
            # A thread may still read from the file, but it sends nothing.
            received.extend(drain(theirs))
            assert DATA.startswith(received)
            run(loop, loop.sock_sendall(ours, b"goes on"))
            assert drain(theirs) == b"goes on"

        def finished(count):
            received.extend(drain(theirs))
            assert count == len(DATA)
            assert received == DATA

        return Swept(
            lambda: loop.sock_sendfile(ours, file),
            lambda iteration: received.extend(drain(theirs, 100_000)),
            cancelled,
            finished,
        )

    return make


# Connections.


def hung_up(loop, server, strict):
    """Whoever connected to this listener has gone again."""
    steps(loop, 4)
    if not strict:
        gc.collect()
    with contextlib.suppress(BlockingIOError):
        while True:
            end, _ = server.accept()
            with end, contextlib.suppress(ConnectionResetError):
                end.settimeout(5)
                assert end.recv(1) == b""


def create_connection(**kwargs):
    def make(loop, stack, strict):
        server = listener(stack)
        given = {"host": HOST, "port": server.getsockname()[1], **kwargs}
        return Swept(
            lambda: loop.create_connection(Recorder, **given),
            cancelled=lambda loop: hung_up(loop, server, strict),
            finished=drop,
        )

    return make


def several_addresses(**kwargs):
    def make(loop, stack, strict):
        server, closed, full = (
            listener(stack),
            stack.enter_context(socket.socket()),
            stack.enter_context(socket.socket()),
        )
        closed.bind((HOST, 0))
        # Its queue is full: it does not answer.
        full.bind((HOST, 0))
        full.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        silent = [full] if kwargs else []

        async def getaddrinfo(*args, **kwargs):
            await asyncio.sleep(0)
            order = [closed, *silent, closed, server]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", sock.getsockname()) for sock in order]

        loop.getaddrinfo = getaddrinfo
        stack.callback(vars(loop).pop, "getaddrinfo")
        return Swept(
            lambda: loop.create_connection(Recorder, "a.name", 1, **kwargs),
            cancelled=lambda loop: hung_up(loop, server, strict),
            finished=drop,
        )

    return make


def of_a_socket(method, close_ours=True):
    def make(loop, stack, strict):
        ours, theirs = connected_pair("socketpair")
        stack.enter_context(theirs)
        # If the call did not get so far as to own it, it is ours still.
        stack.callback(ours.close)

        def cancelled(loop):
            steps(loop, 3)
            ours.close()
            theirs.setblocking(True)
            assert theirs.recv(1) == b""

        return Swept(lambda: getattr(loop, method)(Recorder, sock=ours), cancelled=cancelled, finished=drop)

    return make


def create_unix_connection(loop, stack, strict):
    server = listener(stack, socket.AF_UNIX)
    return Swept(
        lambda: loop.create_unix_connection(Recorder, server.getsockname()),
        cancelled=lambda loop: hung_up(loop, server, strict),
        finished=drop,
    )


def pipe(direction):
    def make(loop, stack, strict):
        reader, writer = (open(end, mode, 0) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))  # noqa: SIM115
        ours, theirs = (reader, writer) if direction == "read" else (writer, reader)
        stack.callback(theirs.close)
        stack.callback(ours.close)
        return Swept(
            lambda: getattr(loop, f"connect_{direction}_pipe")(Recorder, ours),
            cancelled=lambda loop: (steps(loop, 3), ours.close()),
            finished=lambda result: result[0].close(),
        )

    return make


# Servers.


def close_server(server):
    assert server.is_serving() in (True, False)
    server.close()


def create_server(*args, **kwargs):
    def make(loop, stack, strict):
        return Swept(
            lambda: loop.create_server(Recorder, *args, 0, **kwargs),
            cancelled=lambda loop: (steps(loop, 2), strict or gc.collect()),
            finished=close_server,
        )

    return make


def create_unix_server(loop, stack, strict):
    return Swept(lambda: loop.create_unix_server(Recorder, abstract_name()), finished=close_server)


def of_a_server(method):
    def make(loop, stack, strict):
        server = run(loop, loop.create_server(Recorder, HOST, 0, start_serving=False))
        stack.callback(server.close)
        if method == "wait_closed":
            run(loop, server.start_serving())

        def help_(iteration):
            if iteration == 4 and method != "start_serving":
                server.close()

        def cancelled(loop):
            steps(loop, 3)
            # To be cancelled in it closes a server that serves for ever.
            assert (server.sockets == ()) is (method == "serve_forever" or closed)

        closed = False

        async def call():
            with contextlib.suppress(asyncio.CancelledError) if method == "serve_forever" else contextlib.nullcontext():
                return await getattr(server, method)()
            if asyncio.current_task().cancelling():
                raise asyncio.CancelledError
            return None

        def help_and_note(iteration):
            nonlocal closed
            help_(iteration)
            closed = server.sockets == ()

        return Swept(call, help_and_note, cancelled)

    return make


# Names.


def getaddrinfo(loop, stack, strict):
    return Swept(lambda: loop.getaddrinfo("localhost", 80), finished=lambda result: _equal(bool(result), True))


def getnameinfo(loop, stack, strict):
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    return Swept(lambda: loop.getnameinfo((HOST, 80), numeric), finished=lambda result: _equal(result, (HOST, "80")))


# asyncio's streams over our transports.


def streams(loop, stack):
    ours, theirs = connected_pair("socketpair")
    stack.enter_context(theirs)
    reader, writer = run(loop, asyncio.open_connection(sock=ours))

    def end():
        # asyncio's own may fail to be aborted once it is lost.
        if not writer.transport.is_closing():
            writer.transport.abort()
        steps(loop, 2)

    stack.callback(end)
    return reader, writer, theirs


def stream_read(call):
    def make(loop, stack, strict):
        reader, _, theirs = streams(loop, stack)
        pieces = {2: b"one\n", 3: b"tw", 4: b"o\nrest"}
        sent = []

        def help_(iteration):
            if iteration in pieces:
                theirs.send(pieces[iteration])
                sent.append(iteration)

        def cancelled(loop):
            for iteration in pieces:
                if iteration not in sent:
                    theirs.send(pieces[iteration])
            theirs.close()
            assert run(loop, reader.read()) == b"one\ntwo\nrest"

        return Swept(
            lambda: call(reader), help_, cancelled, lambda data: _equal(b"one\ntwo\nrest".startswith(data), True)
        )

    return make


def stream_drain(loop, stack, strict):
    _, writer, theirs = streams(loop, stack)
    received = bytearray()

    async def call():
        writer.write(DATA)
        await writer.drain()

    def everything(loop):
        while len(received) < len(DATA):
            received.extend(drain(theirs))
            steps(loop, 1)
        assert received == DATA

    # What was written is sent, whether somebody waits for it or not.
    return Swept(
        call, lambda iteration: received.extend(drain(theirs, 100_000)), everything, lambda _: everything(loop)
    )


def stream_wait_closed(loop, stack, strict):
    _, writer, theirs = streams(loop, stack)

    async def call():
        writer.write(DATA)
        writer.close()
        await writer.wait_closed()

    received = bytearray()

    def everything(loop):
        while len(received) < len(DATA):
            received.extend(drain(theirs))
            steps(loop, 1)
        assert received == DATA
        steps(loop, 2)
        assert theirs.recv(1) == b""

    return Swept(call, lambda iteration: received.extend(drain(theirs, 100_000)), everything)


def open_connection(loop, stack, strict):
    server = listener(stack)
    return Swept(
        lambda: asyncio.open_connection(*server.getsockname()),
        cancelled=lambda loop: hung_up(loop, server, strict),
        finished=lambda result: result[1].transport.abort(),
    )


def start_server(loop, stack, strict):
    return Swept(
        lambda: asyncio.start_server(lambda reader, writer: None, HOST, 0),
        cancelled=lambda loop: (steps(loop, 2), strict or gc.collect()),
        finished=close_server,
    )


CALLS = {
    "sock_recv": receiving(lambda loop, sock: loop.sock_recv(sock, 100)),
    "sock_recv_into": receiving(recv_into),
    "sock_recvfrom": receiving(lambda loop, sock: loop.sock_recvfrom(sock, 100), lambda result: result[0]),
    "sock_recvfrom_into": receiving(recvfrom_into),
    "sock_sendall": sock_sendall,
    "sock_sendto": sock_sendto,
    "sock_connect": sock_connect(HOST),
    "sock_connect to a name": sock_connect("localhost"),
    "sock_accept": sock_accept,
    "sock_sendfile": sock_sendfile("native"),
    "sock_sendfile of memory": sock_sendfile("fallback"),
    "create_connection": create_connection(),
    "create_connection to a name": create_connection(host="localhost", family=socket.AF_INET),
    "create_connection with local_addr": create_connection(local_addr=(HOST, 0)),
    "create_connection with a local name": create_connection(local_addr=("localhost", 0), family=socket.AF_INET),
    "create_connection with several addresses": several_addresses(),
    "create_connection with happy eyeballs": several_addresses(happy_eyeballs_delay=0.002),
    "create_connection with a socket": of_a_socket("create_connection"),
    "connect_accepted_socket": of_a_socket("connect_accepted_socket"),
    "create_unix_connection": create_unix_connection,
    "create_unix_connection with a socket": of_a_socket("create_unix_connection"),
    "connect_read_pipe": pipe("read"),
    "connect_write_pipe": pipe("write"),
    "create_server": create_server(HOST),
    "create_server of several": create_server([HOST, "::1", "127.0.0.2"]),
    "create_server of a name": create_server(["localhost", HOST], family=socket.AF_INET),
    "create_server without serving": create_server(HOST, start_serving=False),
    "create_unix_server": create_unix_server,
    "serve_forever": of_a_server("serve_forever"),
    "start_serving": of_a_server("start_serving"),
    "wait_closed": of_a_server("wait_closed"),
    "getaddrinfo": getaddrinfo,
    "getnameinfo": getnameinfo,
    "read": stream_read(lambda reader: reader.read(6)),
    "readexactly": stream_read(lambda reader: reader.readexactly(6)),
    "readline": stream_read(lambda reader: reader.readline()),
    "readuntil": stream_read(lambda reader: reader.readuntil(b"o\nr")),
    "drain": stream_drain,
    "StreamWriter.wait_closed": stream_wait_closed,
    "open_connection": open_connection,
    "start_server": start_server,
}

# What asks nobody may come to its end without a suspension on one loop and not on the other.
NEVER_SUSPENDS = {"create_server without serving"}

# asyncio leaves a server that serves and that nobody has, or on 3.11 the socket of a race that was won too late.
ASYNCIO_LEAVES = {
    "create_connection with happy eyeballs",
    "create_server",
    "create_server of several",
    "create_server of a name",
    "create_unix_server",
    "start_server",
}


@pytest.mark.parametrize("call", CALLS)
def test_sweep(loop_name, loop_factory, call, monkeypatch):
    strict = STRICT[loop_name]
    if not strict:
        # What asyncio leaves to the collector it warns about.
        monkeypatch.setattr("sys.unraisablehook", lambda *_: None)
    with contextlib.closing(loop_factory()) as loop:
        # So that its threads are there before anything is counted.
        run(loop, loop.getaddrinfo("localhost", 80))
        run(loop, loop.run_in_executor(None, int))
        faults = AssertionError if call in ASYNCIO_LEAVES and not strict else ()
        with contextlib.suppress(faults):
            points = sweep(loop, lambda loop, stack: CALLS[call](loop, stack, strict), collect=not strict)
            assert points > 0 or call in NEVER_SUSPENDS
        run(loop, loop.shutdown_default_executor())
    if not strict:
        gc.collect()


def test_a_sweep_sees_what_is_left(loop, monkeypatch):
    # The sweep itself must be able to fail.
    async def leaves_a_socket():
        made = socket.socket()
        await asyncio.sleep(0)
        made.close()

    async def swallows():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)

    async def starts_a_task():
        kept.append(asyncio.create_task(asyncio.sleep(100)))
        await asyncio.sleep(0)

    kept = []
    monkeypatch.setattr("sys.unraisablehook", lambda *_: None)
    for call, text in ((leaves_a_socket, "assert"), (swallows, "swallowed"), (starts_a_task, "assert")):
        with pytest.raises(AssertionError, match=text):
            sweep(loop, lambda loop, stack, call=call: Swept(call))
        gc.collect()
    for task in kept:
        task.cancel()
    steps(loop, 2)
