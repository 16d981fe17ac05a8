# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The sock_ calls: what they return, when they wait, and what several of them at one socket see."""

import asyncio
import contextlib
import os
import random
import socket

import pytest
from helpers.compare import like_asyncio
from helpers.connecting import failure
from helpers.descriptors import none_left
from helpers.loops import steps
from helpers.peers import KINDS, abstract_name, connected_pair, drain, fill
from helpers.scene import until
from helpers.sock_calls import READS, reading, waiting

HOST = "127.0.0.1"


@pytest.fixture
def pair():
    ours, theirs = connected_pair("socketpair")
    with ours, theirs:
        yield ours, theirs


@contextlib.contextmanager
def datagrams(kind):
    """Two datagram sockets with addresses, and the second one's."""
    with contextlib.ExitStack() as stack:
        family = {"udp": socket.AF_INET, "udp6": socket.AF_INET6, "unix": socket.AF_UNIX}[kind]
        ends = [stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in range(2)]
        for end in ends:
            end.bind({"udp": (HOST, 0), "udp6": ("::1", 0), "unix": abstract_name()}[kind])
            end.setblocking(False)
        yield *ends, ends[1].getsockname()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", READS)
def test_reading(loop, kind, call):
    ours, theirs = connected_pair(kind)
    with ours, theirs:
        theirs.send(b"there already")
        assert loop.run_until_complete(reading(loop, call, ours)) == b"there already"
        task = waiting(loop, reading(loop, call, ours))
        assert not task.done()
        theirs.send(b"later")
        assert loop.run_until_complete(task) == b"later"
        theirs.close()
        assert loop.run_until_complete(reading(loop, call, ours)) == b""


@pytest.mark.parametrize("call", READS)
def test_what_is_there_is_returned_without_a_turn_of_the_loop(loop, pair, call):
    ours, theirs = pair
    theirs.send(b"x")

    async def main():
        turns = []
        loop.call_soon(turns.append, 1)
        data = await reading(loop, call, ours)
        return data, list(turns)

    assert loop.run_until_complete(main()) == (b"x", [])


@pytest.mark.parametrize("kind", KINDS)
def test_sending_more_than_fits(loop, kind):
    data = random.Random(3).randbytes(3_000_000)
    ours, theirs = connected_pair(kind)
    with ours, theirs:
        received = bytearray()
        task = loop.create_task(loop.sock_sendall(ours, data))
        until(loop, lambda: (received.extend(drain(theirs)), task.done())[1])
        assert task.result() is None
        while len(received) < len(data):
            received += drain(theirs)
        assert received == data


@pytest.mark.parametrize("kind", ["udp", "udp6", "unix"])
def test_datagrams(loop, kind):
    with datagrams(kind) as (ours, theirs, address):
        assert loop.run_until_complete(loop.sock_sendto(ours, b"hello", address)) == 5
        buffer = bytearray(100)
        assert loop.run_until_complete(loop.sock_recvfrom(theirs, 100)) == (b"hello", ours.getsockname())
        task = waiting(loop, loop.sock_recvfrom_into(theirs, buffer))
        for data in (b"one", b"", bytearray(b"three"), memoryview(b"four")):
            assert loop.run_until_complete(loop.sock_sendto(ours, data, address)) == len(data)
        assert loop.run_until_complete(task) == (3, ours.getsockname())
        assert buffer[:3] == b"one"
        assert loop.run_until_complete(loop.sock_recv(theirs, 100)) == b""
        # Of a datagram that is larger than asked for, the rest is gone.
        assert loop.run_until_complete(loop.sock_recvfrom_into(theirs, buffer, 2)) == (2, ours.getsockname())
        assert loop.run_until_complete(loop.sock_recvfrom(theirs, 100))[0] == b"four"


def test_a_datagram_waits_for_room(loop):
    with datagrams("unix") as (ours, theirs, address):
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                ours.sendto(b"%d" % sent, address)
                sent += 1
        task = waiting(loop, loop.sock_sendto(ours, b"last", address))
        assert not task.done()
        received = [theirs.recv(10) for _ in range(sent)]
        assert loop.run_until_complete(task) == 4
        assert received == [b"%d" % number for number in range(sent)]
        assert theirs.recv(10) == b"last"


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_connecting_and_accepting(loop, family):
    address = {socket.AF_INET: (HOST, 0), socket.AF_INET6: ("::1", 0), socket.AF_UNIX: abstract_name()}[family]
    with none_left(loop), socket.socket(family) as listener, socket.socket(family) as client:
        listener.bind(address)
        listener.listen()
        for sock in (listener, client):
            sock.setblocking(False)
        task = waiting(loop, loop.sock_accept(listener))
        assert not task.done()
        assert loop.run_until_complete(loop.sock_connect(client, listener.getsockname())) is None
        accepted, peer = loop.run_until_complete(task)
        with accepted:
            assert type(accepted) is socket.socket
            assert accepted.getblocking() is False
            assert accepted.get_inheritable() is False
            assert (accepted.family, accepted.type) == (family, socket.SOCK_STREAM)
            assert peer == client.getsockname()
            loop.run_until_complete(loop.sock_sendall(client, b"x"))
            assert loop.run_until_complete(loop.sock_recv(accepted, 10)) == b"x"
        # The next one is there already.
        with socket.socket(family) as second:
            second.connect(listener.getsockname())
            accepted, _ = loop.run_until_complete(loop.sock_accept(listener))
            accepted.close()


