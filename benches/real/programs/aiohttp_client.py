"""aiohttp's client: GET over connections that are kept. Usage: URL BODY."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp

from benches.real.programs import client


@asynccontextmanager
async def opened() -> AsyncIterator[Sequence[client.Operation]]:
    url, wanted = sys.argv[1], sys.argv[2].encode()
    async with aiohttp.ClientSession() as session:

        async def get() -> None:
            async with session.get(url) as answer:
                if answer.status != 200 or await answer.read() != wanted:
                    raise client.WrongAnswerError(url)

        yield [get] * client.WORKERS


if __name__ == "__main__":
    client.main(opened)
