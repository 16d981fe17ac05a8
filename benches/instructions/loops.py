"""The loops that are compared: their names and how each makes a loop.

Known to the runner, which needs the names and what to install, and to the measured process, which
needs one factory and must not import the other loops.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from importlib.metadata import version
from platform import python_version

OURS = "oneloop"
RIVALS = ("uvloop", "rloop")
NAMES = ("asyncio", *RIVALS, OURS)


def factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """`new_event_loop` of the package, which all of them have by convention."""
    made: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(name).new_event_loop
    return made


def release(name: str) -> str:
    """The version that the figure belongs to; asyncio's is the interpreter's."""
    return python_version() if name == "asyncio" else version(name)
