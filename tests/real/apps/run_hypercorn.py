"""hypercorn has no option for the loop: its `serve` is a coroutine, which the caller runs on one."""

from __future__ import annotations

import asyncio
import signal

from helpers import loops
from hypercorn.asyncio import serve
from hypercorn.config import Config

from real.apps.asgi import app


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await serve(app, Config.from_mapping(bind="127.0.0.1:0"), shutdown_trigger=stop.wait)


if __name__ == "__main__":
    loops.run(main())
