"""The suite's own TestLoop, built over the loop under test.

The original derives from BaseEventLoop, overrides `time()` with a clock that its generator moves, and moves it after
each `_run_once`. Once `BaseEventLoop` is replaced, the class body derives from the loop under test by itself; what it
lacks is the step between two iterations. `stop()` before `run_forever()` makes exactly one iteration, by asyncio's
documentation, and this is how the iterations are told apart here with the public API only.
"""

from __future__ import annotations

import asyncio
import types
from asyncio import base_events
from typing import Any


def rebuild(utils: types.ModuleType) -> None:
    """Replace `utils.TestLoop`; `utils.TestCase.new_test_loop` looks the name up when it is called."""
    original: Any = utils.TestLoop

    class TestLoop(original):  # type: ignore[misc]
        """Runs one iteration at a time, and moves its clock after each."""

        def __init__(self, gen: Any = None) -> None:
            super().__init__(gen)
            self._stop_asked = False
            self._timers: list[float] = []

        def stop(self) -> None:
            self._stop_asked = True

        def run_forever(self) -> None:
            if self._refuses_to_run():
                super().run_forever()  # raises, with the product's own words
                return
            try:
                while True:
                    super().stop()
                    super().run_forever()
                    self._move_clock()
                    if self._stop_asked:
                        return
            finally:
                self._stop_asked = False

        def run_until_complete(self, future: Any) -> Any:
            if self._refuses_to_run():
                return super().run_until_complete(future)
            made_here = not asyncio.isfuture(future)
            future = asyncio.ensure_future(future, loop=self)
            if made_here:
                future._log_destroy_pending = False
            future.add_done_callback(base_events._run_until_complete_cb)  # type: ignore[attr-defined]
            try:
                self.run_forever()
            except BaseException:
                if made_here and future.done() and not future.cancelled():
                    future.exception()  # it came out of here already; do not log it as never retrieved
                raise
            finally:
                future.remove_done_callback(base_events._run_until_complete_cb)  # type: ignore[attr-defined]
            if not future.done():
                raise RuntimeError("Event loop stopped before Future completed.")
            return future.result()

        def _refuses_to_run(self) -> bool:
            return self.is_closed() or self.is_running() or asyncio._get_running_loop() is not None

        def _move_clock(self) -> None:
            for when in self._timers:
                self.advance_time(self._gen.send(when))
            self._timers = []

    TestLoop.__qualname__ = original.__qualname__
    TestLoop.__module__ = original.__module__
    utils.TestLoop = TestLoop  # type: ignore[attr-defined]


def _run_until_idle(_self: Any, loop: Any) -> None:
    """In place of `while loop._ready: run_briefly(loop)`: the chains in those tests end after a few iterations."""
    for _ in range(10):
        loop.call_soon(loop.stop)
        loop.run_forever()


# Helpers of test classes that look into the loop's queue, not to test it but to know when to go on. The row is verified
# by `sources.py` like an exclusion: the identifier must stand in the original helper.
REBUILT_HELPERS = {
    ("test.test_asyncio.test_tasks", "GatherTestsBase", "_run_loop", "_ready"): _run_until_idle,
}


def rebuild_helpers(module: types.ModuleType) -> None:
    for (module_name, class_name, helper, _), replacement in REBUILT_HELPERS.items():
        if module.__name__ == module_name:
            setattr(getattr(module, class_name), helper, replacement)