def test_connecting_by_name(loop):
    with socket.create_server((HOST, 0)) as listener, socket.socket() as client:
        client.setblocking(False)
        loop.run_until_complete(loop.sock_connect(client, ("localhost", listener.getsockname()[1])))
        assert client.getpeername() == listener.getsockname()


def test_connecting_a_datagram_socket(loop):
    with datagrams("udp") as (ours, _, address):
        loop.run_until_complete(loop.sock_connect(ours, address))
        assert ours.getpeername() == address


def connecting(loop, family, address):
    with socket.socket(family) as client:
        client.setblocking(False)
        return failure(lambda: loop.run_until_complete(loop.sock_connect(client, address)))


def test_connecting_to_nobody(loop_factory, tmp_path):
    with socket.socket() as bound, socket.socket(socket.AF_INET6) as bound6:
        bound.bind((HOST, 0))
        bound6.bind(("::1", 0))

        def scenario(factory):
            loop = factory()
            seen = [
                connecting(loop, socket.AF_INET, bound.getsockname()),
                connecting(loop, socket.AF_INET6, bound6.getsockname()),
                connecting(loop, socket.AF_INET6, bound6.getsockname()[:2]),
                connecting(loop, socket.AF_UNIX, str(tmp_path / "nobody")),
                connecting(loop, socket.AF_UNIX, "\0nobody at all"),
                connecting(loop, socket.AF_INET, ("255.255.255.255", 1)),
            ]
            loop.close()
            return seen

        with none_left():
            seen = like_asyncio(scenario, loop_factory)
        text = f"[Errno 111] Connect call failed {bound.getsockname()}"
        assert seen[0] == ("ConnectionRefusedError", 111, text)


def test_connecting_twice(loop_factory):
    def scenario(factory):
        loop = factory()
        with socket.create_server((HOST, 0)) as listener, socket.socket() as client:
            client.setblocking(False)
            address = listener.getsockname()
            seen = [failure(lambda: loop.run_until_complete(loop.sock_connect(client, address))) for _ in range(3)]
        loop.close()
        return seen

    text = "[Errno 106] Transport endpoint is already connected"
    assert like_asyncio(scenario, loop_factory)[-1] == ("OSError", 106, text)


@pytest.mark.parametrize("call", READS)
def test_the_last_of_several_readers_is_served(loop, pair, call):
    # Who calls again takes the watch over: asyncio forgets the one before.
    ours, theirs = pair
    tasks = [waiting(loop, reading(loop, call, ours)) for _ in range(3)]
    theirs.send(b"x")
    until(loop, lambda: any(task.done() for task in tasks))
    assert [task.done() for task in tasks] == [False, False, True]
    assert tasks[2].result() == b"x"
    for task in tasks:
        task.cancel()
    steps(loop, 3)
    assert [task.cancelled() for task in tasks] == [True, True, False]
    # The socket is as good as before.
    theirs.send(b"y")
    assert loop.run_until_complete(reading(loop, call, ours)) == b"y"


def test_both_directions_are_separate(loop, pair):
    ours, theirs = pair
    filled = fill(ours)
    sending = waiting(loop, loop.sock_sendall(ours, b"x" * 10))
    receiving = waiting(loop, loop.sock_recv(ours, 10))
    assert not sending.done()
    theirs.send(b"y")
    assert loop.run_until_complete(receiving) == b"y"
    assert not sending.done()
    assert len(drain(theirs)) == filled
    loop.run_until_complete(sending)
    assert drain(theirs) == b"x" * 10


def test_many_sockets_at_once(loop):
    async def main():
        async def echo(sock):
            while data := await loop.sock_recv(sock, 1000):
                await loop.sock_sendall(sock, data)
            sock.close()

        async def ask(number, sock):
            for turn in range(10):
                await loop.sock_sendall(sock, b"%d %d" % (number, turn))
                assert await loop.sock_recv(sock, 1000) == b"%d %d" % (number, turn)
            sock.close()

        pairs = [connected_pair("socketpair") for _ in range(100)]
        async with asyncio.TaskGroup() as group:
            for number, (ours, theirs) in enumerate(pairs):
                group.create_task(echo(theirs))
                group.create_task(ask(number, ours))

    with none_left(loop):
        loop.run_until_complete(main())


def test_a_pipe_is_no_socket_but_its_number_can_be(loop_factory):
    def scenario(factory):
        loop = factory()
        reader, writer = os.pipe()
        os.write(writer, b"x")
        with socket.socket(fileno=socket.socket().detach()) as sound:
            sound.setblocking(False)
            os.dup2(reader, sound.fileno())
            seen = failure(lambda: loop.run_until_complete(loop.sock_recv(sound, 10)))
        os.close(reader)
        os.close(writer)
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory)[1] == 88
