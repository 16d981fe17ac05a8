"""Which processors there are to pin to, and how much processor time another process has used."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

# CPUCLOCK_SCHED in the kernel's include/linux/posix-timers.h: user and system time as the scheduler counts it.
SCHEDULED = 2


class Cores(NamedTuple):
    under_test: int
    beside: int


def cores() -> Cores:
    """One for the process under test and one for everything else; the same one where there is no other."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[-1], allowed[0])


@contextmanager
def on(core: int) -> Iterator[None]:
    """This thread, and the processes that it starts in the meantime, stay on that processor."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def used(pid: int) -> float:
    """Seconds of all threads that the process has and had, to the nanosecond.

    It is the process's own CPU-time clock, the one that clock_getcpuclockid(3) names; /proc counts in hundredths of a
    second.
    """
    return time.clock_gettime((~pid << 3) | SCHEDULED)
