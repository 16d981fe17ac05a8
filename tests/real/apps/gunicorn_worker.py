"""gunicorn chooses a loop by its worker's class."""

from __future__ import annotations

import asyncio

from gunicorn.workers.gasgi import ASGIWorker
from helpers import loops


class Worker(ASGIWorker):  # type: ignore[misc]
    def _setup_event_loop(self) -> None:
        self.loop = loops.new_event_loop()
        asyncio.set_event_loop(self.loop)
