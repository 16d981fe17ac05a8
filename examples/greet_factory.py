"""The first program through asyncio's own entry points, which accept a loop factory."""

import asyncio
import sys

from greet import greet

import oneloop

if sys.version_info >= (3, 12):
    asyncio.run(greet(), loop_factory=oneloop.new_event_loop)
else:
    with asyncio.Runner(loop_factory=oneloop.new_event_loop) as runner:
        runner.run(greet())
