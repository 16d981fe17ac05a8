"""The suite's own TestLoop, built over the loop under test.

The original derives from BaseEventLoop, overrides `time()` with a clock that its generator moves, and moves it after
each `_run_once`. Once `BaseEventLoop` is replaced, the class body derives from the loop under test by itself; what it
lacks is the step between two iterations. `stop()` before `run_forever()` makes exactly one iteration, by asyncio's
documentation, and this is how the iterations are told apart here with the public API only. `run_until_complete()` stays
the product's: it runs the loop through `run_forever()`, as asyncio's does, and so through the one here.
"""

from __future__ import annotations

import asyncio
import types
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
