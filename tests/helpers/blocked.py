"""Know that a thread sleeps in the kernel, instead of hoping that it does after a while.

A signal that is meant for an idle loop must be sent when the loop waits for events: before that it would only show
that signals work in a busy one. Linux tells which system call a thread is in.
"""

from __future__ import annotations

import os
import threading
import time

# futex, the call in which a thread waits for the GIL or for a lock: that is not idleness.
_FUTEX = "202" if os.uname().machine == "x86_64" else "98"


def _call(native_id: int) -> str:
    """The number of the call that a thread sleeps in; "running" if it does not sleep, "-1" if it sleeps elsewhere."""
    with open(f"/proc/self/task/{native_id}/syscall") as file:
        return file.read().split()[0]


def is_waiting_for_a_lock(native_id: int) -> bool:
    return _call(native_id) == _FUTEX


def _idle(native_id: int) -> bool:
    # Outside of a call it sleeps while the kernel reads a page of its memory, which is no idleness either.
    return _call(native_id) not in ("running", "-1", _FUTEX)


def wait_until_blocked(thread: threading.Thread, limit: float = 10.0) -> None:
    """Return when the thread waits in the kernel for something else than a lock."""
    deadline = time.monotonic() + limit
    in_a_row = 0
    while in_a_row < 5:
        if time.monotonic() > deadline:
            raise AssertionError(f"{thread.name} never blocked")
        # After a fork the threading module may still have the parent's number.
        native_id = os.getpid() if thread is threading.main_thread() else thread.native_id
        assert native_id is not None
        in_a_row = in_a_row + 1 if _idle(native_id) else 0
        # Let go of the GIL, so that the other thread can get on with it.
        time.sleep(0.0005)


def signal_when_blocked(signum: int, thread: threading.Thread | None = None) -> threading.Thread:
    """Send this process a signal as soon as the main thread (or the given one) is idle."""

    def send() -> None:
        wait_until_blocked(thread or threading.main_thread())
        os.kill(os.getpid(), signum)

    sender = threading.Thread(target=send, name="sender", daemon=True)
    sender.start()
    return sender
