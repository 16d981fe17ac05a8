"""asyncpg: one small query, or a thousand rows, over a connection for each worker. Usage: ROWS ADDRESS (JSON)."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg

from benches.real.programs import client

SMALL = "select 1"
LARGE = "select i, 'row ' || i as text, i * 0.5::float8 as half from generate_series(1, {}) as i"


@asynccontextmanager
async def opened() -> AsyncIterator[Sequence[client.Operation]]:
    count, address = int(sys.argv[1]), json.loads(sys.argv[2])
    query, last = LARGE.format(count), (count, f"row {count}", count * 0.5)

    def operation(connection: asyncpg.Connection) -> client.Operation:
        async def one() -> None:
            if await connection.fetchval(SMALL) != 1:
                raise client.WrongAnswerError(SMALL)

        async def many() -> None:
            rows = await connection.fetch(query)
            if len(rows) != count or tuple(rows[-1]) != last:
                raise client.WrongAnswerError(query)

        return one if count == 1 else many

    async with AsyncExitStack() as stack:
        connections = [await asyncpg.connect(**address) for _ in range(client.WORKERS)]
        for connection in connections:
            stack.push_async_callback(connection.close)
        yield [operation(connection) for connection in connections]


if __name__ == "__main__":
    client.main(opened)
