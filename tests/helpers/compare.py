"""Run the same scenario on asyncio's loop and on the loop under test, and expect the same to be seen.

What asyncio does changes from one patch release to the next, so the expectation is not written down: it is recorded
on the running interpreter. What may differ is only what names a loop or an address.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

Factory = Callable[[], asyncio.AbstractEventLoop]


def plain(text: object) -> str:
    """A message without the parts that differ between two runs: addresses, task numbers and the loop's class."""
    text = re.sub(r"0x[0-9a-f]+", "0x", str(text))
    text = re.sub(r"Task-\d+", "Task-N", text)
    return re.sub(r"<(\w+) running=(\w+) closed=(\w+) debug=(\w+)>", r"<LOOP running=\2 closed=\3 debug=\4>", text)


def raised(call: Callable[[], object]) -> tuple[str, str] | None:
    """The type and the text of what a call raises, or None."""
    try:
        call()
    except BaseException as error:
        return type(error).__name__, plain(error)
    return None


def raised_type(call: Callable[[], object]) -> str | None:
    """Only the type: for messages that come from the implementation's own language."""
    seen = raised(call)
    return seen and seen[0]


@contextlib.contextmanager
def logged(level: int = logging.INFO) -> Iterator[list[str]]:
    """What asyncio's logger is told meanwhile: level, message, and the exception's type if there is one."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            lines.append(plain(f"{record.levelname}: {record.getMessage()} [{type(error).__name__}: {error}]"))

    logger = logging.getLogger("asyncio")
    before, handler = logger.level, Keep()
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield lines
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def reports(loop: asyncio.AbstractEventLoop) -> list[dict[str, str]]:
    """Collect every context that the loop's exception handler is given, in a comparable form."""
    seen: list[dict[str, str]] = []

    def keep(_: object, context: dict[str, object]) -> None:
        seen.append({key: plain(value if isinstance(value, str) else repr(value)) for key, value in context.items()})

    loop.set_exception_handler(keep)
    return seen


def like_asyncio(scenario: Callable[[Factory], Any], factory: Factory) -> Any:
    """Expect that the scenario shows the same on asyncio's loop and on this one; return what it showed."""
    # One line for both calls: debug mode's messages quote it.
    expected, actual = (scenario(each) for each in (asyncio.SelectorEventLoop, factory))
    assert actual == expected
    return actual
