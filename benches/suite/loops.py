"""The loops that are compared: their names and how each makes a loop.

Known to the runner, which needs the names and what to install, and to the measured process, which needs one factory
and must not import the other loops. A new opponent is a name here and a pinned line in requirements.txt.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from importlib.metadata import version
from platform import python_version
from typing import Any

OURS = "oneloop"
RIVALS = ("uvloop", "rloop", "rsloop", "zuvloop", "talyn")
NAMES = ("asyncio", *RIVALS, OURS)
# The same loop under a second name. A run of both shows what the method itself makes of no difference at all.
AGAIN = f"{OURS}-again"

Factory = Callable[[], asyncio.AbstractEventLoop]


def package(name: str) -> str:
    return OURS if name == AGAIN else name


def factory(name: str) -> Factory:
    """`new_event_loop` of the package, which nearly all of them have; talyn has its class."""
    module: Any = importlib.import_module(package(name))
    made: Factory = getattr(module, "new_event_loop", None) or module.Loop
    return made


def release(name: str) -> str:
    """The version that the figure belongs to; asyncio's is the interpreter's."""
    return python_version() if name == "asyncio" else version(package(name))
