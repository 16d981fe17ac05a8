# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Every call on datagrams, cancelled at each of its suspension points: no descriptor is left, no address stays taken,
no datagram is lost, and what was given up can be done again. Sending them is in test_sock_call_sweep.

asyncio itself may take a datagram from the kernel for a call that is cancelled before it hears of it. Its half shows
that the sweeps are sound; ours has to do better.
"""

import asyncio
import contextlib
import gc
import socket

import pytest
from helpers.datagrams import DatagramRecorder
from helpers.loops import steps
from helpers.peers import abstract_name
from helpers.sweep import Swept, sweep

HOST = "127.0.0.1"
STRICT = {"asyncio": False, "oneloop": True}


def run(loop, coroutine):
    return loop.run_until_complete(asyncio.wait_for(coroutine, 5))


def udp(stack, address=(HOST, 0), family=socket.AF_INET):
    made = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
    made.bind(address)
    made.setblocking(False)
    return made


def free_address(family=socket.AF_INET, host=HOST):
    with socket.socket(family, socket.SOCK_DGRAM) as made:
        made.bind((host, 0))
        return made.getsockname()[:2]


# Endpoints.


def endpoint(arguments, check=None):
    """`arguments` makes an endpoint's from the stack; `check` is told the one that was made."""

    def make(loop, stack, strict):
        given = arguments(stack)
        local = given.get("local_addr")
        bindable = (HOST, local[1]) if isinstance(local, tuple) and local[0] == "localhost" else local

        def cancelled(loop):
            steps(loop, 3)
            if not strict:
                gc.collect()
            if local is not None:
                # Nobody has the address any more.
                udp(stack, bindable, given.get("family", socket.AF_INET)).close()

        def finished(result):
            transport, protocol = result
            assert protocol.names == ["made"]
            if check is not None:
                check(transport)
            transport.abort()

        return Swept(
            lambda: loop.create_datagram_endpoint(DatagramRecorder, **given), cancelled=cancelled, finished=finished
        )

    return make


def bound_on_ipv6(stack):
    return {"local_addr": free_address(socket.AF_INET6, "::1"), "family": socket.AF_INET6}


def with_peer(**given):
    return lambda stack: {"remote_addr": udp(stack).getsockname(), **given}


def peer_by_name(stack):
    return {"remote_addr": ("localhost", udp(stack).getsockname()[1]), "family": socket.AF_INET}


def unix_pair(stack):
    peer = abstract_name()
    udp(stack, peer, socket.AF_UNIX)
    return {"local_addr": abstract_name(), "remote_addr": peer, "family": socket.AF_UNIX}


def has_peer(transport):
    assert transport.get_extra_info("peername")


def endpoint_of_a_socket(loop, stack, strict):
    ours = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    ours.bind((HOST, 0))
    address = ours.getsockname()

    def cancelled(loop):
        steps(loop, 3)
        # It is the transport's as soon as there is one, and the caller's until then.
        ours.close()
        udp(stack, address).close()

    return Swept(
        lambda: loop.create_datagram_endpoint(DatagramRecorder, sock=ours),
        cancelled=cancelled,
        finished=lambda result: result[0].abort(),
    )


# Raw sockets.


def receiving(call, family=socket.AF_INET):
    """Three datagrams, of which one is empty, come at different times; each is received once."""

    def make(loop, stack, strict):
        if family == socket.AF_UNIX:
            ours, theirs = (udp(stack, abstract_name(), family) for _ in range(2))
        else:
            ours, theirs = udp(stack), udp(stack)
        coming = {2: b"one", 3: b"", 5: b"three"}
        sent, received = [], []

        async def all_of_them():
            for _ in coming:
                received.append(await call(loop, ours, theirs.getsockname()))

        def help_(iteration):
            if iteration in coming:
                sent.append(coming[iteration])
                theirs.sendto(coming[iteration], ours.getsockname())

        def cancelled(loop):
            theirs.sendto(b"the end", ours.getsockname())
            while b"the end" not in received:
                received.append(run(loop, call(loop, ours, theirs.getsockname())))
            if strict:
                assert received == [*sent, b"the end"]

        return Swept(all_of_them, help_, cancelled, lambda _: check(received, list(coming.values())))

    return make


def check(one, other):
    assert one == other


async def recv(loop, sock, sender):
    return await loop.sock_recv(sock, 100)


async def recv_into(loop, sock, sender):
    buffer = bytearray(100)
    return bytes(buffer[: await loop.sock_recv_into(sock, buffer)])


async def recvfrom(loop, sock, sender):
    data, address = await loop.sock_recvfrom(sock, 100)
    assert address == sender
    return data


async def recvfrom_into(loop, sock, sender):
    buffer = bytearray(100)
    count, address = await loop.sock_recvfrom_into(sock, buffer)
    assert address == sender
    return bytes(buffer[:count])


CALLS = {
    "bound": endpoint(lambda stack: {"local_addr": free_address()}),
    "bound on IPv6": endpoint(
        lambda stack: {"local_addr": free_address(socket.AF_INET6, "::1"), "family": socket.AF_INET6}
    ),
    "bound by name": endpoint(lambda stack: {"local_addr": ("localhost", free_address()[1]), "family": socket.AF_INET}),
    "connected": endpoint(with_peer(), has_peer),
    "connected by name": endpoint(peer_by_name, has_peer),
    "to everybody": endpoint(with_peer(allow_broadcast=True)),
    "bound and connected": endpoint(lambda stack: {"local_addr": free_address(), **with_peer()(stack)}, has_peer),
    "of a family": endpoint(lambda stack: {"family": socket.AF_INET}),
    "Unix": endpoint(unix_pair, has_peer),
    "of a socket": endpoint_of_a_socket,
    "sock_recv": receiving(recv),
    "sock_recv_into": receiving(recv_into),
    "sock_recvfrom": receiving(recvfrom),
    "sock_recvfrom_into": receiving(recvfrom_into),
    "sock_recvfrom, Unix": receiving(recvfrom, socket.AF_UNIX),
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
        assert sweep(loop, lambda loop, stack: CALLS[call](loop, stack, strict), collect=not strict) > 0
        run(loop, loop.shutdown_default_executor())
    if not strict:
        gc.collect()
