# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""add_reader, add_writer and their removal: level-triggered, one callback a direction, whatever the descriptor is."""

import contextlib
import errno
import gc
import os
import random
import socket
import threading

import pytest
from helpers.blocked import wait_until_blocked
from helpers.compare import like_asyncio, raised
from helpers.loops import goes_on, run_once, steps


@pytest.fixture
def pair():
    with contextlib.ExitStack() as stack:
        ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def test_a_reader_is_called_with_its_arguments(loop, pair):
    ours, theirs = pair
    seen = []

    def callback(*args):
        seen.append((args, ours.recv(10)))
        loop.stop()

    assert loop.add_reader(ours, callback, 1, "two") is None
    loop.call_soon(theirs.send, b"x")
    loop.run_forever()
    assert seen == [((1, "two"), b"x")]
    assert loop.remove_reader(ours) is True
    assert loop.remove_reader(ours) is False


def test_a_blocked_loop_hears_it(loop, pair):
    ours, theirs = pair

    def send():
        wait_until_blocked(threading.main_thread())
        theirs.send(b"x")

    loop.add_reader(ours, loop.stop)
    thread = threading.Thread(target=send)
    thread.start()
    loop.run_forever()
    thread.join()
    loop.remove_reader(ours)


def test_a_writer_is_called_while_there_is_room(loop, pair):
    ours, theirs = pair
    sent = 0

    def write():
        nonlocal sent
        try:
            sent += ours.send(bytes(65536))
        except BlockingIOError:
            loop.stop()

    loop.add_writer(ours, write)
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    full = sent
    assert full > 0
    # No room: no call.
    steps(loop, 5)
    assert sent == full
    while True:
        try:
            theirs.recv(1 << 20)
        except BlockingIOError:
            break
    run_once(loop)
    assert sent > full
    assert loop.remove_writer(ours) is True
    assert loop.remove_writer(ours) is False


def test_level_triggered_what_is_left_is_announced_again(loop, pair):
    ours, theirs = pair
    theirs.send(b"abc")
    seen = []
    loop.add_reader(ours, lambda: seen.append(ours.recv(1)))
    steps(loop, 5)
    assert seen == [b"a", b"b", b"c"]
    loop.remove_reader(ours)


