"""The loop that a program is told to run on: by an environment variable, since some are started by command lines of
others (`uvicorn --loop benches.real.programs.told:new_event_loop`)."""

from __future__ import annotations

import asyncio
import os

from benches.suite import loops

VARIABLE = "ONELOOP_BENCH_LOOP"


def new_event_loop() -> asyncio.AbstractEventLoop:
    return loops.factory(os.environ[VARIABLE])()
