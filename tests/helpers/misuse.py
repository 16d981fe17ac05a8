"""Do something wrong to a loop, and record all that comes of it."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable
from typing import Any

from helpers.compare import Factory, plain, raised, reports
from helpers.loops import goes_on, steps


def outcome(factory: Factory, debug: bool, action: Callable[[asyncio.AbstractEventLoop], object]) -> dict[str, Any]:
    """What an action raises, what the loop reports about it, and what is warned; afterwards the loop has to go on."""
    loop = factory()
    loop.set_debug(debug)
    seen = reports(loop)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        error = raised(lambda: action(loop))
        steps(loop, 2)
        # asyncio's own report of an error is a cycle, which holds the callback.
        gc.collect()
    assert not loop.is_running()
    goes_on(loop)
    loop.close()
    return {
        "error": error,
        "reports": [(context["message"], context.get("exception")) for context in seen],
        # Without the stack that debug mode adds: asyncio's loop is in it, ours is not Python.
        "warnings": [(warning.category.__name__, plain(warning.message).split("\n  File")[0]) for warning in caught],
    }
