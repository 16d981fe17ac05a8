"""aiohttp's server as its own `run_app` runs it: a text and a small JSON document."""

from __future__ import annotations

import socket

from aiohttp import web

from benches.real.programs import told


async def plain(request: web.Request) -> web.Response:
    return web.Response(text="Hello, World!")


async def json(request: web.Request) -> web.Response:
    return web.json_response({"message": "Hello, World!", "numbers": list(range(20))})


def main() -> None:
    app = web.Application()
    app.add_routes([web.get("/plain", plain), web.get("/json", json)])
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(f"running on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        web.run_app(app, sock=listener, loop=told.new_event_loop(), print=None, access_log=None)


if __name__ == "__main__":
    main()
