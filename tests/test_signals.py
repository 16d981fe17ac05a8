# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Signals: handlers on the loop, Python's own handlers while it waits, and the user's wake-up descriptor.

A signal wakes the loop however it comes: just before it blocks, while it blocks, or while it is busy; none is lost.
"""

import asyncio
import contextlib
import contextvars
import os
import queue
import resource
import signal
import socket
import threading

import pytest
from helpers.blocked import signal_when_blocked, wait_until_blocked
from helpers.compare import like_asyncio, raised, reports
from helpers.loops import goes_on, run_once


@pytest.fixture(autouse=True)
def default_handlers():
    yield
    for signum in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM):
        assert signal.signal(signum, signal.SIG_DFL) in (signal.SIG_DFL, signal.SIG_IGN), signum


@contextlib.contextmanager
def python_handler(signum, handler):
    before = signal.signal(signum, handler)
    try:
        yield
    finally:
        signal.signal(signum, before)


def test_a_handler_runs_as_a_callback_with_its_arguments(loop):
    seen = []

    def handler(*args):
        seen.append((args, asyncio.get_running_loop() is loop))
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, handler, 1, "two")
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    loop.run_forever()
    assert seen == [((1, "two"), True)]
    assert loop.remove_signal_handler(signal.SIGUSR1)


def test_it_wakes_an_idle_loop(loop):
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    sender = signal_when_blocked(signal.SIGUSR1)
    loop.run_forever()
    sender.join()
    loop.remove_signal_handler(signal.SIGUSR1)


def test_it_arrives_while_the_loop_is_busy(loop):
    seen = []

    def busy():
        if not seen:
            loop.call_soon(busy)
        else:
            loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    loop.call_soon(busy)
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    loop.run_forever()
    assert seen == [1]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_one_raised_while_the_loop_was_stopped_is_seen_by_the_next_run(loop):
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, lambda: (seen.append(1), loop.stop()))
    signal.raise_signal(signal.SIGUSR1)
    assert seen == []
    loop.run_forever()
    assert seen == [1]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_several_signals_each_reach_their_handler(loop):
    seen, signums = set(), {signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM}

    def handler(signum):
        seen.add(signum)
        if seen == signums:
            loop.stop()

    for signum in signums:
        loop.add_signal_handler(signum, handler, signum)
    for signum in signums:
        loop.call_soon(signal.raise_signal, signum)
    loop.run_forever()
    for signum in signums:
        assert loop.remove_signal_handler(signum)


def test_the_last_handler_replaces_the_others(loop):
    seen = []
    for number in range(3):
        loop.add_signal_handler(signal.SIGUSR1, lambda number=number: (seen.append(number), loop.stop()))
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    loop.run_forever()
    assert seen == [2]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


def test_removing_gives_python_s_default_back(loop):
    for signum, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGUSR1, signal.SIG_DFL)):
        loop.add_signal_handler(signum, print)
        assert signal.getsignal(signum) not in (default, signal.SIG_DFL)
        assert loop.remove_signal_handler(signum)
        assert signal.getsignal(signum) is default


def test_a_handler_may_remove_itself_or_be_replaced_in_the_middle(loop):
    seen = []

    def first():
        seen.append("first")
        loop.add_signal_handler(signal.SIGUSR1, second)
        signal.raise_signal(signal.SIGUSR1)

    def second():
        seen.append("second")
        assert loop.remove_signal_handler(signal.SIGUSR1)
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, first)
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    loop.run_forever()
    assert seen == ["first", "second"]
    goes_on(loop)


def test_a_handler_sees_the_context_in_which_it_was_added(loop):
    variable, seen = contextvars.ContextVar("variable"), []
    variable.set("then")
    loop.add_signal_handler(signal.SIGUSR1, lambda: (seen.append(variable.get()), loop.stop()))
    variable.set("now")
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    loop.run_forever()
    assert seen == ["then"]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_handler_that_raises_is_reported(loop):
    contexts = reports(loop)
    loop.add_signal_handler(signal.SIGUSR1, lambda: 1 / 0)
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    while not contexts:
        run_once(loop)
    assert contexts[0]["message"].startswith("Exception in callback")
    assert "ZeroDivisionError" in contexts[0]["exception"]
    loop.remove_signal_handler(signal.SIGUSR1)
    goes_on(loop)


async def _coroutine_function():
    pass


BAD = {
    "zero": (0, int),
    "negative": (-1, int),
    "too large": (1000, int),
    "far too large": (2**70, int),
    "SIGKILL": (signal.SIGKILL, int),
    "SIGSTOP": (signal.SIGSTOP, int),
    "str": ("SIGUSR1", int),
    "None": (None, int),
    "float": (10.0, int),
    "coroutine function": (signal.SIGUSR1, _coroutine_function),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_signal_or_handler_is_refused(loop_factory, debug, what):
    signum, handler = BAD[what]

    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)
        seen = [
            raised(lambda: loop.add_signal_handler(signum, handler)),
            raised(lambda: loop.remove_signal_handler(signum)),
        ]
        goes_on(loop)
        loop.close()
        return seen

    add, remove = like_asyncio(scenario, loop_factory)
    assert add[0] in ("ValueError", "TypeError", "RuntimeError")
    if what == "SIGKILL":
        assert add == ("RuntimeError", "sig 9 cannot be caught")
        assert remove is None
    if what == "coroutine function":
        assert add == ("TypeError", "coroutines cannot be used with add_signal_handler()")


def test_a_coroutine_object_as_handler_is_refused(loop, debug):
    loop.set_debug(debug)
    coroutine = _coroutine_function()
    with pytest.raises(TypeError, match=r"coroutines cannot be used with add_signal_handler\(\)"):
        loop.add_signal_handler(signal.SIGUSR1, coroutine)
    coroutine.close()


def test_a_handler_that_cannot_be_called_is_reported_when_the_signal_comes(loop_factory, debug):
    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)
        seen = reports(loop)
        loop.add_signal_handler(signal.SIGUSR1, 42)
        loop.call_soon(signal.raise_signal, signal.SIGUSR1)
        while not seen:
            run_once(loop)
        loop.close()
        return [(context["message"], context["exception"]) for context in seen]

    ((message, error),) = like_asyncio(scenario, loop_factory)
    assert message == "Exception in callback 42()"
    assert "not callable" in error


def test_only_the_main_thread_may_add_one(loop_factory):
    def scenario(factory):
        seen = queue.SimpleQueue()

        def target():
            loop = factory()
            seen.put(raised(lambda: loop.add_signal_handler(signal.SIGUSR1, int)))
            seen.put(raised(lambda: loop.remove_signal_handler(signal.SIGUSR1)))
            goes_on(loop)
            loop.close()

        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
        return seen.get(), seen.get()

    (kind, message), remove = like_asyncio(scenario, loop_factory)
    assert kind == "RuntimeError"
    assert "main thread" in message
    assert remove is None


def test_the_main_thread_s_signals_while_a_loop_runs_elsewhere(loop):
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    seen = []
    with python_handler(signal.SIGUSR1, lambda *_: seen.append(1)):
        wait_until_blocked(thread)
        os.kill(os.getpid(), signal.SIGUSR1)
        while not seen:
            pass
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    assert seen == [1]


def test_none_is_lost_just_before_blocking(loop):
    """The signal comes in the very last entry of the tick after which the loop blocks, a few hundred times."""
    seen = []

    def handler():
        seen.append(1)
        if len(seen) == 400:
            loop.stop()
        else:
            loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)

    loop.add_signal_handler(signal.SIGUSR1, handler)
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    assert len(seen) == 400
    loop.remove_signal_handler(signal.SIGUSR1)


def test_none_is_lost_whenever_another_thread_sends_it(loop):
    """Sent after a delay that varies with the round, and so around the moment at which the loop blocks."""
    rounds, turn, seen = 500, queue.SimpleQueue(), []
    main = threading.get_ident()

    def send():
        for number in iter(turn.get, None):
            for _ in range(number % 97 * 3):
                pass
            signal.pthread_kill(main, signal.SIGUSR1)

    def handler():
        seen.append(1)
        if len(seen) == rounds:
            loop.stop()
        else:
            turn.put(len(seen))

    loop.add_signal_handler(signal.SIGUSR1, handler)
    sender = threading.Thread(target=send)
    sender.start()
    turn.put(0)
    loop.run_forever()
    turn.put(None)
    sender.join()
    assert len(seen) == rounds
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_python_handler_s_call_is_not_lost_just_before_blocking(oneloop):
    # asyncio has no wake-up descriptor unless a handler was added to the loop, and blocks with the signal pending.
    loop, seen = oneloop.new_event_loop(), []
    turn, main = queue.SimpleQueue(), threading.get_ident()

    def send():
        for number in iter(turn.get, None):
            for _ in range(number % 97 * 3):
                pass
            signal.pthread_kill(main, signal.SIGUSR1)

    def handler(*_):
        seen.append(1)
        # A handler runs in the loop's own thread, so the call needs no wake-up: the ring is looked at again before
        # blocking.
        if len(seen) == 300:
            loop.call_soon(loop.stop)
        else:
            loop.call_soon(turn.put, len(seen))

    sender = threading.Thread(target=send)
    sender.start()
    with python_handler(signal.SIGUSR1, handler):
        turn.put(0)
        loop.run_forever()
    turn.put(None)
    sender.join()
    loop.close()
    assert len(seen) == 300


def test_a_python_handler_wakes_an_idle_loop(loop):
    with python_handler(signal.SIGUSR1, lambda *_: loop.call_soon_threadsafe(loop.stop)):
        sender = signal_when_blocked(signal.SIGUSR1)
        loop.run_forever()
        sender.join()


class RaisedByHandlerError(Exception):
    pass


@pytest.mark.parametrize("error", [RaisedByHandlerError(), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_a_python_handler_that_raises_ends_the_wait(loop, error):
    def handler(*_):
        raise error

    order = []
    loop.call_later(3600, order.append, "later")
    with python_handler(signal.SIGUSR1, handler):
        sender = signal_when_blocked(signal.SIGUSR1)
        with pytest.raises(type(error)):
            loop.run_forever()
        sender.join()
    assert not loop.is_running()
    assert asyncio._get_running_loop() is None
    goes_on(loop)


def test_a_python_handler_that_raises_in_a_callback_raises_there(loop):
    contexts = reports(loop)

    def handler(*_):
        raise RaisedByHandlerError

    def callback():
        signal.raise_signal(signal.SIGUSR1)
        order.append("not reached")

    order = []
    with python_handler(signal.SIGUSR1, handler):
        loop.call_soon(callback)
        loop.call_soon(order.append, "next")
        run_once(loop)
    assert order == ["next"]
    assert "RaisedByHandlerError" in contexts[0]["exception"]


def test_ctrl_c_while_idle_and_the_loop_goes_on(loop):
    for _ in range(3):
        sender = signal_when_blocked(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        sender.join()
        goes_on(loop)


def test_ctrl_c_in_a_callback_keeps_the_rest_of_the_batch(loop):
    order = []
    loop.call_soon(order.append, 1)
    loop.call_soon(signal.raise_signal, signal.SIGINT)
    loop.call_soon(order.append, 2)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    run_once(loop)
    assert order == [1, 2]


def test_a_handler_for_sigint_takes_its_place(loop):
    loop.add_signal_handler(signal.SIGINT, loop.stop)
    sender = signal_when_blocked(signal.SIGINT)
    loop.run_forever()
    sender.join()
    assert loop.remove_signal_handler(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_second_loop_s_handler_does_not_deafen_the_first(loop_factory):
    """Both loops use Python's one wake-up descriptor; the one that runs hears its own signals."""
    first, second = loop_factory(), loop_factory()
    first.add_signal_handler(signal.SIGUSR1, first.stop)
    first.call_soon(signal.raise_signal, signal.SIGUSR1)
    first.run_forever()
    second.add_signal_handler(signal.SIGUSR2, second.stop)
    second.call_soon(signal.raise_signal, signal.SIGUSR2)
    second.run_forever()
    second.close()
    first.close()


