# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""One round of each kind of work that is not the network: children, threads, timers, tasks, signals, pipes, loops."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import os
import signal
import socket

from soak.stage import PAYLOAD, talk

PIPE = asyncio.subprocess.PIPE
variable = contextvars.ContextVar[object]("variable")


class ExpectedError(Exception):
    """What a round raises on purpose."""


def fail():
    raise ExpectedError


async def children(stage):
    cat = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    assert await cat.communicate(PAYLOAD) == (PAYLOAD, None)
    shell = await asyncio.create_subprocess_shell("echo out; echo err >&2; exit 3", stdout=PIPE, stderr=PIPE)
    assert await shell.communicate() == (b"out\n", b"err\n")
    assert shell.returncode == 3


async def children_that_are_killed(stage):
    process = await asyncio.create_subprocess_exec("sleep", "1000", stdout=PIPE)
    reading = asyncio.create_task(process.stdout.read())
    process.kill()
    assert await process.wait() == -signal.SIGKILL
    assert await reading == b""
    with contextlib.suppress(FileNotFoundError):
        await asyncio.create_subprocess_exec("/there/is/no/such/program")


async def executors(stage):
    loop = asyncio.get_running_loop()
    squares = await asyncio.gather(*(loop.run_in_executor(None, pow, n, 2) for n in range(20)))
    assert squares == [n * n for n in range(20)]
    with contextlib.suppress(ExpectedError):
        await asyncio.to_thread(fail)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert await loop.run_in_executor(pool, len, PAYLOAD) == len(PAYLOAD)
    arrived = loop.create_future()
    await loop.run_in_executor(None, loop.call_soon_threadsafe, arrived.set_result, None)
    await arrived


async def timers(stage):
    loop = asyncio.get_running_loop()
    seen = []
    armed = [loop.call_later(n / 10_000, seen.append, n) for n in range(100)]
    for handle in armed[::2]:
        handle.cancel()
    far = [loop.call_later(3600, seen.append, n) for n in range(100)]
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(loop.create_future(), 0.02)
    for handle in far:
        handle.cancel()
    assert set(seen) <= set(range(1, 100, 2))


async def tasks(stage):
    async def nothing():
        await asyncio.sleep(0)

    async def failing():
        await asyncio.sleep(0)
        raise ExpectedError

    async def stubborn():
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)

    with contextlib.suppress(BaseExceptionGroup):
        async with asyncio.TaskGroup() as group:
            for work in (stubborn, nothing, failing, stubborn):
                group.create_task(work())
    await asyncio.gather(*(nothing() for _ in range(200)))
    waiting = [asyncio.create_task(stubborn()) for _ in range(50)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel("enough")
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)

    queue = asyncio.Queue(5)
    produced = asyncio.gather(*(queue.put(n) for n in range(50)))
    assert sorted([await queue.get() for _ in range(50)]) == list(range(50))
    await produced


async def generators_and_contexts(stage):
    async def numbers():
        for number in range(3):
            yield number
            await asyncio.sleep(0)

    async for number in numbers():
        if number:
            break  # the loop's hook ends it

    async def within():
        variable.set(PAYLOAD)
        await asyncio.sleep(0)
        return variable.get()

    context = contextvars.copy_context()
    assert await asyncio.create_task(within(), context=context) is PAYLOAD
    assert context[variable] is PAYLOAD


async def signals(stage):
    loop = asyncio.get_running_loop()
    for _ in range(10):
        arrived = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, arrived.set_result, None)
        os.kill(os.getpid(), signal.SIGUSR1)
        await arrived
        assert loop.remove_signal_handler(signal.SIGUSR1)


async def errors(stage):
    """What nobody handles is told to the exception handler, which expects this."""
    loop = asyncio.get_running_loop()
    for _ in range(10):
        loop.call_soon(fail)
        loop.call_soon_threadsafe(fail)
    await asyncio.sleep(0)


async def pipes(stage):
    loop = asyncio.get_running_loop()
    reading, writing = (os.fdopen(end, mode, buffering=0) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    reader = asyncio.StreamReader()
    source, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), reading)
    sink, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, writing)
    writer = asyncio.StreamWriter(sink, protocol, None, loop)
    await talk(reader, writer, 1, 50_000)
    writer.close()
    assert await reader.read() == b""
    source.close()


async def watchers(stage):
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    with one, other:
        for _ in range(20):
            readable, writable = loop.create_future(), loop.create_future()
            loop.add_reader(one, lambda future=readable: future.done() or future.set_result(one.recv(10)))
            loop.add_writer(other, lambda future=writable: future.done() or future.set_result(other.send(b"x")))
            assert await asyncio.gather(readable, writable) == [b"x", 1]
            assert loop.remove_reader(one)
            assert loop.remove_writer(other)


async def other_loops(stage):
    """A loop that is made, run and closed in another thread, with a connection and a child of its own."""

    async def little():
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.tcp)
        await talk(reader, writer, 1_000)
        writer.close()
        await writer.wait_closed()
        await asyncio.gather(*(asyncio.sleep(0.001) for _ in range(10)))
        asyncio.get_running_loop().call_later(3600, fail)  # still there when the loop is closed

    factory = type(asyncio.get_running_loop())

    def thread():
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(little())

    await asyncio.to_thread(thread)


ROUNDS = [
    *(children, children_that_are_killed, executors, timers, tasks, generators_and_contexts),
    *(signals, errors, pipes, watchers, other_loops),
]
