"""Know that a thread sleeps in the kernel, instead of hoping that it does after a while.

A signal that is meant for an idle loop must be sent when the loop waits for events: before that it would only show
that signals work in a busy one. Linux tells which system call a thread is in.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

# futex, the call in which a thread waits for the GIL or for a lock: that is not idleness.
_FUTEX = "202" if os.uname().machine == "x86_64" else "98"


def _call(task: str) -> str:
    """The number of the call that a thread sleeps in; "running" if it does not sleep, "-1" if it sleeps elsewhere."""
    with open(f"/proc/{task}/syscall") as file:
        return file.read().split()[0]


def is_waiting_for_a_lock(native_id: int) -> bool:
    return _call(f"self/task/{native_id}") == _FUTEX


def _wait_until_idle(task: Callable[[], str], name: str, limit: float) -> None:
    deadline = time.monotonic() + limit
    in_a_row = 0
    while in_a_row < 5:
        if time.monotonic() > deadline:
            raise AssertionError(f"{name} never blocked")
        # Outside of a call it sleeps while the kernel reads a page of its memory, which is no idleness either.
        in_a_row = in_a_row + 1 if _call(task()) not in ("running", "-1", _FUTEX) else 0
        # Let go of the GIL, so that the other thread can get on with it.
        time.sleep(0.0005)


def wait_until_blocked(thread: threading.Thread, limit: float = 10.0) -> None:
    """Return when the thread waits in the kernel for something else than a lock."""

    def task() -> str:
        # After a fork the threading module may still have the parent's number.
        native_id = os.getpid() if thread is threading.main_thread() else thread.native_id
        assert native_id is not None
        return f"self/task/{native_id}"

    _wait_until_idle(task, thread.name, limit)


def wait_until_process_blocked(pid: int, limit: float = 10.0) -> None:
    """As `wait_until_blocked`, for the main thread of another process."""
    _wait_until_idle(lambda: str(pid), f"process {pid}", limit)


def signal_when_blocked(signum: int, thread: threading.Thread | None = None) -> threading.Thread:
    """Send this process a signal as soon as the main thread (or the given one) is idle."""

    def send() -> None:
        wait_until_blocked(thread or threading.main_thread())
        os.kill(os.getpid(), signum)

    sender = threading.Thread(target=send, name="sender", daemon=True)
    sender.start()
    return sender
