"""redis-py's asyncio client: one command, or a pipeline of many. Usage: COMMANDS ADDRESS (JSON)."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import redis.asyncio

from benches.real.programs import client

VALUE = b"value" * 20


@asynccontextmanager
async def opened() -> AsyncIterator[Sequence[client.Operation]]:
    count, address = int(sys.argv[1]), json.loads(sys.argv[2])
    database = redis.asyncio.Redis(**address)
    await database.set("key", VALUE)

    async def one() -> None:
        if await database.get("key") != VALUE:
            raise client.WrongAnswerError("get")

    async def many() -> None:
        pipeline = database.pipeline(transaction=False)
        for _ in range(count):
            pipeline.get("key")
        if await pipeline.execute() != wanted:
            raise client.WrongAnswerError("pipeline")

    wanted = [VALUE] * count
    try:
        yield [one if count == 1 else many] * client.WORKERS
    finally:
        await database.aclose()


if __name__ == "__main__":
    client.main(opened)
