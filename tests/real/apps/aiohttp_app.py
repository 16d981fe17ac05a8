"""An aiohttp application that runs itself, on a loop that it is given: `python aiohttp_app.py`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

from aiohttp import web
from helpers import loops


async def loop(request: web.Request) -> web.Response:
    return web.json_response(type(asyncio.get_running_loop()).__module__.partition(".")[0])


async def slow(request: web.Request) -> web.Response:
    print("slow: begun", flush=True)
    await asyncio.sleep(0.5)
    return web.Response(text="slow, but whole")


async def background(app: web.Application) -> AsyncIterator[None]:
    print("background: begun", flush=True)
    yield
    print("background: ended", flush=True)


app = web.Application()
app.add_routes([web.get("/loop", loop), web.get("/slow", slow)])
app.cleanup_ctx.append(background)

if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"running on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        web.run_app(app, sock=listener, loop=loops.new_event_loop(), print=None)
        print("run_app returned", flush=True)
