# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""An HTTPS file server of aiohttp's: whole files and parts of them to several clients at once, of aiohttp's own and of
Python's `http.client` in threads, and clients that leave in the middle.

aiohttp sends a file by `loop.sendfile`, which over TLS reads and writes; or does that itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import os
import random
import socket
import ssl

import aiohttp
import pytest
from aiohttp import web
from helpers.tls import HOST, client_context, server_context

from real.waiting import until

MIB = 1024 * 1024
# Around TLS's record, and what does not fit into any buffer on the way.
SIZES = [0, 1, 16_383, 16_384, 16_385, MIB - 1, 7 * MIB + 4093]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for size in SIZES:
        (folder / str(size)).write_bytes(os.urandom(size))
    return folder


def digest(folder, size):
    return hashlib.sha256((folder / str(size)).read_bytes()).hexdigest()


class Files:
    """A server of the files in a folder; how many were begun, and how many came to an end."""

    def __init__(self, folder):
        self.folder, self.begun, self.ended = folder, 0, 0

    async def get(self, request):
        files = self

        class Counted(web.FileResponse):
            async def prepare(self, request):
                files.begun += 1
                try:
                    return await super().prepare(request)
                finally:
                    files.ended += 1

        return Counted(self.folder / request.match_info["name"])


@contextlib.asynccontextmanager
async def served(folder):
    """The files, their port, and a session of clients that trust the server."""
    files, app = Files(folder), web.Application()
    app.add_routes([web.get("/own/{name}", files.get), web.static("/static", folder)])
    runner = web.AppRunner(app, shutdown_timeout=5)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0, ssl_context=server_context())
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    connector = aiohttp.TCPConnector(ssl=client_context(), limit=100)
    async with aiohttp.ClientSession(f"https://{HOST}:{port}", connector=connector) as session:
        try:
            yield files, port, session
        finally:
            await runner.cleanup()


async def fetched(session, path):
    """The digest of what arrives."""
    sum_ = hashlib.sha256()
    async with session.get(path) as answer:
        assert answer.status == 200
        async for chunk in answer.content.iter_any():
            sum_.update(chunk)
    return sum_.hexdigest()


@pytest.mark.parametrize("route", ["own", "static"])
def test_files_of_every_size(run, folder, route):
    async def main():
        async with served(folder) as (_, _, session):
            for size in SIZES:
                assert await fetched(session, f"/{route}/{size}") == digest(folder, size)
            async with session.get(f"/{route}/absent") as answer:
                assert answer.status == 404

    run(main())


def test_thirty_clients_at_once(run, folder):
    async def main():
        async with served(folder) as (files, _, session):
            sizes = SIZES[2:] * 6
            expected = {size: digest(folder, size) for size in sizes}
            random.Random(5).shuffle(sizes)
            sums = await asyncio.gather(*(fetched(session, f"/own/{size}") for size in sizes))
            assert sums == [expected[size] for size in sizes]
            assert files.begun == files.ended == len(sizes)

    run(main())


def blocking_client(port, paths):
    """One connection of Python's own client, which is kept; the digests of what arrives."""
    sums = []
    with contextlib.closing(
        http.client.HTTPSConnection(HOST, port, context=client_context(), timeout=20)
    ) as connection:
        for path in paths:
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200
            sums.append(hashlib.sha256(answer.read()).hexdigest())
    return sums


def test_clients_of_another_kind(run, folder):
    async def main():
        async with served(folder) as (_, port, _):
            paths = [f"/own/{size}" for size in SIZES]
            threads = [asyncio.to_thread(blocking_client, port, paths) for _ in range(4)]
            for sums in await asyncio.gather(*threads):
                assert sums == [digest(folder, size) for size in SIZES]

    run(main())


def test_parts_of_a_file(run, folder):
    size = SIZES[-1]
    whole = (folder / str(size)).read_bytes()
    choose = random.Random(7)
    ranges = [(0, 0), (size - 1, size - 1), (0, size - 1), (16_383, 16_384)]
    ranges += [tuple(sorted(choose.choices(range(size), k=2))) for _ in range(20)]

    async def main():
        async with served(folder) as (_, _, session):

            async def part(header, first, last):
                async with session.get(f"/own/{size}", headers={"Range": f"bytes={header}"}) as answer:
                    assert answer.status == 206
                    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
                    assert await answer.read() == whole[first : last + 1]

            await asyncio.gather(*(part(f"{first}-{last}", first, last) for first, last in ranges))
            await part(f"{MIB}-", MIB, size - 1)
            await part("-1000", size - 1000, size - 1)
            async with session.get(f"/own/{size}", headers={"Range": f"bytes={size}-"}) as answer:
                assert answer.status == 416
            async with session.get(f"/own/{size}") as answer:
                tag = answer.headers["ETag"]
                assert await answer.read() == whole
            async with session.get(f"/own/{size}", headers={"If-None-Match": tag}) as answer:
                assert (answer.status, await answer.read()) == (304, b"")
            async with session.head(f"/own/{size}") as answer:
                assert (answer.status, answer.headers["Content-Length"]) == (200, str(size))

    run(main())


def test_a_client_that_reads_slowly(run, folder):
    """The server waits for it, and serves others meanwhile."""
    size = SIZES[-1]

    async def main():
        async with served(folder) as (files, _, session):
            async with session.get(f"/own/{size}") as answer:
                sum_ = hashlib.sha256(await answer.content.readexactly(1000))
                assert await fetched(session, f"/own/{size}") == digest(folder, size)
                assert (files.begun, files.ended) == (2, 1)
                while chunk := await answer.content.read(300_000):
                    sum_.update(chunk)
                    await asyncio.sleep(0)
            assert sum_.hexdigest() == digest(folder, size)

            async def done():
                return files.ended == 2

            await until(done)

    run(main())


@pytest.mark.parametrize("how", ["closes", "aborts", "ends without close_notify"])
def test_clients_that_leave_in_the_middle(run, folder, how):
    """No file stays open (the fixture looks), and the server goes on."""
    size = SIZES[-1]

    async def main():
        async with served(folder) as (files, port, session):

            async def leave():
                reader, writer = await asyncio.open_connection(HOST, port, ssl=client_context())
                writer.write(f"GET /own/{size} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
                if how == "closes":
                    writer.close()
                elif how == "aborts":
                    writer.transport.abort()
                else:
                    writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
                with contextlib.suppress(ssl.SSLError, ConnectionError, TimeoutError):
                    await writer.wait_closed()

            await asyncio.gather(*(leave() for _ in range(10)))

            async def done():
                return files.begun == files.ended == 10

            await until(done)
            assert await fetched(session, f"/own/{size}") == digest(folder, size)

    run(main())


def test_who_speaks_no_tls_gets_nothing(run, folder):
    async def main():
        async with served(folder) as (files, port, session):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(f"GET /own/1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            with contextlib.suppress(ConnectionError):
                assert b"HTTP" not in await reader.read()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                async with session.get("/own/1", ssl=ssl.create_default_context()):
                    pass
            assert files.begun == 0
            assert await fetched(session, "/own/1") == digest(folder, 1)

    run(main())