def test_handlers_do_not_run_when_the_loop_is_closed_first(loop_factory):
    loop, seen = loop_factory(), []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    signal.raise_signal(signal.SIGUSR1)
    loop.close()
    assert seen == []


def test_many_of_one_signal_do_no_harm(loop):
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    # As many as the buffer of a wake-up socket takes; beyond that Python itself complains on stderr.
    for _ in range(200):
        loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    run_once(loop)
    run_once(loop)
    run_once(loop)
    # Signals may coalesce; at least one has come, and never more than were sent.
    assert 1 <= len(seen) <= 200
    loop.remove_signal_handler(signal.SIGUSR1)
    goes_on(loop)


def test_the_main_thread_handles_signals_for_a_loop_in_another_thread(loop):
    running, handled, seen = threading.Event(), threading.Event(), []

    def handler():
        seen.append(threading.current_thread() is runner)
        handled.set()

    loop.call_soon(running.set)
    runner = threading.Thread(target=loop.run_forever)
    runner.start()
    try:
        assert running.wait(10)
        loop.add_signal_handler(signal.SIGUSR1, handler)
        signal.raise_signal(signal.SIGUSR1)
        assert handled.wait(10)
        assert loop.remove_signal_handler(signal.SIGUSR1)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        runner.join()
    assert seen == [True]
    assert signal.set_wakeup_fd(-1) == -1


