"""The loop methods that oneloop does not have yet: each says so by its own name.

A method leaves this file in the change that adds it. Those that are coroutines in asyncio are coroutines here, so
that calling and awaiting them fail where the real ones would.
"""

from typing import Any, Never


def _not_yet(name: str) -> NotImplementedError:
    return NotImplementedError(f"oneloop does not have loop.{name}() yet")


class MissingMethods:
    """What ``asyncio.AbstractEventLoop`` names and oneloop lacks. Every method raises ``NotImplementedError``."""

    # Transports.

    async def sendfile(self, *args: Any, **kwargs: Any) -> Never:
        raise _not_yet("sendfile")
