"""Waiting for what another process has to do first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], Awaitable[object]], limit: float = 10.0) -> None:
    """Ask again and again until the answer is yes."""
    async with asyncio.timeout(limit):
        while not await condition():
            await asyncio.sleep(0.005)
