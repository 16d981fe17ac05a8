# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Closing a loop: refused while it runs, final afterwards, and nothing is left behind."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import threading
import warnings
import weakref

import pytest
from helpers.compare import like_asyncio, logged, plain, raised
from helpers.loops import goes_on, run_once


def test_close_is_idempotent(loop):
    assert not loop.is_closed()
    loop.close()
    assert loop.is_closed()
    loop.close()
    assert loop.is_closed()


def test_close_inside_a_callback_is_refused_and_the_loop_goes_on(loop, debug):
    loop.set_debug(debug)
    seen = []

    def callback():
        seen.append(raised(loop.close))
        loop.call_soon(seen.append, "goes on")
        loop.call_later(0.001, loop.stop)

    loop.call_soon(callback)
    loop.run_forever()
    assert seen == [("RuntimeError", "Cannot close a running event loop"), "goes on"]
    assert not loop.is_closed()
    goes_on(loop)


def test_close_inside_a_task_is_refused(loop):
    async def main():
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()
        await asyncio.sleep(0.001)
        return "done"

    assert loop.run_until_complete(main()) == "done"


async def _coroutine():
    pass


def _awaited(make):
    """Step a coroutine that is not supposed to suspend."""

    def call():
        coroutine = make()
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
        finally:
            coroutine.close()

    return call


def _every_call(loop, descriptor):
    """Each method of the scheduling part with sound arguments, as a call that can be made on a closed loop."""
    future, coroutine = loop.create_future(), _coroutine()

    def create_task():
        try:
            loop.create_task(coroutine)
        finally:
            coroutine.close()

    return {
        "run_forever": loop.run_forever,
        "run_until_complete": lambda: loop.run_until_complete(future),
        "stop": loop.stop,
        "is_running": loop.is_running,
        "is_closed": loop.is_closed,
        "close": loop.close,
        "call_soon": lambda: loop.call_soon(print),
        "call_soon_threadsafe": lambda: loop.call_soon_threadsafe(print),
        "call_later": lambda: loop.call_later(1, print),
        "call_at": lambda: loop.call_at(1, print),
        "time": lambda: loop.time() > 0,
        "create_future": lambda: loop.create_future().cancel(),
        "create_task": create_task,
        "set_task_factory": lambda: loop.set_task_factory(None),
        "get_task_factory": loop.get_task_factory,
        "run_in_executor": lambda: loop.run_in_executor(None, print),
        "set_default_executor": lambda: loop.set_default_executor(None),
        "add_reader": lambda: loop.add_reader(descriptor, print),
        "remove_reader": lambda: loop.remove_reader(descriptor),
        "add_writer": lambda: loop.add_writer(descriptor, print),
        "remove_writer": lambda: loop.remove_writer(descriptor),
        "add_reader of nothing": lambda: loop.add_reader("x", print),
        "remove_reader of nothing": lambda: loop.remove_reader(-1),
        "add_signal_handler": lambda: loop.add_signal_handler(signal.SIGUSR1, print),
        "remove_signal_handler": lambda: loop.remove_signal_handler(signal.SIGUSR1),
        "set_exception_handler": lambda: loop.set_exception_handler(None),
        "get_exception_handler": loop.get_exception_handler,
        "call_exception_handler": lambda: loop.call_exception_handler({"message": "after close"}),
        "default_exception_handler": lambda: loop.default_exception_handler({"message": "after close"}),
        "get_debug": loop.get_debug,
        "set_debug": lambda: loop.set_debug(loop.get_debug()),
        "shutdown_asyncgens": _awaited(loop.shutdown_asyncgens),
        "shutdown_default_executor": _awaited(loop.shutdown_default_executor),
        "repr": lambda: plain(repr(loop)),
    }


REFUSED = {
    "run_forever",
    "run_until_complete",
    "call_soon",
    "call_soon_threadsafe",
    "call_later",
    "call_at",
    "create_task",
    "run_in_executor",
    "add_reader",
    "add_writer",
    "add_signal_handler",
}


