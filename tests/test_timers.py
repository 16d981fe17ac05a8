# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Timers: never early, in order of their deadlines, a hundred thousand of them, and gone when they are cancelled."""

import gc
import heapq
import random
import threading
import weakref

import pytest
from helpers.blocked import wait_until_blocked
from helpers.loops import run_once

MANY = 100_000


def test_a_hundred_thousand_timers_fire_in_order(clocked):
    rng = random.Random(1)
    start, fired = clocked.time(), []
    # Multiples of 1/1024 are exact floats; the clock stops between them, so that "due" has no edge.
    delays = [rng.randrange(1024 * 1024) / 1024 for _ in range(MANY)]
    for delay in delays:
        clocked.call_at(start + delay, fired.append, delay)
    remaining = sorted(delays)
    for step in range(16, 1024, 16):
        clocked.now = start + step + 1 / 2048
        run_once(clocked)
        assert len(fired) < MANY
        assert fired[-1] <= step < remaining[len(fired)]
    clocked.now = start + 1024
    run_once(clocked)
    assert fired == remaining


def test_a_hundred_thousand_cancelled_timers_are_given_back(clocked):
    class Argument:
        pass

    kept = []
    clocked.call_later(1, kept.append, "survivor")
    argument = Argument()
    timers = [clocked.call_later(3600 + number, kept.append, argument) for number in range(MANY)]
    handles = [weakref.ref(timer) for timer in timers]
    argument = weakref.ref(argument)
    for timer in timers:
        timer.cancel()
    del timers, timer
    # A cancelled timer keeps nothing alive, not even before the loop has looked at it again.
    assert argument() is None
    run_once(clocked)
    # asyncio's own bound: up to a hundred may wait for their deadline.
    assert sum(handle() is not None for handle in handles) <= 100
    clocked.advance(2)
    assert kept == ["survivor"]


def test_setting_and_cancelling_does_not_grow_the_process(clocked):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    def churn():
        for timer in [clocked.call_later(3600, print) for _ in range(20_000)]:
            timer.cancel()
        run_once(clocked)

    gc.collect()
    for _ in range(3):
        churn()
    before = resident()
    for _ in range(12):
        churn()
    # A leak of 32 bytes a timer would be 7.7 MB.
    assert resident() - before < 6_000_000


def test_cancelling_most_keeps_the_order_of_the_rest(clocked):
    rng = random.Random(2)
    fired = []
    timers = [(delay, clocked.call_later(delay, fired.append, delay)) for delay in rng.sample(range(1, 20_000), 10_000)]
    rng.shuffle(timers)
    for _, timer in timers[:9_000]:
        timer.cancel()
    clocked.advance(30_000)
    assert fired == sorted(delay for delay, _ in timers[9_000:])


@pytest.mark.parametrize("seed", range(5))
def test_random_operations_against_a_naive_model(clocked, seed):
    rng = random.Random(seed)
    fired, expected = [], []
    model, handles = [], {}
    for number in range(4_000):
        choice = rng.random()
        if choice < 0.55:
            # A deadline of its own for each: the order of equal ones is nobody's promise.
            when = clocked.time() + rng.randrange(100) + number / 8192
            handles[number] = clocked.call_at(when, fired.append, number)
            heapq.heappush(model, (when, number))
        elif choice < 0.85 and handles:
            gone = rng.choice(list(handles))
            handles.pop(gone).cancel()
            model = [entry for entry in model if entry[1] != gone]
            heapq.heapify(model)
        else:
            clocked.advance(rng.randrange(8))
            while model and model[0][0] <= clocked.time():
                expected.append(heapq.heappop(model)[1])
                del handles[expected[-1]]
            assert fired == expected
    assert len(expected) > 500


def test_a_timer_is_never_early(loop):
    early = []
    pending = 50

    def check(when):
        nonlocal pending
        pending -= 1
        # asyncio counts a timer as due within the resolution of the clock.
        if loop.time() < when - 1e-9:
            early.append(when - loop.time())
        if not pending:
            loop.stop()

    for number in range(pending):
        when = loop.time() + number * 0.00037
        loop.call_at(when, check, when)
    loop.run_forever()
    assert early == []