def test_the_last_callback_replaces_the_one_before(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    seen = []
    loop.add_reader(ours, seen.append, "first")
    loop.add_reader(ours, seen.append, "second")
    run_once(loop)
    assert seen == ["second"]
    assert loop.remove_reader(ours) is True
    assert loop.remove_reader(ours) is False


def test_both_directions_are_separate(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    seen = []
    loop.add_reader(ours, seen.append, "read")
    loop.add_writer(ours, seen.append, "write")
    run_once(loop)
    assert sorted(seen) == ["read", "write"]
    assert loop.remove_reader(ours)
    seen.clear()
    run_once(loop)
    assert seen == ["write"]
    loop.add_reader(ours, seen.append, "read")
    assert loop.remove_writer(ours)
    seen.clear()
    run_once(loop)
    assert seen == ["read"]
    assert loop.remove_reader(ours)
    seen.clear()
    run_once(loop)
    assert seen == []


def test_an_object_and_its_number_are_the_same(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    seen = []
    loop.add_reader(ours, seen.append, 1)
    loop.add_reader(ours.fileno(), seen.append, 2)
    run_once(loop)
    assert seen == [2]
    assert loop.remove_reader(ours.fileno())
    assert not loop.remove_reader(ours)


def test_removed_in_its_own_callback(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    seen = []

    def callback():
        seen.append(loop.remove_reader(ours))

    loop.add_reader(ours, callback)
    steps(loop, 3)
    assert seen == [True]


def test_replaced_in_its_own_callback(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    seen = []

    def first():
        seen.append("first")
        loop.add_reader(ours, second)

    def second():
        seen.append("second")
        loop.remove_reader(ours)

    loop.add_reader(ours, first)
    steps(loop, 3)
    assert seen == ["first", "second"]


def test_one_callback_that_removes_the_other(loop):
    with contextlib.ExitStack() as stack:
        pairs = [[stack.enter_context(end) for end in socket.socketpair()] for _ in range(2)]
        seen = []

        def callback(number):
            seen.append(number)
            for ours, _ in pairs:
                loop.remove_reader(ours)

        for number, (ours, theirs) in enumerate(pairs):
            theirs.send(b"x")
            loop.add_reader(ours, callback, number)
        steps(loop, 2)
    assert len(seen) == 1


def test_the_end_of_the_other_side_wakes_both_directions(loop, pair):
    ours, theirs = pair
    seen = set()

    def read():
        seen.add(("read", ours.recv(10)))
        loop.remove_reader(ours)

    def write():
        with contextlib.suppress(BlockingIOError):
            try:
                ours.send(bytes(65536))
            except BrokenPipeError:
                seen.add("broken pipe")
                loop.remove_writer(ours)

    loop.add_reader(ours, read)
    loop.add_writer(ours, write)
    run_once(loop)
    theirs.close()
    while len(seen) < 2:
        run_once(loop)
    assert seen == {("read", b""), "broken pipe"}


def test_pipes_and_their_ends(loop):
    read, write = os.pipe()
    seen = []

    def callback():
        seen.append(os.read(read, 10))
        if not seen[-1]:
            loop.stop()

    loop.add_reader(read, callback)
    loop.add_writer(write, seen.append, "writable")
    run_once(loop)
    loop.remove_writer(write)
    os.write(write, b"x")
    os.close(write)
    loop.run_forever()
    assert seen == ["writable", b"x", b""]
    loop.remove_reader(read)
    os.close(read)


def test_a_writer_hears_that_the_reading_end_is_gone(loop):
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, bytes(4096))
    seen = []

    def callback():
        try:
            os.write(write, b"x")
        except BrokenPipeError:
            seen.append("broken pipe")
            loop.stop()

    loop.add_writer(write, callback)
    loop.call_soon(os.close, read)
    loop.run_forever()
    assert seen == ["broken pipe"]
    loop.remove_writer(write)
    os.close(write)


def test_terminals_and_counters(loop):
    master, slave = os.openpty()
    counter = os.eventfd(0, os.EFD_NONBLOCK)
    seen = []
    loop.add_reader(master, lambda: seen.append(os.read(master, 10)))
    loop.add_reader(counter, lambda: seen.append(os.eventfd_read(counter)))
    os.write(slave, b"x")
    os.eventfd_write(counter, 7)
    while len(seen) < 2:
        run_once(loop)
    assert set(seen) == {b"x", 7}
    for descriptor in (master, slave, counter):
        loop.remove_reader(descriptor)
        os.close(descriptor)


def test_a_listening_socket(loop):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        server.setblocking(False)
        client.setblocking(False)
        accepted = []

        def accept():
            accepted.append(server.accept()[0])

        def connected():
            loop.remove_writer(client)
            assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            accepted.append("connected")

        loop.add_reader(server, accept)
        assert client.connect_ex(server.getsockname()) in (0, errno.EINPROGRESS)
        loop.add_writer(client, connected)
        while len(accepted) < 2:
            run_once(loop)
        loop.remove_reader(server)
        next(end for end in accepted if end != "connected").close()


def test_five_hundred_descriptors(loop):
    with contextlib.ExitStack() as stack:
        pairs = [[stack.enter_context(end) for end in socket.socketpair()] for _ in range(250)]
        rng, seen = random.Random(1), []
        for number, (ours, _) in enumerate(pairs):
            loop.add_reader(ours, lambda number=number, ours=ours: seen.append((number, ours.recv(1))))
        for _ in range(5):
            chosen = rng.sample(range(250), 100)
            for number in chosen:
                pairs[number][1].send(b"x")
            seen.clear()
            while len(seen) < 100:
                run_once(loop)
            assert sorted(number for number, _ in seen) == sorted(chosen)
        for ours, _ in pairs:
            assert loop.remove_reader(ours)


def test_the_number_s_next_owner_gets_no_event_of_the_last(loop):
    seen = []
    for _ in range(50):
        ours, theirs = socket.socketpair()
        number = ours.fileno()
        theirs.send(b"x")
        loop.add_reader(number, seen.append, "old")
        loop.remove_reader(number)
        ours.close()
        theirs.close()
        again, other = socket.socketpair()
        with again, other:
            assert number in (again.fileno(), other.fileno())
            loop.add_reader(number, seen.append, "new")
            run_once(loop)
            loop.remove_reader(number)
    assert seen == []


def test_closed_without_removing_and_the_number_is_used_again(oneloop):
    # asyncio's selector believes that it knows the number still: the first add_reader raises. Ours starts afresh.
    loop, seen = oneloop.new_event_loop(), []
    run_once(loop)  # whatever descriptors it opens for its first run, it has them now
    for _ in range(20):
        ours, theirs = socket.socketpair()
        number = ours.fileno()
        loop.add_reader(number, seen.append, "old")
        ours.close()
        theirs.close()
        run_once(loop)
        again, other = socket.socketpair()
        with again, other:
            assert number == again.fileno()
            loop.add_reader(number, lambda again=again: seen.append(again.recv(1)))
            other.send(b"x")
            run_once(loop)
            loop.remove_reader(number)
    loop.close()
    assert seen == [b"x"] * 20


def test_closed_without_removing_the_loop_goes_on(loop):
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    loop.add_reader(ours, int)
    ours.close()
    theirs.close()
    goes_on(loop)
    raised(lambda: loop.remove_reader(number))
    goes_on(loop)


def test_closed_while_a_duplicate_lives_the_loop_goes_on(oneloop):
    # A level-triggered set goes on announcing the file behind a number that is closed; asyncio goes on calling.
    loop, seen = oneloop.new_event_loop(), []
    ours, theirs = socket.socketpair()
    duplicate = ours.dup()
    with duplicate, theirs:
        loop.add_reader(ours, seen.append, 1)
        loop.remove_reader(ours)
        loop.add_reader(ours, seen.append, 2)
        ours.close()
        loop.remove_reader(duplicate)
        theirs.send(b"x")
        goes_on(loop)
    loop.close()


def test_watchers_survive_between_runs(loop, pair):
    ours, theirs = pair
    seen = []
    loop.add_reader(ours, lambda: seen.append(ours.recv(10)))
    for number in range(5):
        theirs.send(str(number).encode())
        while len(seen) <= number:
            run_once(loop)
    assert b"".join(seen) == b"01234"
    loop.remove_reader(ours)


def test_added_by_a_callback_of_the_same_tick(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    seen = []
    loop.call_soon(loop.add_reader, ours, seen.append, "io")
    run_once(loop)
    assert seen == []
    run_once(loop)
    assert seen == ["io"]
    loop.remove_reader(ours)


def test_a_watcher_keeps_its_callback_and_lets_go_of_it(loop, pair):
    import weakref

    class Callback:
        def __call__(self):
            pass

    ours, _ = pair
    callback = Callback()
    alive = weakref.ref(callback)
    loop.add_reader(ours, callback)
    del callback
    gc.collect()
    assert alive() is not None
    loop.remove_reader(ours)
    assert alive() is None
    replaced = Callback()
    alive = weakref.ref(replaced)
    loop.add_writer(ours, replaced)
    del replaced
    loop.add_writer(ours, int)
    assert alive() is None
    loop.remove_writer(ours)


def test_a_finalizer_of_a_removed_callback_may_use_the_loop(loop, pair):
    ours, _ = pair

    class Callback:
        def __call__(self):
            pass

        def __del__(self):
            loop.call_soon(int)
            loop.remove_reader(ours)
            loop.add_reader(ours, int)

    loop.add_reader(ours, Callback())
    assert loop.remove_reader(ours)
    gc.collect()
    assert loop.remove_reader(ours)
    loop.add_writer(ours, Callback())
    loop.add_writer(ours, int)
    gc.collect()
    assert loop.remove_writer(ours)
    loop.remove_reader(ours)
    goes_on(loop)


def test_random_operations_end_as_with_asyncio(loop_factory):
    def scenario(factory):
        loop, rng, results = factory(), random.Random(4), []
        with contextlib.ExitStack() as stack:
            pairs = [[stack.enter_context(end) for end in socket.socketpair()] for _ in range(6)]
            calls = []
            for step in range(600):
                number = rng.randrange(6)
                ours, theirs = pairs[number]
                match rng.randrange(6):
                    case 0:
                        loop.add_reader(ours, calls.append, (number, "read", step))
                    case 1:
                        loop.add_writer(ours, calls.append, (number, "write", step))
                    case 2:
                        results.append(loop.remove_reader(ours))
                    case 3:
                        results.append(loop.remove_writer(ours))
                    case 4:
                        theirs.send(b"x")
                    case 5:
                        calls.clear()
                        run_once(loop)
                        # The order of several descriptors in one poll is the kernel's.
                        results.append(sorted(calls))
            for ours, _ in pairs:
                loop.remove_reader(ours)
                loop.remove_writer(ours)
        loop.close()
        return results

    assert len(like_asyncio(scenario, loop_factory)) > 200
