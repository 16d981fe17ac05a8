# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""websockets, server and a thousand clients on one loop: many transports of which most are idle at any moment."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from helpers.processes import soon
from websockets.asyncio.client import connect, unix_connect
from websockets.asyncio.server import broadcast, serve, unix_serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

from real.waiting import until

CLIENTS = 1000

pytestmark = pytest.mark.usefixtures("many_descriptors")


async def echo(connection):
    async for message in connection:
        await connection.send(message)


@contextlib.asynccontextmanager
async def clients(server, count, **options):
    """That many clients of a server that listens on a port of its choice."""
    port = server.sockets[0].getsockname()[1]
    async with contextlib.AsyncExitStack() as stack:
        gate = asyncio.Semaphore(100)  # as many as the backlog holds

        async def one():
            async with gate:
                return await connect(f"ws://127.0.0.1:{port}", compression=None, **options)

        connections = await asyncio.gather(*(one() for _ in range(count)))

        async def close():
            await asyncio.gather(*(connection.close() for connection in connections))

        stack.push_async_callback(close)
        yield connections


def test_a_thousand_clients(run):
    """Echo, broadcast, ping and pong, and the closing handshake from both sides."""

    async def main():
        closed = []

        async def handler(connection):
            with contextlib.suppress(ConnectionClosedError):
                await echo(connection)
            closed.append(connection.close_code)

        async def all_closed():
            return len(closed) == len(half)

        async with (
            serve(handler, "127.0.0.1", 0, compression=None, ping_interval=None) as server,
            clients(server, CLIENTS, ping_interval=None) as connections,
        ):

            async def talk(number, connection):
                for message in (f"hello from {number}", b"x" * number):
                    await connection.send(message)
                    assert await connection.recv() == message

            await asyncio.gather(*(talk(number, connection) for number, connection in enumerate(connections)))

            broadcast(server.connections, "to all of you")
            assert set(await asyncio.gather(*(each.recv() for each in connections))) == {"to all of you"}

            waiters = await asyncio.gather(*(each.ping() for each in connections))
            delays = await asyncio.gather(*waiters)
            assert all(delay > 0 for delay in delays)

            half = connections[: CLIENTS // 2]
            await asyncio.gather(*(each.close(code=4000) for each in half))
            await until(all_closed)
            assert len(server.connections) == CLIENTS - len(half)
            assert closed == [4000] * len(half)
        # Leaving the server's block waits for its handlers.
        assert closed == [4000] * len(half) + [1000] * (CLIENTS - len(half))

    run(main())


def test_a_server_that_closes_says_goodbye_to_everybody(run):
    async def main():
        async with serve(echo, "127.0.0.1", 0, compression=None) as server, clients(server, 100) as connections:
            server.close()
            await server.wait_closed()
            for connection in connections:
                with pytest.raises(ConnectionClosedOK) as goodbye:
                    await connection.recv()
                assert goodbye.value.rcvd.code == 1001

    run(main())


def test_large_messages_with_backpressure(run):
    """Messages above the water marks, both ways at once, compressed."""

    async def main():
        async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
            port = server.sockets[0].getsockname()[1]
            async with connect(f"ws://127.0.0.1:{port}", max_size=None) as connection:
                messages = [bytes(range(256)) * 4096 * size for size in range(8)]

                async def send():
                    for message in messages:
                        await connection.send(message)

                sender = asyncio.create_task(send())
                for message in messages:
                    assert await connection.recv() == message
                await sender

    run(main())


def test_a_slow_reader_does_not_fill_the_memory(run):
    """The server's writes wait for a client that does not read: the protocol is told to pause, then to resume."""

    async def main():
        sent = []

        async def pour(connection):
            for number in range(200):
                await connection.send(number.to_bytes(2, "big") * 50_000)
                sent.append(number)

        async with serve(pour, "127.0.0.1", 0, compression=None) as server:
            port = server.sockets[0].getsockname()[1]
            async with connect(f"ws://127.0.0.1:{port}", compression=None, max_queue=2) as connection:
                before = -1
                while len(sent) > before:  # until the server stands still
                    before = len(sent)
                    for _ in range(200):
                        await asyncio.sleep(0)
                    await asyncio.sleep(0.02)
                assert 0 < len(sent) < 200
                received = [int.from_bytes((await connection.recv())[:2], "big") for _ in range(200)]
                assert received == list(range(200))

    run(main())


def test_pings_keep_a_connection_and_silence_ends_it(run):
    async def main():
        async def silent(reader, writer):
            """Answers the handshake and nothing after it."""
            import base64
            import hashlib

            request = await reader.readuntil(b"\r\n\r\n")
            key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))
            answer = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + base64.b64encode(answer) + b"\r\n\r\n"
            )
            await reader.read()
            writer.close()

        async with serve(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with connect(f"ws://127.0.0.1:{port}", ping_interval=0.01, ping_timeout=10) as connection:
                await soon(lambda: connection.latency > 0)
                await connection.send("still here")
                assert await connection.recv() == "still here"

        mute = await asyncio.start_server(silent, "127.0.0.1", 0)
        async with mute:
            port = mute.sockets[0].getsockname()[1]
            connection = await connect(
                f"ws://127.0.0.1:{port}", ping_interval=0.02, ping_timeout=0.05, close_timeout=0.05
            )
            with pytest.raises(ConnectionClosedError):
                await connection.recv()

    run(main())


def test_a_client_that_vanishes(run):
    async def main():
        ended = asyncio.get_running_loop().create_future()

        async def handler(connection):
            try:
                await connection.recv()
            except ConnectionClosedError as error:
                ended.set_result(error)

        async with serve(handler, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            connection = await connect(f"ws://127.0.0.1:{port}")
            connection.transport.abort()
            assert (await asyncio.wait_for(ended, 10)).rcvd is None

    run(main())


def test_over_a_unix_socket(run, tmp_path):
    async def main():
        path = str(tmp_path / "socket")
        async with unix_serve(echo, path), unix_connect(path) as connection:
            await connection.send("over a file")
            assert await connection.recv() == "over a file"

    run(main())
