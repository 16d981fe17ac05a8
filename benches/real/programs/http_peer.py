"""The server that aiohttp's client is measured against: not under test, always on asyncio's loop, and as little as an
HTTP server can be: the same answer to each request. Usage: BODY."""

from __future__ import annotations

import asyncio
import contextlib
import sys

END = b"\r\n\r\n"


class Answers(asyncio.Protocol):
    answer = b""

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(END)
        self._transport.write(self.answer * len(requests))


async def main() -> None:
    body = sys.argv[1].encode()
    Answers.answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", 0)
    print(f"running on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
