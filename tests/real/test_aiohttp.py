# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""aiohttp, server and client on one loop, each with its own protocol on our transports."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import socket
import struct

import aiohttp
import pytest
from aiohttp import web

from real.waiting import until

MIB = 1024 * 1024


class Application:
    """One route for each way in which a server is used, and what its handlers saw."""

    def __init__(self):
        self.seen = []
        self.protocols = set()
        self.release = asyncio.Event()

    def routes(self):
        return [
            web.get("/plain", self.plain),
            web.post("/echo", self.echo),
            web.post("/digest", self.digest),
            web.get("/stream", self.stream),
            web.get("/wait", self.wait),
            web.get("/socket", self.socket),
        ]

    async def plain(self, request):
        self.protocols.add(request.protocol)
        return web.Response(text=f"Hello, {request.query.get('name', 'World')}!")

    async def echo(self, request):
        return web.Response(body=await request.read())

    async def digest(self, request):
        digest, size = hashlib.sha256(), 0
        async for chunk in request.content.iter_chunked(256 * 1024):
            digest.update(chunk)
            size += len(chunk)
        return web.json_response({"size": size, "digest": digest.hexdigest()})

    async def stream(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for number in range(int(request.query["chunks"])):
                await response.write(number.to_bytes(4, "big") * 16_384)
        except ConnectionError:
            self.seen.append("lost")
            raise
        return response

    async def wait(self, request):
        self.seen.append("waiting")
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        return web.Response(text="released")

    async def socket(self, request):
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            if message.data == "close":
                await websocket.close(code=4001, message=b"as you like")
            elif message.type == aiohttp.WSMsgType.BINARY:
                await websocket.send_bytes(message.data)
            else:
                await websocket.send_str(message.data.upper())
        self.seen.append(websocket.close_code)
        return websocket


@contextlib.asynccontextmanager
async def served(*extra, unix=None, **options):
    """The application, its runner, and a client session whose base is the server's address."""
    application, app = Application(), web.Application(client_max_size=20 * MIB)
    app.add_routes([*application.routes(), *extra])
    runner = web.AppRunner(app, shutdown_timeout=5, **options)
    await runner.setup()
    site = web.UnixSite(runner, unix) if unix else web.TCPSite(runner, "localhost", 0)
    await site.start()
    base = "http://unix" if unix else f"http://localhost:{site._server.sockets[0].getsockname()[1]}"
    connector = aiohttp.UnixConnector(unix) if unix else aiohttp.TCPConnector(limit=200)
    async with aiohttp.ClientSession(base, connector=connector) as session:
        try:
            yield application, runner, session
        finally:
            await runner.cleanup()


@pytest.fixture(params=["tcp", "unix"])
def unix(request, tmp_path):
    return str(tmp_path / "socket") if request.param == "unix" else None


def test_requests_on_a_connection_that_is_kept(run, unix):
    async def main():
        async with served(unix=unix) as (application, _, session):
            for name in ("one", "two", "three" * 1000):
                async with session.get("/plain", params={"name": name}) as answer:
                    assert await answer.text() == f"Hello, {name}!"
            body = os.urandom(10 * MIB)
            async with session.post("/echo", data=io.BytesIO(body)) as answer:
                assert answer.status == 200
                assert await answer.read() == body
            async with session.get("/absent") as answer:
                assert answer.status == 404
            assert len(application.protocols) == 1

    run(main())


def test_a_chunked_upload_of_fifty_mebibytes(run, unix):
    async def main():
        digest = hashlib.sha256()

        async def upload():
            for number in range(800):
                chunk = number.to_bytes(4, "big") * 16_384
                digest.update(chunk)
                yield chunk

        async with served(unix=unix) as (_, _, session), session.post("/digest", data=upload()) as answer:
            assert await answer.json() == {"size": 50 * MIB, "digest": digest.hexdigest()}

    run(main())


def test_a_stream_that_is_read_slowly(run, unix):
    async def main():
        async with served(unix=unix) as (_, _, session), session.get("/stream?chunks=300") as answer:
            number, rest = 0, b""
            async for chunk in answer.content.iter_any():
                rest += chunk
                while len(rest) >= 65_536:
                    assert rest[:65_536] == number.to_bytes(4, "big") * 16_384
                    number, rest = number + 1, rest[65_536:]
                if number % 10 == 0:
                    await asyncio.sleep(0)
            assert (number, rest) == (300, b"")

    run(main())


def test_two_hundred_requests_at_once(run):
    async def main():
        async with served() as (application, _, session):

            async def ask():
                async with session.get("/wait") as answer:
                    return await answer.text()

            asked = [asyncio.create_task(ask()) for _ in range(200)]

            async def all_there():
                return len(application.seen) == 200

            await until(all_there)
            application.release.set()
            assert await asyncio.gather(*asked) == ["released"] * 200

            async def ask_again(number):
                async with session.get("/plain", params={"name": str(number)}) as answer:
                    return await answer.text()

            assert await asyncio.gather(*(ask_again(i) for i in range(1000))) == [f"Hello, {i}!" for i in range(1000)]

    run(main())


def test_websockets(run, unix):
    async def main():
        async with served(unix=unix) as (application, _, session):
            async with session.ws_connect("/socket", heartbeat=0.2) as websocket:
                await websocket.send_str("hello")
                assert await websocket.receive_str() == "HELLO"
                for size in (1, 65_536, 3 * MIB):
                    await websocket.send_bytes(b"x" * size)
                    assert await websocket.receive_bytes() == b"x" * size
                await websocket.send_str("close")
                assert (await websocket.receive()).type == aiohttp.WSMsgType.CLOSE
                assert websocket.close_code == 4001
            async with session.ws_connect("/socket") as websocket:
                await websocket.close(code=4002)
            assert application.seen == [1000, 4002]  # what the client answered and what it sent

    run(main())


def test_time_outs(run):
    async def main():
        async with served() as (application, _, session):
            with pytest.raises(TimeoutError):
                await session.get("/wait", timeout=aiohttp.ClientTimeout(total=0.05))
            with pytest.raises(aiohttp.SocketTimeoutError):
                await session.get("/wait", timeout=aiohttp.ClientTimeout(sock_read=0.05))
            application.release.set()
            async with session.get("/wait") as answer:
                assert await answer.text() == "released"

    run(main())


def test_a_client_that_goes_away_cancels_its_handler(run, unix):
    async def main():
        async with served(unix=unix, handler_cancellation=True) as (application, _, session):
            asked = asyncio.create_task(session.get("/wait"))

            async def seen(what):
                return what in application.seen

            await until(lambda: seen("waiting"))
            asked.cancel()
            await asyncio.wait([asked])
            await until(lambda: seen("cancelled"))

    run(main())


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_client_that_goes_away_in_the_middle_of_an_answer(run, reset):
    async def main():
        async with served() as (application, _, session):
            reader, writer = await asyncio.open_connection("localhost", session._base_url.port)
            writer.write(b"GET /stream?chunks=100000 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            if reset:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

            async def noticed():
                return application.seen

            await until(noticed)
            assert application.seen == ["lost"]

    run(main())


def test_a_server_that_goes_away_in_the_middle_of_an_answer(run, unix):
    async def main():
        async def lie(request):
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"only this")
            request.transport.abort()
            return response

        async with served(web.get("/lie", lie), unix=unix) as (_, _, session), session.get("/lie") as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()

    run(main())


def test_a_file(run, tmp_path):
    """By `loop.sendfile` where the loop has it; aiohttp does without where it raises NotImplementedError."""

    async def main():
        (tmp_path / "file").write_bytes(os.urandom(5 * MIB))

        async def file(request):
            return web.FileResponse(tmp_path / "file")

        async with served(web.get("/file", file)) as (_, _, session):
            async with session.get("/file") as answer:
                assert await answer.read() == (tmp_path / "file").read_bytes()
            async with session.get("/file", headers={"Range": "bytes=1000000-1999999"}) as answer:
                assert answer.status == 206
                assert await answer.read() == (tmp_path / "file").read_bytes()[1_000_000:2_000_000]

    run(main())


def test_cleaning_up_lets_a_request_in_flight_finish(run):
    async def main():
        async with served() as (application, runner, session):
            asked = asyncio.create_task(session.get("/wait"))

            async def waiting():
                return application.seen == ["waiting"]

            await until(waiting)
            cleanup = asyncio.create_task(runner.cleanup())
            await asyncio.sleep(0.01)
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("/plain")
            application.release.set()
            async with await asked as answer:
                assert await answer.text() == "released"
            await cleanup

    run(main())


def test_nobody_listens(run, monkeypatch):
    lookup = socket.getaddrinfo

    def unknown(host, *question, **options):
        """No test asks the network."""
        if host == "name.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return lookup(host, *question, **options)

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    async def main():
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("http://127.0.0.1:1")
            with pytest.raises(aiohttp.ClientConnectorDNSError):
                await session.get("http://name.invalid")

    run(main())
