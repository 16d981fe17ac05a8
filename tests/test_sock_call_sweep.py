# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The `sock_*` calls, cancelled at each of their suspension points (see `helpers.sweep`): no byte, no datagram and no
connection is lost, and the socket is its owner's.
"""

import contextlib
import io
import os
import socket

import pytest
from helpers.peers import abstract_name, connected_pair, drain
from helpers.sweep import DATA, HOST, Swept, equal, listener, run, sweep_on


def pair(stack):
    return [stack.enter_context(end) for end in connected_pair("socketpair")]


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
            lambda result: equal(get(result), b"precious"),
        )

    return make


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
        lambda count: (equal(count, 8), equal(everything + received(), [b"datagram"])),
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
}


@pytest.mark.parametrize("call", CALLS)
def test_sweep(loop_name, loop_factory, call, monkeypatch):
    sweep_on(loop_name, loop_factory, monkeypatch, CALLS[call])
