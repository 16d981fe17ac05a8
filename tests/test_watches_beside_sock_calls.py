# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""One descriptor, a callback of `add_reader` or `add_writer`, and `sock_*` calls that wait for it.

asyncio has room for one of them in each direction. What it does with the one that came last is ours to do; what it
forgets, waits on here, so the tests of that run on oneloop's loop only.
"""

import contextlib
import socket
import time

import pytest
from helpers.compare import like_asyncio
from helpers.loops import goes_on, run_once, steps


@contextlib.contextmanager
def connected():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


@pytest.fixture
def pair():
    with connected() as pair:
        yield pair


@pytest.fixture
def ours_only(oneloop):
    loop = oneloop.new_event_loop()
    run_once(loop)
    yield loop
    loop.close()


def waiting(loop, coroutine):
    task = loop.create_task(coroutine)
    run_once(loop)
    assert not task.done()
    return task


def until(loop, condition, limit=10):
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline
        run_once(loop)


def test_a_call_that_waits_ends_the_callback_that_was_there(loop_factory):
    def scenario(factory):
        loop, seen = factory(), []
        with connected() as (ours, theirs):
            loop.add_reader(ours, lambda: seen.append("callback"))
            task = waiting(loop, loop.sock_recv(ours, 1))
            theirs.send(b"x")
            until(loop, task.done)
            theirs.send(b"y")
            steps(loop, 2)
            seen.append((task.result(), loop.remove_reader(ours)))
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == [(b"x", False)]


def test_a_call_that_does_not_wait_leaves_the_callback_alone(loop_factory):
    def scenario(factory):
        loop, seen = factory(), []
        with connected() as (ours, theirs):
            theirs.send(b"xy")
            loop.add_reader(ours, lambda: seen.append("callback"))
            seen.append(loop.run_until_complete(loop.sock_recv(ours, 1)))
            seen.append(loop.remove_reader(ours))
        loop.close()
        return seen[-2:]

    assert like_asyncio(scenario, loop_factory) == [b"x", True]


def test_a_call_that_is_cancelled_leaves_no_watch(loop_factory):
    def scenario(factory):
        loop, seen = factory(), []
        with connected() as (ours, theirs):
            loop.add_reader(ours, lambda: seen.append("callback"))
            task = waiting(loop, loop.sock_recv(ours, 1))
            task.cancel()
            steps(loop, 3)
            theirs.send(b"x")
            steps(loop, 2)
            seen.append((task.cancelled(), loop.remove_reader(ours)))
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == [(True, False)]


def test_the_other_directions_callback_stays(loop_factory):
    def scenario(factory):
        loop, seen = factory(), []
        with connected() as (ours, theirs):
            loop.add_writer(ours, lambda: seen.append("can be written") or loop.remove_writer(ours))
            task = waiting(loop, loop.sock_recv(ours, 1))
            until(loop, lambda: seen)
            theirs.send(b"x")
            until(loop, task.done)
            seen.append((task.result(), loop.remove_reader(ours), loop.remove_writer(ours)))
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == ["can be written", (b"x", False, False)]


def test_a_callback_that_is_added_meanwhile_is_called(loop_factory):
    def scenario(factory):
        loop, seen = factory(), []
        with connected() as (ours, theirs):
            task = waiting(loop, loop.sock_recv(ours, 1))
            loop.add_reader(ours, lambda: seen.append(ours.recv(1)))
            theirs.send(b"x")
            until(loop, lambda: seen)
            task.cancel()
            steps(loop, 3)
            # Whoever waited and does no more, does not take the callback with it.
            theirs.send(b"y")
            until(loop, lambda: len(seen) > 1)
            seen.append((task.cancelled(), loop.remove_reader(ours), loop.remove_reader(ours)))
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == [b"x", b"y", (True, True, False)]


def test_removing_answers_that_there_was_somebody(loop_factory):
    def scenario(factory):
        loop = factory()
        with connected() as (ours, _):
            task = waiting(loop, loop.sock_recv(ours, 1))
            seen = loop.remove_reader(ours), loop.remove_writer(ours)
            task.cancel()
            steps(loop, 3)
            seen = *seen, loop.remove_reader(ours)
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == (True, False, False)


# -- what asyncio forgets ----------------------------------------------------------------------


def test_a_call_goes_on_waiting_beside_a_callback_that_is_added(ours_only, pair):
    loop, (ours, theirs), seen = ours_only, pair, []
    tasks = [waiting(loop, loop.sock_recv(ours, 1)) for _ in range(2)]
    loop.add_reader(ours, seen.append, "callback")
    theirs.send(b"xy")
    until(loop, lambda: all(task.done() for task in tasks))
    assert sorted(task.result() for task in tasks) == [b"x", b"y"]
    assert seen
    assert loop.remove_reader(ours) is True
    seen.clear()
    theirs.send(b"z")
    steps(loop, 3)
    assert seen == []
    assert loop.run_until_complete(loop.sock_recv(ours, 1)) == b"z"


def test_one_callback_after_another_beside_a_call(ours_only, pair):
    loop, (ours, theirs), seen = ours_only, pair, []
    task = waiting(loop, loop.sock_recv(ours, 1))
    for name in "abc":
        loop.add_reader(ours, seen.append, name)
    theirs.send(b"x")
    until(loop, task.done)
    assert set(seen) == {"c"}
    assert loop.remove_reader(ours) is True


def test_a_call_goes_on_waiting_when_the_watch_is_removed(ours_only, pair):
    loop, (ours, theirs) = ours_only, pair
    tasks = [waiting(loop, loop.sock_recv(ours, 1)) for _ in range(2)]
    assert loop.remove_reader(ours) is True
    steps(loop, 3)
    loop.add_reader(ours, lambda: None)
    assert loop.remove_reader(ours) is True
    steps(loop, 3)
    assert not any(task.done() for task in tasks)
    theirs.send(b"xy")
    until(loop, lambda: all(task.done() for task in tasks))
    assert loop.remove_reader(ours) is False


def test_a_connect_is_not_over_when_the_watch_is_removed(ours_only):
    loop = ours_only
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        late = []
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            task = loop.create_task(loop.sock_connect(sock, full.getsockname()))
            steps(loop, 4)
            late = [(sock, task)] if not task.done() else late
        ((sock, task),) = late
        assert loop.remove_writer(sock) is True
        steps(loop, 4)
        assert not task.done()
        task.cancel()
        steps(loop, 3)
        assert loop.remove_writer(sock) is False


@pytest.mark.parametrize("count", [2, 5])
def test_each_of_several_calls_is_served(ours_only, pair, count):
    loop, (ours, theirs) = ours_only, pair
    tasks = [waiting(loop, loop.sock_recv(ours, 1)) for _ in range(count)]
    for number in range(count):
        theirs.send(b"%d" % number)
        until(loop, lambda number=number: sum(task.done() for task in tasks) == number + 1)
    # The latest first, as with asyncio.
    assert tasks[-1].result() == b"0"
    assert sorted(task.result() for task in tasks) == [b"%d" % number for number in range(count)]
    assert loop.remove_reader(ours) is False


def test_several_calls_of_which_one_is_cancelled(ours_only, pair):
    loop, (ours, theirs) = ours_only, pair
    tasks = [waiting(loop, loop.sock_recv(ours, 1)) for _ in range(3)]
    tasks[2].cancel()
    steps(loop, 3)
    theirs.send(b"xy")
    until(loop, lambda: all(task.done() for task in tasks))
    assert tasks[2].cancelled()
    assert {tasks[0].result(), tasks[1].result()} == {b"x", b"y"}


@pytest.mark.parametrize("delay", range(4))
def test_whoever_is_woken_and_cancelled_passes_nothing_by(ours_only, pair, delay):
    # The latest is woken for the byte, and is cancelled before it takes it: the other one gets it.
    loop, (ours, theirs) = ours_only, pair
    one, two = (waiting(loop, loop.sock_recv(ours, 1)) for _ in range(2))
    theirs.send(b"x")
    steps(loop, delay)
    two.cancel()
    until(loop, two.done)
    if not two.cancelled():
        assert two.result() == b"x"
        theirs.send(b"x")
    until(loop, one.done)
    assert one.result() == b"x"


# -- numbers that change hands -----------------------------------------------------------------


def test_a_duplicate_keeps_a_closed_socket_ready(loop_factory):
    def scenario(factory):
        loop = factory()
        with connected() as (ours, theirs):
            task = waiting(loop, loop.sock_recv(ours, 1))
            with ours.dup() as duplicate:
                ours.close()
                theirs.send(b"x")
                until(loop, task.done)
                seen = type(task.exception()).__name__, task.exception().errno
                loop.call_later(0.05, loop.stop)
                loop.run_forever()
                seen = *seen, loop.run_until_complete(loop.sock_recv(duplicate, 1))
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == ("OSError", 9, b"x")


def test_it_does_not_spin_for_a_duplicate(ours_only, pair):
    loop, (ours, theirs) = ours_only, pair
    task = waiting(loop, loop.sock_recv(ours, 1))
    with ours.dup():
        ours.close()
        theirs.send(b"x")
        until(loop, task.done)
        assert isinstance(task.exception(), OSError)
        steps(loop, 3)
        before = time.process_time()
        loop.call_later(0.2, loop.stop)
        loop.run_forever()
        assert time.process_time() - before < 0.1


def test_a_number_that_another_socket_has_by_now(ours_only, pair):
    # Who waited for the closed one learns it as soon as somebody waits for that number.
    loop, (ours, theirs) = ours_only, pair
    number = ours.fileno()
    old = waiting(loop, loop.sock_recv(ours, 1))
    ours.close()
    theirs.close()
    with connected() as (again, other):
        assert again.fileno() == number
        new = waiting(loop, loop.sock_recv(again, 1))
        other.send(b"x")
        until(loop, new.done)
        assert new.result() == b"x"
        until(loop, old.done)
        assert isinstance(old.exception(), OSError)
        assert old.exception().errno == 9


def test_a_stranger_is_left_alone_when_the_old_wait_ends(ours_only, pair):
    loop, (ours, theirs), seen = ours_only, pair, []
    number = ours.fileno()
    old = waiting(loop, loop.sock_recv(ours, 1))
    ours.close()
    theirs.close()
    with connected() as (again, other):
        assert again.fileno() == number
        loop.add_reader(again, lambda: seen.append(again.recv(1)))
        old.cancel()
        steps(loop, 3)
        assert old.cancelled()
        other.send(b"x")
        until(loop, lambda: seen)
        assert seen == [b"x"]
        assert loop.remove_reader(again) is True
    goes_on(loop)