def test_two_loops_with_handlers_may_be_closed_in_either_order(oneloop):
    # asyncio's second loop sleeps through its signals once the first is closed.
    first, second = oneloop.new_event_loop(), oneloop.new_event_loop()
    first.add_signal_handler(signal.SIGUSR1, first.stop)
    second.add_signal_handler(signal.SIGUSR2, second.stop)
    first.close()
    with contextlib.ExitStack() as stack:
        # Strangers that get the numbers which the first loop has given up.
        strangers = [stack.enter_context(end) for _ in range(6) for end in socket.socketpair()]
        for stranger in strangers:
            stranger.setblocking(False)
        second.call_soon(signal.raise_signal, signal.SIGUSR2)
        second.run_forever()
        second.close()
        assert signal.set_wakeup_fd(-1) == -1
        for stranger in strangers:
            with pytest.raises(BlockingIOError):
                stranger.recv(1)


@pytest.mark.parametrize("where", ["in another run", "in the same callback"])
def test_a_signal_is_not_for_a_handler_that_is_added_later(loop, where):
    seen = []

    def add():
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "stale")
        loop.call_later(0.01, loop.stop)

    def interrupted():
        signal.raise_signal(signal.SIGUSR1)
        if where == "in another run":
            loop.stop()
        else:
            add()

    with python_handler(signal.SIGUSR1, lambda *_: seen.append("python's")):
        loop.call_soon(interrupted)
        loop.run_forever()
        if where == "in another run":
            add()
            loop.run_forever()
        loop.remove_signal_handler(signal.SIGUSR1)
    assert seen == ["python's"]


def test_no_descriptor_left_is_no_reason_not_to_run(loop):
    # asyncio makes its pair with the loop, ours is made when it is first of use.
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 8, limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        assert taken
        loop.call_soon(loop.stop)
        loop.run_forever()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in taken:
            os.close(fd)
