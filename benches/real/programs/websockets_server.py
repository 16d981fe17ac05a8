"""websockets' server, with its defaults, sending back what it receives."""

from __future__ import annotations

import asyncio
import contextlib

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError

from benches.real.programs import told


async def echo(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosedError):  # the load leaves without a farewell
        async for message in connection:
            await connection.send(message)


async def main() -> None:
    async with serve(echo, "127.0.0.1", 0) as server:
        (listener,) = server.sockets
        print(f"running on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=told.new_event_loop) as runner:
        runner.run(main())