def test_use_after_close_of_every_method(loop_factory, debug):
    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)
        with contextlib.ExitStack() as stack:
            ours, _ = (stack.enter_context(end) for end in socket.socketpair())
            calls = _every_call(loop, ours)
            loop.close()
            seen = {}
            with logged() as lines:
                for name, call in calls.items():
                    result = []
                    error = raised(lambda call=call, result=result: result.append(call()))
                    seen[name] = error or result[0]
        assert not loop.is_running()
        return seen, lines

    seen, _ = like_asyncio(scenario, loop_factory)
    for name in REFUSED:
        assert seen[name] == ("RuntimeError", "Event loop is closed"), name


def test_the_coroutine_refused_by_a_closed_loop_is_still_the_caller_s(loop):
    loop.close()
    coroutine = _coroutine()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_until_complete(coroutine)
    coroutine.close()


def test_what_was_scheduled_is_dropped_and_does_not_run(loop_factory):
    class Argument:
        pass

    loop, ran = loop_factory(), []
    ours, theirs = socket.socketpair()
    arguments = [Argument() for _ in range(5)]
    loop.call_soon(ran.append, arguments[0])
    loop.call_soon_threadsafe(ran.append, arguments[1])
    loop.call_later(0, ran.append, arguments[2])
    loop.add_reader(ours, ran.append, arguments[3])
    loop.add_signal_handler(signal.SIGUSR1, ran.append, arguments[4])
    gone = [weakref.ref(argument) for argument in arguments]
    del arguments
    loop.close()
    del loop
    gc.collect()
    assert [reference() for reference in gone] == [None] * 5
    assert ran == []
    ours.close()
    theirs.close()


def test_a_handle_outlives_its_loop(loop):
    handles = [loop.call_soon(print), loop.call_later(5, print), loop.call_later(6, print)]
    loop.close()
    for handle in handles:
        handle.cancel()
        assert handle.cancelled()
        assert "cancelled" in repr(handle)
    del handle, handles
    gc.collect()


def test_signal_handlers_are_removed(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGINT, print)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_no_descriptor_is_left(loop_factory):
    def descriptors():
        return sorted(os.listdir("/proc/self/fd"))

    before = descriptors()
    for _ in range(50):
        loop = loop_factory()
        with contextlib.ExitStack() as stack:
            ours, _ = (stack.enter_context(end) for end in socket.socketpair())
            loop.add_reader(ours, print)
            loop.add_writer(ours, print)
            loop.add_signal_handler(signal.SIGUSR1, print)
            run_once(loop)
            loop.close()
    assert descriptors() == before


def test_descriptors_of_the_user_stay_open(loop_factory):
    loop = loop_factory()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop.add_reader(ours, print)
        loop.close()
        theirs.send(b"x")
        assert ours.recv(1) == b"x"


def test_a_closed_loop_does_not_take_the_next_one_s_descriptors(loop_factory):
    # The numbers of a closed loop's descriptors are given out again: closing it twice or late must hurt nobody.
    for _ in range(20):
        first = loop_factory()
        first.close()
        second = loop_factory()
        first.close()
        del first
        gc.collect()
        goes_on(second)
        second.close()


def test_the_default_executor_is_shut_down_without_waiting(loop):
    release = threading.Event()
    loop.run_in_executor(None, release.wait)
    executor = loop._default_executor
    loop.close()
    with pytest.raises(RuntimeError):
        executor.submit(print)
    release.set()
    executor.shutdown()


def test_debug_mode_logs_it(loop_factory, debug):
    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)
        with logged(logging.DEBUG) as lines:
            loop.close()
        return lines

    assert bool(like_asyncio(scenario, loop_factory)) == debug


def test_a_pending_task_is_named_when_it_is_dropped(loop_factory):
    def scenario(factory):
        loop = factory()

        async def forever():
            await loop.create_future()

        task = loop.create_task(forever(), name="forever")
        run_once(loop)
        loop.close()
        with logged() as lines:
            del task
            gc.collect()
        return lines

    (line,) = like_asyncio(scenario, loop_factory)
    assert "Task was destroyed but it is pending!" in line


