# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""anyio's structured concurrency and its sockets: a library that looks behind the loop's public face more than most."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream


@pytest.fixture
def run(loop_factory):
    def run(main):
        return anyio.run(main, backend_options={"loop_factory": loop_factory})

    return run


async def echo(client):
    async with client:
        async for chunk in client:
            await client.send(chunk)


async def whole(stream, size):
    return await BufferedByteReceiveStream(stream).receive_exactly(size)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_an_echo_of_many_clients(run, kind, tmp_path):
    async def main():
        if kind == "tcp":
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
            port = listener.extra(SocketAttribute.local_port)
        else:
            listener = await anyio.create_unix_listener(tmp_path / "socket")

        async def talk(number):
            connect = anyio.connect_tcp("127.0.0.1", port) if kind == "tcp" else anyio.connect_unix(tmp_path / "socket")
            async with await connect as stream, anyio.create_task_group() as group:
                message = bytes([number]) * 300_000
                group.start_soon(stream.send, message)
                assert await whole(stream, len(message)) == message

        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            async with anyio.create_task_group() as talks:
                for number in range(50):
                    talks.start_soon(talk, number)
            group.cancel_scope.cancel()

    run(main)


def test_names_and_happy_eyeballs(run):
    async def main():
        found = await anyio.getaddrinfo("localhost", 80, family=socket.AF_INET)
        assert ("127.0.0.1", 80) in [info[4] for info in found]
        listener = await anyio.create_tcp_listener(local_host="localhost")
        port = listener.extra(SocketAttribute.local_port)
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            async with await anyio.connect_tcp("localhost", port) as stream:
                await stream.send(b"hello")
                assert await stream.receive() == b"hello"
                await stream.send_eof()
                with pytest.raises(anyio.EndOfStream):
                    await stream.receive()
            group.cancel_scope.cancel()

    run(main)


@asynccontextmanager
async def connected(serve):
    """A client of a server that handles its connections with `serve`."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        async with await anyio.connect_tcp(*listener.extra(SocketAttribute.local_address)) as stream:
            yield stream
        group.cancel_scope.cancel()


def test_cancelling_receives_loses_nothing(run):
    async def main():
        async with connected(echo) as stream:
            received = b""
            for number in range(100):
                with anyio.move_on_after(0):
                    received += await stream.receive()
                await stream.send(bytes([number]))
            while len(received) < 100:
                with anyio.fail_after(10):
                    received += await stream.receive()
            assert received == bytes(range(100))

    run(main)


def test_a_peer_that_closes(run):
    async def close(client):
        await client.aclose()

    async def main():
        async with connected(close) as stream:
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()

            async def send_on():
                while True:
                    await stream.send(b"x" * 100_000)

            with pytest.raises(anyio.BrokenResourceError):
                await send_on()
        with pytest.raises(OSError, match="connect"):
            await anyio.connect_tcp("127.0.0.1", 1)

    run(main)


def test_waiting_for_sockets(run):
    async def main():
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            await anyio.wait_writable(ours)
            with anyio.move_on_after(0.01) as scope:
                await anyio.wait_readable(ours)
            assert scope.cancelled_caught
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.wait_readable, ours)
                await anyio.wait_all_tasks_blocked()
                theirs.send(b"x")
            assert ours.recv(1) == b"x"

    run(main)


def test_threads_and_signals(run):
    async def main():
        async def sleep():
            await anyio.sleep(0)
            return 1

        assert await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(sleep)) == 1
        with anyio.open_signal_receiver(signal.SIGUSR1) as signals:
            os.kill(os.getpid(), signal.SIGUSR1)
            with anyio.fail_after(10):
                async for signum in signals:
                    assert signum == signal.SIGUSR1
                    break

    run(main)
