"""Connect by create_connection, and say what came of it in a comparable form."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

from helpers.recorder import Recorder
from helpers.scene import anonymous


def connect(
    loop: asyncio.AbstractEventLoop, *args: Any, factory: Callable[[], Any] = Recorder, **kwargs: Any
) -> tuple[bool, Any, bool]:
    """Connect and close: was it made, to whom, and did it read?"""

    async def main() -> tuple[bool, Any, bool]:
        transport, protocol = await loop.create_connection(factory, *args, **kwargs)
        try:
            return protocol.trace == [("made",)], transport.get_extra_info("peername"), transport.is_reading()
        finally:
            transport.abort()
            await asyncio.sleep(0)

    return loop.run_until_complete(main())


def _worded(exc: BaseException) -> str:
    """The message, without a method's class; what the interpreter says of arguments is not the loop's to promise."""
    text = anonymous(exc)
    if re.search(r"unpack|subscriptable|positional argument", text):
        return "the interpreter's own words"
    return re.sub(r"^\w+\.(\w+\(\) )", r"\1", text)


def _text(exc: BaseException) -> tuple[Any, ...]:
    if isinstance(exc, BaseExceptionGroup):
        return type(exc).__name__, exc.message, [_text(each) for each in exc.exceptions]
    return type(exc).__name__, getattr(exc, "errno", None), _worded(exc)


def failure(call: Callable[[], Any]) -> Any:
    """What a call returns, or its exception's type, number and text."""
    try:
        return call()
    except Exception as exc:
        seen = _text(exc)
        # The traceback holds frames, and they the sockets.
        exc.__traceback__ = None
        return seen
