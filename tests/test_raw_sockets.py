# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The sock_ calls: what they return, when they wait, what several of them at one socket see, and how they can be
cancelled and called again."""

import asyncio
import contextlib
import functools
import os
import random
import socket

import pytest
from helpers.compare import like_asyncio
from helpers.connecting import failure
from helpers.descriptors import none_left
from helpers.loops import goes_on, run_once, steps
from helpers.peers import KINDS, abstract_name, connected_pair, drain, fill
from helpers.scene import until

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


def waiting(loop, coroutine):
    """A task that had the time to get to where it waits."""
    task = loop.create_task(coroutine)
    steps(loop, 3)
    return task


READS = {
    "sock_recv": (lambda loop, sock: loop.sock_recv(sock, 100), lambda result, buffer: result),
    "sock_recv_into": (lambda loop, sock, buffer: loop.sock_recv_into(sock, buffer), lambda n, buffer: buffer[:n]),
    "sock_recvfrom": (lambda loop, sock: loop.sock_recvfrom(sock, 100), lambda result, buffer: result[0]),
    "sock_recvfrom_into": (
        lambda loop, sock, buffer: loop.sock_recvfrom_into(sock, buffer),
        lambda result, buffer: buffer[: result[0]],
    ),
}


def reading(loop, call, sock):
    """The call as a coroutine that returns the bytes."""
    start, get = READS[call]
    buffer = bytearray(100)

    async def read():
        result = await (start(loop, sock, buffer) if "into" in call else start(loop, sock))
        return bytes(get(result, buffer))

    return read()


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


WAITS = {
    **{name: functools.partial(lambda name, loop, ours: reading(loop, name, ours), name) for name in READS},
    "sock_sendall": lambda loop, ours: loop.sock_sendall(ours, b"x" * 10),
    "sock_sendto": lambda loop, ours: loop.sock_sendto(ours, b"x" * 10, ""),
}


@pytest.mark.parametrize("call", [name for name in WAITS if name != "sock_sendto"])
def test_cancelled_and_called_again(loop, pair, call):
    ours, theirs = pair
    filled = fill(ours)
    for _ in range(3):
        task = waiting(loop, WAITS[call](loop, ours))
        assert not task.done()
        task.cancel("why")
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        # Nothing of it is left: the number can be watched, and is not.
        assert loop.remove_reader(ours) is False
        assert loop.remove_writer(ours) is False
    theirs.send(b"y")
    assert len(drain(theirs)) == filled
    assert loop.run_until_complete(WAITS[call](loop, ours)) in (b"y", None)
    assert drain(theirs) == (b"x" * 10 if call == "sock_sendall" else b"")


@pytest.mark.parametrize("call", READS)
def test_cancelled_when_the_data_has_come_nothing_is_lost(oneloop, pair, call):
    # asyncio may have taken it from the kernel by then, and nobody gets it.
    loop = oneloop.new_event_loop()
    ours, theirs = pair
    for delay in range(6):
        task = waiting(loop, reading(loop, call, ours))
        theirs.send(b"precious")
        steps(loop, delay)
        task.cancel()
        steps(loop, 3)
        assert task.done()
        received = task.result() if not task.cancelled() else loop.run_until_complete(reading(loop, call, ours))
        assert received == b"precious"
    loop.close()


def test_an_accept_that_is_cancelled_loses_no_connection(oneloop):
    loop = oneloop.new_event_loop()
    with none_left(loop), socket.create_server((HOST, 0)) as listener:
        listener.setblocking(False)
        for delay in range(6):
            task = waiting(loop, loop.sock_accept(listener))
            with socket.create_connection(listener.getsockname()) as client:
                steps(loop, delay)
                task.cancel()
                steps(loop, 3)
                if task.cancelled():
                    task = loop.create_task(loop.sock_accept(listener))
                end, address = loop.run_until_complete(asyncio.wait_for(task, 5))
                assert address == client.getsockname()
                end.close()
    loop.close()


def test_a_send_that_is_cancelled_half_way_can_be_gone_on_with(loop, pair):
    # How much of it was sent nobody says, as in asyncio; but it is a beginning of it and nothing else.
    ours, theirs = pair
    data = bytes(number % 251 for number in range(1_000_000))
    task = waiting(loop, loop.sock_sendall(ours, data))
    received = theirs.recv(50_000)
    steps(loop, 3)
    task.cancel()
    steps(loop, 2)
    received += drain(theirs)
    assert 50_000 < len(received) < len(data)
    assert data.startswith(received)
    loop.run_until_complete(loop.sock_sendall(ours, b"goes on"))
    assert drain(theirs) == b"goes on"


def test_a_connect_that_is_cancelled(loop):
    with none_left(loop), contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind((HOST, 0))
        full.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        client = stack.enter_context(socket.socket())
        client.setblocking(False)
        task = waiting(loop, loop.sock_connect(client, full.getsockname()))
        assert not task.done()
        task.cancel()
        steps(loop, 2)
        assert task.cancelled()
        # The socket is its owner's, who closes it.
        assert client.fileno() != -1
        assert loop.remove_writer(client) is False


def test_closed_while_somebody_waits(loop):
    # Nobody is told, as in asyncio. To cancel does no harm, even if the number belongs to somebody else by then.
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    with theirs:
        ours.setblocking(False)
        task = waiting(loop, loop.sock_recv(ours, 10))
        ours.close()
        steps(loop, 3)
        assert not task.done()
    again, other = socket.socketpair()
    with again, other:
        assert number in (again.fileno(), other.fileno())
        task.cancel()
        steps(loop, 3)
        assert task.cancelled()
        goes_on(loop)


def test_closed_while_somebody_waits_and_the_number_is_used_again(oneloop):
    loop, seen = oneloop.new_event_loop(), []
    run_once(loop)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    task = waiting(loop, loop.sock_recv(ours, 10))
    number = ours.fileno()
    ours.close()
    theirs.close()
    steps(loop, 2)
    again, other = socket.socketpair()
    with again, other:
        assert again.fileno() == number
        loop.add_reader(again, lambda: seen.append(again.recv(100)))
        task.cancel()
        steps(loop, 3)
        other.send(b"for the new owner")
        until(loop, lambda: seen)
        assert seen == [b"for the new owner"]
        assert loop.remove_reader(again) is True
    loop.close()


def test_the_peer_leaves_while_somebody_waits(loop_factory):
    def scenario(factory):
        loop, seen = factory(), []
        for call in ("sock_recv", "sock_sendall"):
            ours, theirs = connected_pair("socketpair")
            with ours:
                if call == "sock_sendall":
                    fill(ours)
                task = waiting(loop, WAITS[call](loop, ours))
                theirs.close()
                seen.append(failure(lambda task=task: loop.run_until_complete(task)))
                seen.append(failure(lambda ours=ours: loop.run_until_complete(loop.sock_sendall(ours, b"x"))))
        loop.close()
        return seen

    seen = like_asyncio(scenario, loop_factory)
    assert seen == [b"", *[("BrokenPipeError", 32, "[Errno 32] Broken pipe")] * 3]


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
