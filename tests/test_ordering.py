# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The order in which things run: what was ready, then I/O, then timers; a tick runs its snapshot; one FIFO for
everybody.
"""

import asyncio
import contextlib
import functools
import socket
import threading

import pytest
from helpers.loops import run_once, steps


@pytest.fixture
def pair():
    with contextlib.ExitStack() as stack:
        ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
        ours.setblocking(False)
        yield ours, theirs


def test_what_was_ready_then_io_then_timers(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    order = []
    loop.call_at(loop.time() - 1, order.append, "timer")
    loop.add_reader(ours, order.append, "io")
    loop.call_soon(order.append, "ready")
    run_once(loop)
    assert order == ["ready", "io", "timer"]


def test_an_event_comes_before_a_timer_that_was_due_long_ago(loop, pair):
    ours, theirs = pair
    order = []
    loop.add_reader(ours, lambda: order.append(ours.recv(1)))
    for when in (-3, -2, -1):
        loop.call_at(loop.time() + when, order.append, when)
    theirs.send(b"x")
    run_once(loop)
    assert order == [b"x", -3, -2, -1]


def test_a_reader_runs_before_the_writer_of_the_same_descriptor(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    order = []
    loop.add_writer(ours, order.append, "writer")
    loop.add_reader(ours, order.append, "reader")
    run_once(loop)
    assert order == ["reader", "writer"]


def test_a_tick_runs_its_snapshot_and_no_more(loop):
    order = []

    def again(name):
        order.append(name)
        loop.call_soon(again, name + "'")

    loop.call_soon(again, "a")
    loop.call_soon(again, "b")
    run_once(loop)
    assert order == ["a", "b"]
    run_once(loop)
    assert order == ["a", "b", "a'", "b'"]


def test_stop_lets_the_whole_snapshot_run(loop):
    order = []
    loop.call_soon(order.append, 1)
    loop.call_soon(loop.stop)
    loop.call_soon(order.append, 2)
    loop.call_soon(lambda: loop.call_soon(order.append, 3))
    loop.run_forever()
    assert order == [1, 2]
    run_once(loop)
    assert order == [1, 2, 3]


def test_stop_before_the_run_still_polls_once(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    order = []
    loop.add_reader(ours, order.append, "io")
    loop.call_at(loop.time() - 1, order.append, "timer")
    loop.call_soon(order.append, "ready")
    loop.stop()
    loop.run_forever()
    assert order == ["ready", "io", "timer"]


def test_a_timer_of_no_delay_waits_for_the_next_tick(loop):
    order = []

    def first():
        order.append("first")
        loop.call_later(0, order.append, "timer")
        loop.call_soon(order.append, "soon")

    loop.call_soon(first)
    run_once(loop)
    assert order == ["first"]
    run_once(loop)
    assert order == ["first", "soon", "timer"]


def test_due_timers_run_by_deadline_however_they_were_scheduled(clocked):
    order = []
    for delay in (5, 1, 4, 2, 3):
        clocked.call_later(delay, order.append, delay)
    clocked.advance(10)
    assert order == [1, 2, 3, 4, 5]


def test_timers_of_one_deadline_run_as_they_were_scheduled(oneloop):
    # asyncio leaves this open: its heap is not stable. Ours is ordered by (deadline, sequence), and says so.
    loop = oneloop.new_event_loop()
    order, when = [], loop.time() - 1
    for number in range(1000):
        loop.call_at(when, order.append, number)
    run_once(loop)
    loop.close()
    assert order == list(range(1000))


def test_what_an_earlier_entry_cancels_does_not_run(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    order = []
    timer = loop.call_at(loop.time() - 1, order.append, "timer")
    loop.add_reader(ours, order.append, "io")

    def first():
        order.append("first")
        soon.cancel()

    def second():
        timer.cancel()
        loop.remove_reader(ours)

    loop.call_soon(first)
    soon = loop.call_soon(order.append, "soon")
    loop.call_soon(second)
    run_once(loop)
    assert order == ["first"]


def test_io_and_timers_are_not_starved_by_callbacks(loop, pair):
    ours, theirs = pair
    seen = set()

    def busy():
        if seen != {"io", "timer", "thread"}:
            loop.call_soon(busy)
        else:
            loop.stop()

    def from_a_thread():
        theirs.send(b"x")
        loop.call_soon_threadsafe(seen.add, "thread")

    loop.add_reader(ours, lambda: seen.add("io"))
    loop.call_later(0.001, seen.add, "timer")
    loop.call_soon(busy)
    thread = threading.Thread(target=from_a_thread)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()


def test_callbacks_are_not_starved_by_io(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    order = []
    # Level-triggered and never read: ready in every tick.
    loop.add_reader(ours, order.append, "io")
    loop.call_soon(order.append, 1)
    run_once(loop)
    loop.call_soon(order.append, 2)
    run_once(loop)
    assert order == [1, "io", 2, "io"]


def test_threadsafe_and_local_calls_are_one_fifo(loop):
    order = []
    for number in range(0, 100, 2):
        loop.call_soon_threadsafe(order.append, number)
        loop.call_soon(order.append, number + 1)
    run_once(loop)
    assert order == list(range(100))


def test_another_thread_s_call_comes_before_a_later_local_one(loop):
    order = []

    def callback():
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(order.append, "thread"))
        loop.call_soon(order.append, "before")
        thread.start()
        thread.join()
        loop.call_soon(order.append, "after")

    loop.call_soon(callback)
    steps(loop, 2)
    assert order == ["before", "thread", "after"]


def test_another_thread_s_call_to_a_stopped_loop_keeps_its_place(loop):
    order = []
    loop.call_soon(order.append, 1)
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(order.append, 2))
    thread.start()
    thread.join()
    loop.call_soon(order.append, 3)
    run_once(loop)
    assert order == [1, 2, 3]


def test_a_timer_of_no_delay_does_not_overtake_what_a_transport_can_read(loop, pair):
    ours, theirs = pair
    seen = []

    class Reads(asyncio.Protocol):
        def data_received(self, data):
            seen.append(data)

    def turn(number):
        seen.append(number)
        if number < 5:
            theirs.send(b"x")
            loop.call_later(0, turn, number + 1)
        else:
            loop.stop()

    transport, _ = loop.run_until_complete(loop.create_connection(Reads, sock=ours))
    loop.call_soon(turn, 1)
    loop.run_forever()
    assert seen == [1, b"x", 2, b"x", 3, b"x", 4, b"x", 5]
    transport.abort()
    run_once(loop)


def test_a_future_s_callbacks_run_in_the_order_they_were_added(loop):
    order = []
    future = loop.create_future()
    for number in range(5):
        future.add_done_callback(functools.partial(lambda number, _: order.append(number), number))
    loop.call_soon(future.set_result, None)
    run_once(loop)
    assert order == []
    run_once(loop)
    assert order == [0, 1, 2, 3, 4]


def test_tasks_take_turns(loop):
    order = []

    async def worker(name):
        for step in range(3):
            order.append((name, step))
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(worker(name) for name in "abc"))

    loop.run_until_complete(main())
    assert order == [(name, step) for step in range(3) for name in "abc"]


def test_a_task_starts_in_the_place_of_its_creation(loop):
    order = []

    async def task():
        order.append("task")

    loop.call_soon(order.append, "before")
    kept = loop.create_task(task())
    loop.call_soon(order.append, "after")
    run_once(loop)
    assert order == ["before", "task", "after"]
    assert kept.done()


def test_a_waiter_is_woken_one_tick_after_its_future(loop):
    order = []
    future = loop.create_future()

    async def waiter():
        await future
        order.append("woken")

    task = loop.create_task(waiter())
    run_once(loop)
    loop.call_soon(future.set_result, None)
    loop.call_soon(order.append, "same tick")
    run_once(loop)
    assert order == ["same tick"]
    loop.call_soon(order.append, "next tick")
    run_once(loop)
    assert order == ["same tick", "woken", "next tick"]
    assert task.done()


def test_run_until_complete_runs_one_tick_after_the_result(loop):
    order = []

    async def main():
        loop.call_soon(order.append, 1)
        loop.call_soon(loop.call_soon, order.append, 2)
        loop.call_soon(loop.call_soon, loop.call_soon, order.append, 3)

    loop.run_until_complete(main())
    # The task ends in the first tick, its done callback stops the loop in the second.
    assert order == [1]
    run_once(loop)
    assert order == [1, 2]
    run_once(loop)
    assert order == [1, 2, 3]


def test_what_a_callback_sends_is_readable_in_the_next_tick(loop, pair):
    ours, theirs = pair
    seen = []

    def readable():
        seen.append(ours.recv(1))

    def turn(number):
        seen.append(number)
        if number == 3:
            theirs.send(b"x")
        if number < 6:
            loop.call_soon(turn, number + 1)
        else:
            loop.stop()

    loop.add_reader(ours, readable)
    loop.call_soon(turn, 1)
    loop.run_forever()
    assert seen == [1, 2, 3, 4, b"x", 5, 6]