def test_the_first_of_several_deadlines_ends_the_wait(loop):
    order = []
    loop.call_later(3600, order.append, "an hour")
    loop.call_later(0.01, loop.stop)
    loop.call_later(0.005, order.append, "soon")
    loop.run_forever()
    assert order == ["soon"]


def test_a_cancelled_head_does_not_hold_up_the_wait(loop):
    loop.call_later(0.001, loop.stop).cancel()
    seen = []
    loop.call_later(0.005, seen.append, 1)
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    assert seen == [1]


def test_a_timer_set_while_waiting_for_a_later_one_shortens_the_wait(loop):
    def from_a_thread():
        wait_until_blocked(threading.main_thread())
        loop.call_soon_threadsafe(loop.call_later, 0.001, loop.stop)

    loop.call_later(3600, print)
    thread = threading.Thread(target=from_a_thread)
    thread.start()
    loop.run_forever()
    thread.join()


def test_cancel_is_idempotent_and_harmless_afterwards(clocked):
    fired = []
    timer = clocked.call_later(1, fired.append, 1)
    other = clocked.call_later(1, fired.append, 2)
    other.cancel()
    other.cancel()
    clocked.advance(2)
    timer.cancel()
    timer.cancel()
    assert fired == [1]
    assert timer.cancelled()
    assert other.cancelled()
    clocked.advance(2)
    assert fired == [1]


def test_a_timer_that_cancels_the_next_one_of_its_tick(clocked):
    fired = []

    def first():
        fired.append(1)
        second.cancel()

    clocked.call_later(1, first)
    second = clocked.call_later(2, fired.append, 2)
    clocked.call_later(3, fired.append, 3)
    clocked.advance(5)
    assert fired == [1, 3]


def test_a_timer_that_sets_itself_again_does_not_starve_others(clocked):
    fired = []

    def again():
        fired.append("again")
        clocked.call_at(clocked.time(), again)

    clocked.call_soon(again)
    clocked.call_later(1, fired.append, "other")
    clocked.advance(2)
    clocked.advance(0)
    clocked.advance(0)
    assert fired.count("other") == 1
    assert fired.count("again") == 3


def test_a_clock_that_stands_still_or_goes_back_fires_nothing(clocked):
    fired = []
    clocked.call_later(1, fired.append, 1)
    clocked.advance(0.5)
    clocked.advance(0)
    clocked.advance(-100)
    assert fired == []
    clocked.advance(101)
    assert fired == [1]


def test_a_deadline_in_the_past_is_due_at_once(clocked):
    fired = []
    clocked.call_at(0, fired.append, 0)
    clocked.call_at(-1e9, fired.append, -1e9)
    run_once(clocked)
    assert fired == [-1e9, 0]


@pytest.mark.parametrize("delay", [86_400 * 365, 1e12, 1e300, float("inf")])
def test_a_deadline_too_far_for_the_kernel_is_only_far(loop, delay):
    seen = []
    loop.call_later(delay, seen.append, "far")
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert seen == []


def test_waiting_for_nothing_but_a_far_deadline_can_be_ended(loop):
    def from_a_thread():
        wait_until_blocked(threading.main_thread())
        loop.call_soon_threadsafe(loop.stop)

    loop.call_later(1e300, print)
    thread = threading.Thread(target=from_a_thread)
    thread.start()
    loop.run_forever()
    thread.join()


def test_when_is_what_was_asked_for(clocked):
    assert clocked.call_later(5, print).when() == clocked.time() + 5
    assert clocked.call_at(1234, print).when() == 1234
    assert clocked.call_at(0.1, print).when() == 0.1


def test_timers_survive_between_runs(clocked):
    fired = []
    clocked.call_later(10, fired.append, 1)
    clocked.advance(5)
    clocked.advance(4)
    assert fired == []
    clocked.advance(2)
    assert fired == [1]
