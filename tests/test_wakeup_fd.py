# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The process has one wake-up descriptor for signals. The user's own is restored, fed meanwhile, and left alone."""

import contextlib
import signal
import socket

from helpers.blocked import signal_when_blocked
from helpers.loops import goes_on, run_once


@contextlib.contextmanager
def python_handler(signum, handler):
    before = signal.signal(signum, handler)
    try:
        yield
    finally:
        signal.signal(signum, before)


@contextlib.contextmanager
def wakeup_fd():
    """The user's own wake-up descriptor."""
    theirs, ours = socket.socketpair()
    with theirs, ours:
        theirs.setblocking(False)
        ours.setblocking(False)
        signal.set_wakeup_fd(ours.fileno())
        try:
            yield theirs, ours.fileno()
        finally:
            signal.set_wakeup_fd(-1)


def current_wakeup_fd():
    number = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(number)
    return number


def test_the_user_s_wake_up_descriptor_is_restored_and_still_fed(loop):
    seen = []

    def handle(*_):
        seen.append(1)
        if len(seen) == 4:
            loop.call_soon_threadsafe(loop.stop)

    with wakeup_fd() as (theirs, number), python_handler(signal.SIGUSR1, handle):
        for _ in range(3):
            loop.call_soon(signal.raise_signal, signal.SIGUSR1)
            run_once(loop)
            assert current_wakeup_fd() == number
        sender = signal_when_blocked(signal.SIGUSR1)
        loop.run_forever()
        sender.join()
        assert current_wakeup_fd() == number
        assert theirs.recv(100) == bytes([signal.SIGUSR1]) * 4
        assert seen == [1] * 4


def test_the_user_s_wake_up_descriptor_set_inside_a_callback_stays(loop):
    with wakeup_fd() as (theirs, number), python_handler(signal.SIGUSR1, lambda *_: None):
        signal.set_wakeup_fd(-1)

        def callback():
            signal.set_wakeup_fd(number)
            signal.raise_signal(signal.SIGUSR1)

        loop.call_soon(callback)
        run_once(loop)
        assert current_wakeup_fd() == number
        signal.raise_signal(signal.SIGUSR1)
        assert theirs.recv(100) == bytes([signal.SIGUSR1]) * 2
        goes_on(loop)


def test_the_user_s_wake_up_descriptor_survives_a_handler_on_the_loop(oneloop):
    # asyncio forgets it: add_signal_handler replaces it and the last remove_signal_handler leaves none.
    loop = oneloop.new_event_loop()
    with wakeup_fd() as (theirs, number):
        loop.add_signal_handler(signal.SIGUSR1, loop.stop)
        loop.call_soon(signal.raise_signal, signal.SIGUSR1)
        loop.run_forever()
        loop.remove_signal_handler(signal.SIGUSR1)
        assert current_wakeup_fd() == number
        assert theirs.recv(100) == bytes([signal.SIGUSR1])
        loop.add_signal_handler(signal.SIGUSR1, loop.stop)
        loop.close()
        assert current_wakeup_fd() == number


def test_no_wake_up_descriptor_is_left_behind(loop_factory):
    loop = loop_factory()
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    loop.run_forever()
    loop.remove_signal_handler(signal.SIGUSR1)
    assert current_wakeup_fd() == -1
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    loop.close()
    assert current_wakeup_fd() == -1
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
