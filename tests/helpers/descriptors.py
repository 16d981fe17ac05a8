"""What this process has open, and that a piece of code leaves it as it was."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
import warnings
from collections.abc import Iterator

from helpers.blocked import is_waiting_for_a_lock
from helpers.loops import run_once

# What is still left then is left for good; a busy machine may not run a thread for seconds.
LIMIT = 10.0

RESOLVERS = frozenset(f"/etc/{name}" for name in ("hosts", "host.conf", "nsswitch.conf", "resolv.conf", "gai.conf"))


def open_descriptors() -> dict[int, str]:
    """Every descriptor with what it stands for."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        # The directory itself was open while it was listed.
        with contextlib.suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    # A lookup that was given up reads the system's files until it is done.
    return {fd: what for fd, what in found.items() if what not in RESOLVERS}


def eventually_idle_pools() -> None:
    """Wait until no thread of a loop's pool is at work.

    A lookup that was given up goes on, and the system's resolver has sockets of its own for a moment: one that is seen
    before something is looked at, and is gone afterwards, would be missed there.
    """
    deadline = time.monotonic() + LIMIT
    while any(map(_is_at_work, os.listdir("/proc/self/task"))) and time.monotonic() < deadline:
        time.sleep(0.001)


def _is_at_work(task: str) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        with open(f"/proc/self/task/{task}/comm") as file:
            if file.read() != "oneloop-pool\n":
                return False
        # One that was woken and has not run yet is "running" as well.
        return not is_waiting_for_a_lock(int(task))
    return False


@contextlib.contextmanager
def none_left(loop: asyncio.AbstractEventLoop | None = None, *, collect: bool = False) -> Iterator[None]:
    """Fail if anything that was opened inside is open afterwards, or anything else was closed.

    A loop that was made before is given, since it opens what it needs when it runs for the first time.
    """
    if loop is not None:
        run_once(loop)
    if collect:
        gc.collect()
    eventually_idle_pools()
    before = open_descriptors()
    yield
    if collect:
        gc.collect()
    # A thread that has just delivered to a loop lets go of the loop's descriptor a moment later.
    deadline = time.monotonic() + LIMIT
    while (after := open_descriptors()) != before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert after == before


@contextlib.contextmanager
def found_unclosed() -> Iterator[list[str]]:
    """What is dropped inside is collected at the end; the list then has the warnings about what nobody closed.

    In a cycle the collector may finalize a socket object before the transport that has it: then both warn.
    """
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield messages
        gc.collect()
        messages += [str(warning.message) for warning in caught if warning.category is ResourceWarning]
        # The record holds what it warns about.
        caught.clear()
        gc.collect()
