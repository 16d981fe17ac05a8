"""What the tests of child processes share: a protocol that keeps a diary, and what the kernel knows of our children."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from helpers.compare import plain


class Diary(asyncio.SubprocessProtocol):
    """Writes down what it is told, and is done when the connection is lost."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.output = {1: b"", 2: b""}
        self.transport: Any = None
        loop = asyncio.get_running_loop()
        self.made: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.events.append(("made",))
        self.made.set_result(None)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self.output[fd] == b"":
            self.events.append(("data", fd))
        self.output[fd] += data

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.events.append(("pipe lost", fd, type(exc).__name__))

    def process_exited(self) -> None:
        self.events.append(("exited", self.transport.get_returncode()))
        self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append(("lost", exc))
        self.lost.set_result(None)

    def pause_writing(self) -> None:
        self.events.append(("pause",))

    def resume_writing(self) -> None:
        self.events.append(("resume",))


def look(text: object) -> str:
    """A transport's repr without what differs between two runs and between two loops: numbers and class names."""
    text = re.sub(r"<\w*(Read|Write)PipeTransport\b", r"<\1Pipe", plain(text))
    text = re.sub(r"<\w*SubprocessTransport\b", "<Subprocess", text)
    return re.sub(r"\b(fd|pid)=\d+", r"\1=N", text)


def numbers() -> set[int]:
    """The descriptors that are open in this process."""
    # The directory's own is closed by the time that it is looked at.
    return {number for number in map(int, os.listdir("/proc/self/fd")) if _is_open(number)}


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def state(pid: int) -> str | None:
    """The letter that the kernel shows for a process: R, S, Z …; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def children() -> dict[int, str | None]:
    """Our children, also those that have exited and were not reaped, and their states."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return {pid: state(pid) for pid in map(int, file.read().split())}


def eventually(happened: Callable[[], object], limit: float = 10.0) -> None:
    """Wait, with the loop standing still, for what another process is about to do."""
    deadline = time.monotonic() + limit
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.001)


async def soon(happened: Callable[[], object], limit: float = 10.0) -> None:
    """The same while the loop runs."""
    deadline = time.monotonic() + limit
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.001)


@contextlib.contextmanager
def few_descriptors(left: int) -> Iterator[None]:
    """This process has only so many descriptors left."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        for number in taken[len(taken) - left :]:
            os.close(number)
        del taken[len(taken) - left :]
        yield
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def end_all() -> dict[int, str | None]:
    """Kill and reap whatever children there are; return what they were."""
    left = children()
    for pid in left:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return left
