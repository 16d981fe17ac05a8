"""Interpreters inside the process: the module is refused there, by whatever name it is imported, and goes on here."""

from __future__ import annotations

import asyncio
from types import ModuleType

import pytest
from helpers import children, subinterpreter
from helpers.apart import apart

REFUSED = """
try:
    import {name}
except ImportError as error:
    assert "subinterpreters" in str(error), error
else:
    raise AssertionError("imported")
"""


# In a process of its own: 3.11 cannot end an interpreter for good.
@apart
@pytest.mark.parametrize("name", ["oneloop", "oneloop._core", "oneloop.dask"])
def test_another_interpreter_is_refused_and_this_one_goes_on(oneloop: ModuleType, name: str) -> None:
    for _ in range(3):
        subinterpreter.run(REFUSED.format(name=name))
        oneloop.run(asyncio.sleep(0))


FIRST = f"""
from helpers import subinterpreter
subinterpreter.run({REFUSED.format(name="oneloop")!r})
import asyncio, oneloop
oneloop.run(asyncio.sleep(0))
"""


def test_an_interpreter_that_comes_first_spoils_nothing(oneloop: ModuleType) -> None:
    finished = children.finish(children.start(["-c", FIRST], "oneloop"))
    assert finished.quiet, finished.out + finished.err
