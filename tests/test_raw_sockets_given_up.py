# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The sock_ calls that are given up, by their caller or by the other side: cancelled and called again, the socket
closed while somebody waits, the peer gone.
"""

import asyncio
import contextlib
import functools
import socket

import pytest
from helpers.compare import like_asyncio
from helpers.connecting import failure
from helpers.descriptors import none_left
from helpers.loops import goes_on, run_once, steps
from helpers.peers import connected_pair, drain, fill
from helpers.scene import until
from helpers.sock_calls import READS, reading, waiting

HOST = "127.0.0.1"


@pytest.fixture
def pair():
    ours, theirs = connected_pair("socketpair")
    with ours, theirs:
        yield ours, theirs


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
