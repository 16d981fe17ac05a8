# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What the kinds of work share: servers that live for a window, and connections that live for the whole soak.

Contexts are made anew with each window: OpenSSL's server remembers every session for minutes, up to 20,480 of them,
which is no leak but looks like one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import tempfile

from helpers.tls import HOST, client_context, server_context

FILE_SIZE = 300_007
PAYLOAD = os.urandom(200_003)


async def echo(reader, writer):
    """Send back what comes, to a client that may go away at any time."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def talk(reader, writer, *sizes):
    """Send and get back as many bytes as these, one after the other."""
    for size in sizes:
        writer.write(PAYLOAD[:size])
        await writer.drain()
        assert await reader.readexactly(size) == PAYLOAD[:size]


async def hang_up(writer):
    writer.close()
    await writer.wait_closed()


class Stage:
    """The servers of a window: echoes over TCP, a Unix socket and TLS, and one that begins TLS when it is asked to."""

    async def __aenter__(self):
        self.trust = client_context()
        self.identity = server_context()
        async with contextlib.AsyncExitStack() as stack:
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oneloop-soak-")))
            self.folder, self.unix, self.file = folder, str(folder / "echo"), folder / "file"
            self.file.write_bytes(PAYLOAD + PAYLOAD[: FILE_SIZE - len(PAYLOAD)])
            self.tcp = await self.listen(stack, asyncio.start_server(echo, "127.0.0.1", 0))
            self.tls = await self.listen(stack, asyncio.start_server(echo, "127.0.0.1", 0, ssl=self.identity))
            self.upgraded = await self.listen(stack, asyncio.start_server(self.upgrade, "127.0.0.1", 0))
            await self.listen(stack, asyncio.start_unix_server(echo, self.unix))
            self.stack = stack.pop_all()
        return self

    async def __aexit__(self, *error):
        return await self.stack.__aexit__(*error)

    async def listen(self, stack, starting):
        server = await stack.enter_async_context(await starting)
        name = server.sockets[0].getsockname()
        return name[1] if isinstance(name, tuple) else name

    async def upgrade(self, reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go ahead\n")
        await writer.drain()
        await writer.start_tls(self.identity)
        await echo(reader, writer)


class Held:
    """Connections that stay for the whole soak: TCP, Unix, TLS, and a child's pipes."""

    async def __aenter__(self):
        async with contextlib.AsyncExitStack() as stack:
            stage = await stack.enter_async_context(Stage())
            self.streams = [
                await asyncio.open_connection("127.0.0.1", stage.tcp),
                await asyncio.open_unix_connection(stage.unix),
                await asyncio.open_connection("127.0.0.1", stage.tls, ssl=stage.trust, server_hostname=HOST),
            ]
            for _, writer in self.streams:
                stack.push_async_callback(hang_up, writer)
            self.child = await asyncio.create_subprocess_exec(
                "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            stack.push_async_callback(self.child.communicate, b"")  # which ends it
            self.stack = stack.pop_all()
        return self

    async def __aexit__(self, *error):
        return await self.stack.__aexit__(*error)

    async def use(self, _):
        await asyncio.gather(*(talk(reader, writer, 1, 3_000, 100_000) for reader, writer in self.streams))
        await talk(self.child.stdout, self.child.stdin, 10, 20_000)