def test_an_argument_s_finalizer_may_use_the_loop(loop_factory):
    outcomes = []

    class Reentrant:
        def __init__(self, loop):
            self.loop = loop

        def __del__(self):
            loop = self.loop
            for call in (
                lambda: loop.call_soon(print),
                lambda: loop.call_later(1, print),
                lambda: loop.call_soon_threadsafe(print),
                lambda: loop.remove_reader(0),
                lambda: loop.remove_signal_handler(signal.SIGUSR1),
                loop.run_forever,
                loop.stop,
                loop.close,
                loop.is_closed,
                lambda: repr(loop),
                loop.time,
            ):
                outcomes.append(raised(call))

    loop = loop_factory()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop.call_soon(print, Reentrant(loop))
        loop.call_soon_threadsafe(print, Reentrant(loop))
        loop.call_later(1, print, Reentrant(loop))
        loop.call_later(2, print, Reentrant(loop))
        loop.add_reader(ours, print, Reentrant(loop))
        loop.add_signal_handler(signal.SIGUSR2, print, Reentrant(loop))
        loop.close()
        del loop
        gc.collect()
    assert len(outcomes) == 6 * 11
    assert {error[0] for error in outcomes if error} == {"RuntimeError"}


def test_a_finalizer_that_closes_the_loop_in_the_middle_of_a_cancel(loop_factory, debug):
    class Closer:
        def __init__(self, loop):
            self.loop = loop

        def __del__(self):
            self.loop.close()

    for schedule in (
        lambda loop, closer: loop.call_soon(print, closer),
        lambda loop, closer: loop.call_later(5, print, closer),
    ):
        loop = loop_factory()
        loop.set_debug(debug)
        loop.call_soon(print)
        handle = schedule(loop, Closer(loop))
        handle.cancel()
        gc.collect()
        assert loop.is_closed()
        assert handle.cancelled()


def test_another_thread_may_go_on_calling(loop_factory):
    for _ in range(30):
        loop, outcomes = loop_factory(), []
        started = threading.Event()

        def caller(loop=loop, outcomes=outcomes, started=started):
            while True:
                try:
                    loop.call_soon_threadsafe(int)
                except RuntimeError as error:
                    outcomes.append(str(error))
                    return
                finally:
                    started.set()

        thread = threading.Thread(target=caller)
        thread.start()
        started.wait()
        run_once(loop)
        loop.close()
        thread.join()
        assert outcomes == ["Event loop is closed"]


def test_close_on_another_thread_after_the_run(loop_factory):
    loop = loop_factory()
    goes_on(loop)
    thread = threading.Thread(target=loop.close)
    thread.start()
    thread.join()
    assert loop.is_closed()


def test_close_while_another_thread_runs_it_is_refused(loop_factory):
    loop, running = loop_factory(), threading.Event()
    loop.call_soon(running.set)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running.wait()
    with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
        loop.close()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_forgetting_to_close_warns_and_frees(loop_factory):
    def scenario(factory):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loop = factory()
            loop.call_soon(print)
            loop.call_later(1, print)
            del loop
            gc.collect()
        return [(warning.category.__name__, plain(warning.message)) for warning in caught]

    before = os.listdir("/proc/self/fd")
    seen = like_asyncio(scenario, loop_factory)
    assert os.listdir("/proc/self/fd") == before
    # asyncio's own self-pipe is two sockets, which are closed by the loop before they could warn.
    assert seen == [("ResourceWarning", "unclosed event loop <LOOP running=False closed=False debug=False>")]


def test_forgetting_a_loop_that_another_thread_has_called_frees_it(loop_factory):
    def called_at_the_end(call):
        loop = loop_factory()

        def last():
            thread = threading.Thread(target=call, args=(loop,))
            thread.start()
            thread.join()
            loop.stop()

        loop.call_soon(last)
        loop.run_forever()
        return weakref.ref(loop)

    before = os.listdir("/proc/self/fd")
    for call in (
        lambda loop: loop.call_soon_threadsafe(lambda: loop),
        lambda loop: loop.call_later(1, lambda: loop),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            forgotten = called_at_the_end(call)
            gc.collect()
        assert [str(warning.message).partition(" <")[0] for warning in caught] == ["unclosed event loop"]
        # The record keeps its source, which a weak reference sees from 3.15 on, where it outlives the finalizer.
        caught.clear()
        gc.collect()
        assert forgotten() is None
    assert os.listdir("/proc/self/fd") == before


def test_a_closed_loop_is_dropped_in_silence(loop_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop = loop_factory()
        loop.close()
        del loop
        gc.collect()
