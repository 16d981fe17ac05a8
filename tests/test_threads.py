# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Threads: nothing that they hand over is lost, and a loop used from the wrong one does what asyncio's does.

In debug mode a wrong thread is refused; otherwise it works as far as asyncio's does, and nothing crashes. A loop may
be made in one thread, run in another and closed in a third.
"""

import asyncio
import gc
import queue
import random
import threading
import weakref

import pytest
from helpers.blocked import wait_until_blocked
from helpers.compare import like_asyncio, raised
from helpers.loops import NESTED_RUN_ENDS_THE_OUTER, goes_on, run_once

WRONG = "Non-thread-safe operation invoked on an event loop other than the current one"


def in_thread(call):
    """Call it in a fresh thread and return its result, or raise what it raised."""
    outcome = queue.SimpleQueue()

    def target():
        try:
            outcome.put((call(), None))
        except BaseException as error:
            outcome.put((None, error))

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    result, error = outcome.get()
    if error is not None:
        raise error
    return result


class Running:
    """A loop that runs in a thread of its own meanwhile."""

    def __init__(self, loop):
        self.loop = loop
        self.thread = threading.Thread(target=loop.run_forever, name="loop")

    def __enter__(self):
        started = threading.Event()
        self.loop.call_soon(started.set)
        self.thread.start()
        started.wait()
        return self.loop

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


def test_eight_threads_lose_nothing_while_the_loop_parks_and_unparks(loop):
    threads, bursts, seen = 8, 150, [[] for _ in range(8)]

    def produce(number):
        rng, sent = random.Random(number), 0
        for _ in range(bursts):
            # The producer waits until its burst has run, and so the loop goes to sleep again and again.
            done = threading.Event()
            for _ in range(rng.randrange(8)):
                loop.call_soon_threadsafe(seen[number].append, sent)
                sent += 1
            loop.call_soon_threadsafe(done.set)
            assert done.wait(20)
        totals.append(sent)
        if len(totals) == threads:
            loop.call_soon_threadsafe(loop.stop)

    totals = []
    workers = [threading.Thread(target=produce, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    loop.run_forever()
    for worker in workers:
        worker.join()
    # Nothing lost, nothing twice, and each thread's calls in their order.
    assert len(totals) == threads
    assert sorted(len(calls) for calls in seen) == sorted(totals)
    assert all(calls == sorted(set(calls)) for calls in seen)


def test_eight_threads_flood_a_loop(loop):
    each, seen = 5_000, []

    def produce(number):
        for index in range(each):
            loop.call_soon_threadsafe(seen.append, (number, index))
        loop.call_soon_threadsafe(finished)

    def finished():
        nonlocal running
        running -= 1
        if not running:
            loop.stop()

    running = 8
    workers = [threading.Thread(target=produce, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    loop.run_forever()
    for worker in workers:
        worker.join()
    assert len(seen) == 8 * each
    for number in range(8):
        assert [index for producer, index in seen if producer == number] == list(range(each))


def test_a_blocked_loop_is_woken(loop):
    seen = []

    def wake():
        for number in range(50):
            wait_until_blocked(threading.main_thread())
            loop.call_soon_threadsafe(seen.append, number)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=wake)
    thread.start()
    loop.run_forever()
    thread.join()
    assert seen == list(range(50))


def test_calls_made_before_the_run_are_not_lost(loop):
    seen = []
    in_thread(lambda: [loop.call_soon_threadsafe(seen.append, number) for number in range(100)])
    run_once(loop)
    assert seen == list(range(100))


def test_wake_ups_between_runs_do_not_disturb_the_next_one(loop):
    for _ in range(100):
        in_thread(lambda: loop.call_soon_threadsafe(int))
        goes_on(loop)


def test_two_loops_play_ping_pong(loop_factory):
    first, second = loop_factory(), loop_factory()
    rallies = 2_000

    def hit(number):
        here, there = (first, second) if number % 2 == 0 else (second, first)
        assert asyncio.get_running_loop() is here
        if number == rallies:
            first.call_soon(first.stop)
            second.call_soon_threadsafe(second.stop)
        else:
            there.call_soon_threadsafe(hit, number + 1)

    other = threading.Thread(target=second.run_forever)
    other.start()
    first.call_soon(hit, 0)
    first.run_forever()
    other.join()
    first.close()
    second.close()


def test_the_returned_handle_can_be_cancelled_from_the_thread(loop):
    seen = []
    in_thread(lambda: loop.call_soon_threadsafe(seen.append, "cancelled").cancel())
    loop.call_soon(seen.append, "kept")
    run_once(loop)
    assert seen == ["kept"]


WRONG_THREAD = {
    "call_soon": lambda loop: loop.call_soon(int),
    "call_later": lambda loop: loop.call_later(0, int),
    "call_at": lambda loop: loop.call_at(0, int),
    "future": lambda loop: loop.pending.set_result(None),
    "task cancel": lambda loop: loop.task.cancel(),
}


@pytest.mark.parametrize("call", WRONG_THREAD)
def test_the_wrong_thread_is_refused_in_debug_mode(loop_factory, debug, call):
    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)
        loop.pending = loop.create_future()
        loop.pending.add_done_callback(int.__instancecheck__)

        async def sleeper():
            await asyncio.sleep(3600)

        loop.task = loop.create_task(sleeper())
        loop.set_exception_handler(lambda *_: None)
        run_once(loop)
        with Running(loop):
            error = raised(lambda: WRONG_THREAD[call](loop))
        goes_on(loop)
        loop.task.cancel()
        run_once(loop)
        run_once(loop)
        loop.close()
        return error

    expected = ("RuntimeError", WRONG) if debug else None
    assert like_asyncio(scenario, loop_factory) == expected


def test_a_stopped_loop_belongs_to_whoever_calls(loop):
    loop.set_debug(True)
    seen = []
    in_thread(lambda: loop.call_soon(seen.append, 1))
    in_thread(lambda: loop.call_later(0, seen.append, 2))
    run_once(loop)
    assert seen == [1, 2]


def test_without_debug_the_wrong_thread_s_calls_run_once_the_loop_wakes(loop):
    seen = queue.SimpleQueue()
    with Running(loop):
        for number in range(100):
            loop.call_soon(seen.put, number)
        loop.call_soon_threadsafe(seen.put, "woken")
        assert [seen.get(timeout=10) for _ in range(101)] == [*range(100), "woken"]


def test_without_debug_the_wrong_thread_s_timer_fires(loop):
    seen = queue.SimpleQueue()
    with Running(loop):
        loop.call_later(0.001, seen.put, "later")
        loop.call_at(loop.time() - 1, seen.put, "at")
        loop.call_soon_threadsafe(int)
        assert {seen.get(timeout=10), seen.get(timeout=10)} == {"later", "at"}


def test_without_debug_the_wrong_thread_s_task_runs(loop):
    seen = queue.SimpleQueue()

    async def main():
        seen.put(asyncio.get_running_loop() is loop)

    with Running(loop):
        task = loop.create_task(main())
        loop.call_soon_threadsafe(int)
        assert seen.get(timeout=10) is True
    assert task.done()


def test_without_debug_the_wrong_thread_s_cancel_holds(loop):
    seen = []
    handles = [loop.call_later(3600, seen.append, number) for number in range(1000)]
    with Running(loop):
        for handle in handles:
            handle.cancel()
    assert all(handle.cancelled() for handle in handles)
    assert seen == []
    goes_on(loop)


def test_without_debug_the_wrong_thread_may_stop(loop):
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    wait_until_blocked(thread)
    loop.stop()
    loop.call_soon_threadsafe(int)
    thread.join(10)
    assert not thread.is_alive()


def test_running_it_twice_is_refused(loop, loop_name):
    with Running(loop):
        if loop_name != "asyncio" or not NESTED_RUN_ENDS_THE_OUTER:
            with pytest.raises(RuntimeError, match="This event loop is already running"):
                loop.run_forever()
            with pytest.raises(RuntimeError, match="This event loop is already running"):
                loop.run_until_complete(loop.create_future())
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()
        assert loop.is_running()
        # Refusing must not have touched the run, nor this thread.
        assert asyncio._get_running_loop() is None
        seen = queue.SimpleQueue()
        loop.call_soon_threadsafe(seen.put, 1)
        assert seen.get(timeout=10) == 1


def test_made_here_run_there_closed_elsewhere(loop_factory, debug):
    loop = in_thread(loop_factory)
    loop.set_debug(debug)
    seen = []

    async def main():
        await asyncio.sleep(0.001)
        seen.append(threading.current_thread())
        assert await loop.run_in_executor(None, int, "7") == 7

    for _ in range(3):
        in_thread(lambda: loop.run_until_complete(main()))
    loop.run_until_complete(main())
    in_thread(loop.close)
    assert loop.is_closed()
    assert len(seen) == 4


def test_what_one_thread_scheduled_another_runs(loop_factory):
    loop, seen = loop_factory(), []
    loop.call_soon(seen.append, 1)
    loop.call_later(0, seen.append, 2)
    in_thread(lambda: loop.call_soon(seen.append, 3))
    in_thread(lambda: run_once(loop))
    assert seen == [1, 3, 2]
    loop.close()


def test_collected_on_another_thread(loop_factory):
    class Argument:
        pass

    argument = Argument()
    gone = weakref.ref(argument)
    box = [loop_factory()]
    box[0].call_soon(print, argument)
    box[0].call_later(5, print, argument)
    box[0].close()
    del argument

    def drop():
        box.clear()
        gc.collect()

    in_thread(drop)
    assert gone() is None


def test_a_handle_dropped_on_another_thread_while_the_loop_runs(loop):
    with Running(loop):
        for _ in range(200):
            handle = loop.call_soon_threadsafe(int)
            timer = loop.call_later(3600, int)
            timer.cancel()
            del handle, timer
    goes_on(loop)


def test_one_loop_in_each_of_eight_threads(loop_factory):
    def work():
        async def main():
            total = 0
            for number in range(50):
                await asyncio.sleep(0)
                total += await asyncio.ensure_future(one(number))
            assert asyncio.get_running_loop() is runner.get_loop()
            return total

        async def one(number):
            await asyncio.sleep(0.0001)
            return number

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            results.append(runner.run(main()))

    results = []
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [sum(range(50))] * 8


def test_run_coroutine_threadsafe(loop):
    async def double(number):
        await asyncio.sleep(0)
        return number * 2

    async def fail():
        raise ValueError("x")

    with Running(loop):
        futures = [asyncio.run_coroutine_threadsafe(double(number), loop) for number in range(100)]
        assert [future.result(10) for future in futures] == [number * 2 for number in range(100)]
        with pytest.raises(ValueError, match="x"):
            asyncio.run_coroutine_threadsafe(fail(), loop).result(10)
        cancelled = asyncio.run_coroutine_threadsafe(asyncio.sleep(3600), loop)
        cancelled.cancel()
        # Two round trips, so that the cancellation has arrived before the loop is stopped.
        for number in range(2):
            asyncio.run_coroutine_threadsafe(double(number), loop).result(10)


def test_the_thread_is_known(loop):
    assert loop._thread_id is None
    seen = []
    with Running(loop) as running:
        assert running.is_running()
        seen.append(running._thread_id)
    assert seen == [seen[0]]
    assert seen[0] not in (None, threading.get_ident())
    assert not loop.is_running()
    assert loop._thread_id is None


ANY_THREAD = [
    lambda loop: loop.call_soon(int),
    lambda loop: loop.call_soon_threadsafe(int),
    lambda loop: loop.call_later(random.random() / 1000, int),
    lambda loop: loop.call_later(3600, int).cancel(),
    lambda loop: loop.create_future().cancel(),
    lambda loop: loop.remove_reader(0),
    lambda loop: loop.time(),
    lambda loop: loop.is_running(),
    lambda loop: loop.set_debug(loop.get_debug()),
    repr,
    lambda loop: loop.call_exception_handler({"message": "x"}),
]


def test_every_method_from_every_thread_at_once(loop):
    """No order is promised here, only that nothing crashes and that the loop is sound afterwards."""
    loop.set_exception_handler(lambda *_: None)
    busy = 4

    def misuse(number):
        nonlocal busy
        rng = random.Random(number)
        for _ in range(3_000):
            # asyncio's heap is not made for this: what an operation raises is not the point.
            raised(lambda: rng.choice(ANY_THREAD)(loop))
        with lock:
            busy -= 1
            if not busy:
                loop.call_soon_threadsafe(loop.stop)

    lock = threading.Lock()
    threads = [threading.Thread(target=misuse, args=(number,)) for number in range(busy)]
    for thread in threads:
        loop.call_soon(thread.start)
    while raised(loop.run_forever):
        pass
    for thread in threads:
        thread.join()
    loop.close()
    assert loop.is_closed()
