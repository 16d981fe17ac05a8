"""The first program through `oneloop.run`, which takes the place of `asyncio.run`."""

from greet import greet

import oneloop

oneloop.run(greet())
