"""Files to send over a transport, and sending them while the peer receives."""

from __future__ import annotations

import asyncio
import contextlib
import io
import pathlib
import random
import sys
from collections.abc import Iterator
from typing import Any

from helpers.connecting import failure
from helpers.loops import run_once
from helpers.peers import drain
from helpers.scene import Scene

SIZE = 1_000_003
CONTENT = random.Random(5).randbytes(SIZE)

# asyncio's transports keep what is written by reference from 3.12 on, and its fallback reads into the same memory
# before that is sent.
CORRUPTS = sys.version_info >= (3, 12)


class NoDescriptor(io.BytesIO):
    """A file that the kernel knows nothing of."""


class NoSeek:
    """Only what the fallback cannot do without."""

    def __init__(self, content: bytes) -> None:
        self.file = io.BytesIO(content)

    def readinto(self, buffer: Any) -> int:
        return self.file.readinto(buffer)


@contextlib.contextmanager
def opened(kind: str, path: pathlib.Path) -> Iterator[Any]:
    """The file at `path`, or one like it."""
    match kind:
        case "real":
            file: Any = path.open("rb")
        case "unbuffered":
            file = path.open("rb", 0)
        case _:
            file = NoDescriptor(path.read_bytes())
    with file:
        yield file


def begin(stage: Scene, file: Any, **given: Any) -> asyncio.Task[int]:
    """Begin to send a file."""
    task = stage.loop.create_task(stage.loop.sendfile(stage.transport, file, **given))
    run_once(stage.loop)
    return task


def finish(stage: Scene, task: asyncio.Task[int], read: int = 1 << 30) -> tuple[Any, bytes]:
    """Have the peer receive until it is over; what came back, and what arrived."""
    received = bytearray()

    def over() -> bool:
        received.extend(drain(stage.peer, read))
        return task.done()

    stage.until(over)
    result = failure(task.result)
    if stage.loop._default_executor is not None:  # type: ignore[attr-defined]
        stage.loop.run_until_complete(stage.loop.shutdown_default_executor())
        # So that another one can be made.
        stage.loop._executor_shutdown_called = False  # type: ignore[attr-defined]
        stage.loop._default_executor = None  # type: ignore[attr-defined]
    with contextlib.suppress(OSError):
        received += stage.flush()
    return result, bytes(received)


def send(stage: Scene, file: Any, *, read: int = 1 << 30, **given: Any) -> tuple[Any, bytes]:
    """Send a file."""
    return finish(stage, begin(stage, file, **given), read)
