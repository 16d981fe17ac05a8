# mypy: disallow-untyped-decorators=False
"""granian takes loops by name from its registry; its own runtime's threads feed the loop."""

from __future__ import annotations

import asyncio
import sys

from granian import Granian, loops
from helpers import loops as chosen


@loops.register("chosen")
def build() -> asyncio.AbstractEventLoop:
    loop = chosen.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


if __name__ == "__main__":
    Granian("real.apps.asgi:app", port=int(sys.argv[1]), interface="asgi", loop="chosen").serve()
