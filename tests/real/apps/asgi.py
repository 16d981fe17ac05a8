"""A small ASGI application without a framework."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Event = dict[str, Any]


async def app(scope: Event, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]) -> None:
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"]
            print(event, flush=True)
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return
    body = type(asyncio.get_running_loop()).__module__.partition(".")[0].encode()
    if scope["path"] == "/echo":
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
