"""What the programs under test that are clients have in common: workers that repeat one operation, and who asks for it.

An empty JSON object says that it is connected. Whoever measures writes a line to standard input: `seconds S` or
`requests N`. Then `WORKERS` tasks repeat their operation for that long, or that often in all, and one JSON object says
how often it was done and how long that took. Between the lines the loop does not run, so that whoever measures can set
marks there. The end of the input ends the program.

An operation checks its own answer, every time.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from benches.real.programs import told

WORKERS = 10

Operation = Callable[[], Awaitable[None]]


class WrongAnswerError(Exception):
    """The other side answered with something else than what was asked for."""


def main(opened: Callable[[], AbstractAsyncContextManager[Sequence[Operation]]]) -> None:
    """Serve standard input; `opened` connects, gives an operation for each worker and disconnects."""
    with asyncio.Runner(loop_factory=told.new_event_loop) as runner:
        connection = opened()
        operations = runner.run(entered(connection))
        print(json.dumps({}), flush=True)
        for line in sys.stdin:
            unit, amount = line.split()
            print(json.dumps(runner.run(repeat(operations, unit, float(amount)))), flush=True)
        runner.run(left(connection))


async def entered(connection: AbstractAsyncContextManager[Sequence[Operation]]) -> Sequence[Operation]:
    return await connection.__aenter__()


async def left(connection: AbstractAsyncContextManager[Sequence[Operation]]) -> None:
    await connection.__aexit__(None, None, None)


async def repeat(operations: Sequence[Operation], unit: str, amount: float) -> dict[str, float]:
    quota = Quota(amount if unit == "requests" else math.inf)
    start = time.perf_counter()
    if unit == "seconds":
        asyncio.get_running_loop().call_later(amount, quota.end)

    async def work(operation: Operation) -> None:
        while quota.take():
            await operation()

    await asyncio.gather(*map(work, operations))
    return {"requests": quota.taken, "seconds": time.perf_counter() - start}


class Quota:
    """How often the workers may go on."""

    def __init__(self, amount: float) -> None:
        self._amount = amount
        self.taken = 0

    def take(self) -> bool:
        if self.taken >= self._amount:
            return False
        self.taken += 1
        return True

    def end(self) -> None:
        self._amount = self.taken
