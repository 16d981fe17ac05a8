# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""`sock_*` calls on one descriptor again and again, whatever its owner does to it in between.

What the loop keeps of a descriptor between two calls must never be visible: it is asyncio's behaviour that a call
waits for the file that the number is of when it begins to wait.
"""

import asyncio
import contextlib
import gc
import os
import socket

import pytest

ROUNDS = 3


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


async def waits(coroutine):
    task = asyncio.ensure_future(coroutine)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def received_late(loop, ours, theirs, data=b"x"):
    """Receive what comes only once the call waits for it."""
    task = await waits(loop.sock_recv(ours, 100))
    theirs.send(data)
    assert await asyncio.wait_for(task, 10) == data


def test_a_socket_that_has_the_number_of_one_that_was_closed(loop):
    async def main():
        numbers = set()
        for _ in range(5):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            with ours, theirs:
                numbers.add(ours.fileno())
                for _ in range(ROUNDS):
                    await received_late(loop, ours, theirs)
        assert len(numbers) < 5

    loop.run_until_complete(main())


def test_another_file_under_the_number(loop, pair):
    async def main():
        ours, theirs = pair
        await received_late(loop, ours, theirs)
        other, its_peer = socket.socketpair()
        with other, its_peer:
            other.setblocking(False)
            os.dup2(other.fileno(), ours.fileno())
            for _ in range(ROUNDS):
                await received_late(loop, ours, its_peer)

    loop.run_until_complete(main())


def test_a_duplicate_that_comes_back_to_the_number(loop, pair):
    async def main():
        ours, theirs = pair
        await received_late(loop, ours, theirs)
        other, its_peer = socket.socketpair()
        other.setblocking(False)
        with other, its_peer, ours.dup() as duplicate:
            os.dup2(other.fileno(), ours.fileno())
            await received_late(loop, ours, its_peer)
            os.dup2(duplicate.fileno(), ours.fileno())
            for _ in range(ROUNDS):
                await received_late(loop, ours, theirs)

    loop.run_until_complete(main())


def test_a_duplicate_that_lives_on_is_heard_of_no_more(loop, pair):
    async def main():
        ours, theirs = pair
        await received_late(loop, ours, theirs)
        seen = []
        with ours.dup() as duplicate:
            number = ours.fileno()
            ours.close()
            theirs.send(b"for the duplicate")
            other, its_peer = socket.socketpair()
            with other, its_peer:
                other.setblocking(False)
                assert number in (other.fileno(), its_peer.fileno())
                loop.add_reader(other, lambda: seen.append(other.recv(100)))
                for _ in range(5):
                    await asyncio.sleep(0.001)
                assert seen == []
                its_peer.send(b"y")
                while not seen:
                    await asyncio.sleep(0)
                assert seen == [b"y"]
                loop.remove_reader(other)
            assert duplicate.recv(100) == b"for the duplicate"

    loop.run_until_complete(main())


def test_a_callback_between_two_calls(loop, pair):
    async def main():
        ours, theirs = pair
        for _ in range(ROUNDS):
            await received_late(loop, ours, theirs)
            seen = []
            loop.add_reader(ours, lambda seen=seen: seen.append(ours.recv(100)))
            for part in (b"a", b"b"):
                theirs.send(part)
                while part not in seen:
                    await asyncio.sleep(0)
            assert loop.remove_reader(ours)
            assert not loop.remove_reader(ours)

    loop.run_until_complete(main())


def test_a_transport_over_a_socket_that_was_waited_for(loop, pair):
    async def main():
        ours, theirs = pair
        await received_late(loop, ours, theirs)
        await (await sent_late(loop, ours, theirs))
        reader, writer = await asyncio.open_connection(sock=ours)
        for _ in range(ROUNDS):
            theirs.send(b"x")
            assert await asyncio.wait_for(reader.readexactly(1), 10) == b"x"
        writer.close()
        await writer.wait_closed()

    loop.run_until_complete(main())


async def sent_late(loop, ours, theirs):
    """Fill the socket, and have the rest sent once there is room."""
    data = bytes(2**20)
    task = await waits(loop.sock_sendall(ours, data))
    left = len(data)
    while left:
        with contextlib.suppress(BlockingIOError):
            left -= len(theirs.recv(2**16, socket.MSG_DONTWAIT))
        await asyncio.sleep(0)
    return task


def test_both_directions_at_once_and_again(loop, pair):
    async def main():
        ours, theirs = pair
        for _ in range(ROUNDS):
            reading = await waits(loop.sock_recv(ours, 100))
            writing = await sent_late(loop, ours, theirs)
            await asyncio.wait_for(writing, 10)
            assert not reading.done()
            theirs.send(b"x")
            assert await asyncio.wait_for(reading, 10) == b"x"

    loop.run_until_complete(main())


def test_a_call_that_was_given_up_takes_nothing_and_the_next_one_waits(loop, pair):
    async def main():
        ours, theirs = pair
        for _ in range(ROUNDS):
            task = await waits(loop.sock_recv(ours, 100))
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await received_late(loop, ours, theirs)

    loop.run_until_complete(main())


def test_two_loops_take_turns_with_a_socket(loop_factory, pair):
    ours, theirs = pair
    with contextlib.closing(loop_factory()) as one, contextlib.closing(loop_factory()) as other:
        for _ in range(ROUNDS):
            for loop in (one, other):
                loop.run_until_complete(received_late(loop, ours, theirs))


@pytest.mark.parametrize("size", [1, 32 * 1024, 32 * 1024 + 1, 65536, 256 * 1024, 256 * 1024 + 1])
def test_what_was_received_stays_as_it_was(loop, size):
    """Small and large messages by turns, all of them kept: no two share memory."""

    async def main():
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
            kept = []
            for turn in range(20):
                length = min(size, 50_000) if turn % 2 else min(size, 7)
                message = bytes([65 + turn]) * length
                theirs.sendall(message)
                received = await loop.sock_recv(ours, size)
                assert len(received) == length
                kept.append((received, message))
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0):
                        await loop.sock_recv(ours, size)
            gc.collect()
            for received, message in kept:
                assert received == message
                assert type(received) is bytes
                assert hash(received) == hash(message)

    loop.run_until_complete(main())
