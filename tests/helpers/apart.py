"""A test whose body runs in an interpreter of its own: for what changes the whole process, such as how many descriptors
it may have. What goes wrong there hurts no other test, and what it leaves behind goes with it.

    @apart
    def test_something(loop, kind): ...

The body's `loop` and `oneloop` are the child's; its other arguments are strings and numbers, as parametrize gives them.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

from helpers import children, loops

_PROGRAM = "import sys; from helpers import apart; apart.run(*sys.argv[1:])"
_DONE = "the body has come to its end\n"


def apart(test: Callable[..., None]) -> Callable[..., None]:
    """Run this test in a child of its own, on the loop of the half that it belongs to."""
    wanted = inspect.signature(test)
    names = [name for name in wanted.parameters if name != "loop"]
    if "oneloop" not in names:
        names.append("loop_name")

    @functools.wraps(test)
    def in_a_child(**given: Any) -> None:
        loop_name = given.pop("loop_name", "oneloop")
        given.pop("oneloop", None)
        arguments = [test.__module__, test.__name__, repr(given)]
        finished = children.finish(children.start(["-c", _PROGRAM, *arguments], loop_name))
        assert finished.returncode == 0, finished.out + finished.err
        assert (finished.out, finished.err) == (_DONE, "")

    # What pytest is to give it.
    parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
    vars(in_a_child)["__signature__"] = wanted.replace(parameters=parameters)
    return in_a_child


def run(module: str, name: str, given: str) -> None:
    """In the child: call the body."""
    body = inspect.unwrap(getattr(importlib.import_module(module), name))
    arguments = dict(eval(given))  # a repr of our own, of strings and numbers
    wanted = inspect.signature(body).parameters
    with contextlib.ExitStack() as stack:
        if "oneloop" in wanted:
            arguments["oneloop"] = importlib.import_module("oneloop")
        if "loop" in wanted:
            arguments["loop"] = stack.enter_context(contextlib.closing(loops.new_event_loop()))
        body(**arguments)
    sys.stdout.write(_DONE)
