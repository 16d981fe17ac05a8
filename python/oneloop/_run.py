"""Starting a program on oneloop: `run` and `new_event_loop`."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from ._loop import Loop

_T = TypeVar("_T")


def new_event_loop() -> Loop:
    """Return a new loop that is not running.

    Made to be a loop factory: ``asyncio.run(main(), loop_factory=oneloop.new_event_loop)``. Follows
    ``asyncio.new_event_loop``, without asking any policy.

    Raises:
        OSError: if the system refuses the descriptors that a loop needs.
        ValueError: if ``ONELOOP_DRIVER`` names no driver of this build.
    """
    return Loop()


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
    """Run the coroutine on a new oneloop loop and return its result. Follows ``asyncio.run``.

    What is left when it ends is cancelled, asynchronous generators are finalized, the default executor is shut
    down, and the loop is closed. Ctrl-C cancels the main task and then raises ``KeyboardInterrupt``.

    Args:
        main: the coroutine; Python 3.14 and later take any awaitable.
        debug: asyncio's debug mode; ``None`` leaves it to ``PYTHONASYNCIODEBUG`` and ``-X dev``.

    Raises:
        RuntimeError: if a loop is running in this thread.
        ValueError: if ``main`` is no coroutine (``TypeError`` on Python 3.14 and later).
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("oneloop.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(main)
