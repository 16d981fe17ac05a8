# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The kinds of operations. Each is an async function of the loop, how many, and the objects watched (`Shared`).

`share` is how large a part of the asked number is done: what takes a system call or a process takes its time. What an
operation opens it closes.
"""

import asyncio
import contextlib
import contextvars
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable

from helpers.tls import HOST, client_context, server_context

OPERATIONS: dict[str, tuple[Callable[..., Awaitable[None]], float]] = {}
# Leaks on purpose, which have to be seen.
LEAKS: dict[str, tuple[Callable[..., Awaitable[None]], float]] = {}
BATCH = 100
PAYLOAD = bytes(range(256)) * 4


class ExpectedError(Exception):
    """Raised by work that is to fail."""


class Shared:
    """Objects that every operation of a kind uses: their reference counts are compared exactly."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.argument = ["an argument"]
        self.callback = lambda *_: None
        self.context = contextvars.copy_context()
        self.name = "a name of its own".replace("own", "shared")
        self.number = 1 << 40
        self.loop = loop

    def watched(self) -> dict[str, object]:
        return {**vars(self), "PAYLOAD": PAYLOAD, "ExpectedError": ExpectedError}


def operation(share=1.0, register=OPERATIONS):
    def add(function):
        register[function.__name__] = (function, share)
        return function

    return add


async def in_batches(n, once, turns=1):
    for number in range(n):
        once()
        if number % BATCH == 0:
            for _ in range(turns):
                await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@operation()
async def call_soon(loop, n, shared):
    await in_batches(n, lambda: loop.call_soon(shared.callback))


@operation()
async def call_soon_arguments(loop, n, shared):
    await in_batches(
        n,
        lambda: loop.call_soon(
            shared.callback, shared.argument, shared.name, shared.number, None, context=shared.context
        ),
    )


@operation()
async def call_soon_cancelled(loop, n, shared):
    await in_batches(n, lambda: loop.call_soon(shared.callback, shared.argument).cancel())


@operation()
async def call_soon_looked_at(loop, n, shared):
    def once():
        handle = loop.call_soon(shared.callback, shared.argument, context=shared.context)
        repr(handle), handle._callback, handle._args, handle.cancelled(), hash(handle)
        with contextlib.suppress(AttributeError):
            handle.get_context()

    await in_batches(n, once)


@operation(0.5)
async def call_soon_raises(loop, n, shared):
    def fail(*_):
        raise ExpectedError(shared.argument)

    await in_batches(n, lambda: loop.call_soon(fail, shared.argument))


@operation(0.5)
async def call_soon_refused(loop, n, shared):
    for _ in range(n):
        with contextlib.suppress(TypeError):
            loop.call_soon()
        with contextlib.suppress(TypeError):
            loop.call_soon(shared.callback, shared.argument, wrong=shared.name)
        with contextlib.suppress(TypeError):
            loop.call_later(shared.name, shared.callback, shared.argument)
        with contextlib.suppress(ValueError):
            loop.add_reader(-1, shared.callback, shared.argument)


@operation()
async def call_later_fired(loop, n, shared):
    await in_batches(n, lambda: loop.call_later(0, shared.callback, shared.argument, context=shared.context), turns=2)


@operation()
async def call_later_cancelled(loop, n, shared):
    await in_batches(n, lambda: loop.call_later(1000, shared.callback, shared.argument).cancel())


@operation()
async def call_at_cancelled_in_bulk(loop, n, shared):
    for _ in range(n // BATCH):
        handles = [loop.call_at(loop.time() + 1000 + i, shared.callback, shared.argument) for i in range(BATCH)]
        for handle in handles:
            handle.cancel()
        await asyncio.sleep(0)


@operation()
async def threadsafe(loop, n, shared):
    await in_batches(n, lambda: loop.call_soon_threadsafe(shared.callback, shared.argument, context=shared.context))


@operation(0.3)
async def threadsafe_from_another_thread(loop, n, shared):
    done = loop.create_future()

    def post():
        for number in range(n):
            handle = loop.call_soon_threadsafe(shared.callback, shared.argument)
            if number % 7 == 0:
                handle.cancel()
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=post)
    thread.start()
    await done
    thread.join()


@operation()
async def futures(loop, n, shared):
    for number in range(n):
        future = loop.create_future()
        future.add_done_callback(shared.callback)
        if number % 2:
            future.set_result(shared.argument)
            assert await future is shared.argument
        else:
            loop.call_soon(future.set_result, shared.argument)
            assert await future is shared.argument


async def nothing(what, turns=0):
    for _ in range(turns):
        await asyncio.sleep(0)
    return what


@operation()
async def tasks(loop, n, shared):
    for _ in range(n):
        assert await loop.create_task(nothing(shared.argument), name=shared.name) is shared.argument


@operation()
async def steps(loop, n, shared):
    """A task's usual steps: giving way, waiting for two futures in turn, and returning to one, to two and to nobody."""

    async def work(first, second):
        await asyncio.sleep(0)
        assert await first is await second is shared.argument
        return shared.argument

    for number in range(n // 4):
        first, second = loop.create_future(), loop.create_future()
        task = loop.create_task(work(first, second), name=shared.name)
        for _ in range(number % 3):
            task.add_done_callback(shared.callback, context=shared.context)
        for future in (first, second):
            await asyncio.sleep(0)
            future.set_result(shared.argument)
        assert await task is shared.argument


@operation()
async def steps_done_over(loop, n, shared):
    """Steps of which asyncio's C code does the rest: raising, a request to cancel, and what is no future of its own."""

    class Future(asyncio.Future):
        pass

    async def work(kind, future):
        await asyncio.sleep(0)
        if kind == 0:
            raise ExpectedError(shared.argument)
        if kind == 1:
            asyncio.current_task().cancel(shared.name)
        return await future

    for number in range(n // 4):
        future = Future(loop=loop)
        task = loop.create_task(work(number % 3, future), name=shared.name)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not future.done():
            future.set_result(shared.argument)
        with contextlib.suppress(ExpectedError, asyncio.CancelledError):
            assert await task is shared.argument


@operation(0.5)
async def tasks_in_contexts(loop, n, shared):
    for _ in range(n):
        await loop.create_task(nothing(shared.argument, 1), context=shared.context)


@operation(0.5)
async def tasks_cancelled(loop, n, shared):
    for _ in range(n):
        task = loop.create_task(nothing(shared.argument, 3))
        await asyncio.sleep(0)
        task.cancel(shared.name)
        with contextlib.suppress(asyncio.CancelledError):
            await task


@operation(0.5)
async def tasks_that_fail(loop, n, shared):
    async def failing():
        await asyncio.sleep(0)
        raise ExpectedError(shared.argument)

    for _ in range(n):
        with contextlib.suppress(ExpectedError):
            await loop.create_task(failing())


@operation(0.5)
async def tasks_eager(loop, n, shared):
    if sys.version_info < (3, 12):
        return await tasks(loop, n, shared)
    before = loop.get_task_factory()
    loop.set_task_factory(asyncio.eager_task_factory)
    try:
        for number in range(n):
            assert await loop.create_task(nothing(shared.argument, number % 2)) is shared.argument
    finally:
        loop.set_task_factory(before)
    return None


@operation(0.5)
async def gathers(loop, n, shared):
    for _ in range(n // 10):
        await asyncio.gather(*(nothing(shared.argument, 1) for _ in range(10)))


@operation()
async def sleeps(loop, n, shared):
    for _ in range(n):
        await asyncio.sleep(0, shared.argument)


@operation(0.1)
async def sleeps_with_timers(loop, n, shared):
    for _ in range(n):
        assert await asyncio.sleep(1e-9, shared.argument) is shared.argument


@operation(0.3)
async def timeouts(loop, n, shared):
    for number in range(n):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1000 if number % 10 else 0):
                await asyncio.sleep(0)


@operation(0.5)
async def queues(loop, n, shared):
    queue = asyncio.Queue(1)

    async def put():
        for _ in range(n):
            await queue.put(shared.argument)

    putting = loop.create_task(put())
    for _ in range(n):
        assert await queue.get() is shared.argument
    await putting


@operation(0.5)
async def contexts(loop, n, shared):
    def within():
        variable.set(shared.argument)

    for number in range(n):
        context = contextvars.copy_context()
        loop.call_soon(within, context=context)
        loop.call_later(0, within, context=context)
        if number % BATCH == 0:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


variable: contextvars.ContextVar[object] = contextvars.ContextVar("variable")


@operation(0.3)
async def async_generators(loop, n, shared):
    async def generate():
        yield shared.argument
        yield shared.argument

    for _ in range(n):
        async for what in generate():
            assert what is shared.argument


@operation(0.05)
async def executors(loop, n, shared):
    for _ in range(n):
        await loop.run_in_executor(None, shared.callback, shared.argument)
    await loop.shutdown_default_executor()
    loop._default_executor = None
    loop._executor_shutdown_called = False


async def echo(reader, writer):
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


@contextlib.asynccontextmanager
async def connection(**secure):
    trust = {"ssl": client_context(), "server_hostname": HOST} if secure else {}
    async with await asyncio.start_server(echo, "127.0.0.1", 0, **secure) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), **trust)
        try:
            yield reader, writer
        finally:
            writer.close()
            await writer.wait_closed()
            for _ in range(10):
                await asyncio.sleep(0)


@operation(0.5)
async def streams(loop, n, shared):
    async with connection() as (reader, writer):
        for number in range(n):
            writer.write(PAYLOAD)
            if number % 2:
                await writer.drain()
            assert len(await reader.readexactly(len(PAYLOAD))) == len(PAYLOAD)


@operation(0.3)
async def streams_by_lines(loop, n, shared):
    async with connection() as (reader, writer):
        for _ in range(n):
            writer.writelines([b"one ", b"two ", b"three\n"])
            await writer.drain()
            assert await reader.readline() == b"one two three\n"


@operation(0.2)
async def tls_records(loop, n, shared):
    async with connection(ssl=server_context()) as (reader, writer):
        for _ in range(n):
            writer.write(PAYLOAD)
            assert len(await reader.readexactly(len(PAYLOAD))) == len(PAYLOAD)


@operation(0.002)
async def tls_connections(loop, n, shared):
    for _ in range(n):
        async with connection(ssl=server_context()) as (reader, writer):
            writer.write(PAYLOAD)
            await reader.readexactly(len(PAYLOAD))


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Player(asyncio.Protocol):
    def __init__(self, left, done):
        self.left, self.done = left, done

    def connection_made(self, transport):
        self.transport = transport
        transport.write(PAYLOAD)

    def data_received(self, data):
        self.left -= 1
        if self.left <= 0:
            self.transport.close()
        else:
            self.transport.write(PAYLOAD)

    def connection_lost(self, exc):
        self.done.done() or self.done.set_result(None)


@operation(0.5)
async def protocols(loop, n, shared):
    ours, theirs = socket.socketpair()
    done = loop.create_future()
    await loop.create_connection(Echo, sock=theirs)
    await loop.create_connection(lambda: Player(n, done), sock=ours)
    await done
    await asyncio.sleep(0)
    await asyncio.sleep(0)


class BufferedEcho(asyncio.BufferedProtocol):
    def __init__(self):
        self.buffer = bytearray(4096)

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, count):
        self.transport.write(memoryview(self.buffer)[:count])


@operation(0.5)
async def buffered_protocols(loop, n, shared):
    ours, theirs = socket.socketpair()
    done = loop.create_future()
    await loop.create_connection(BufferedEcho, sock=theirs)
    await loop.create_connection(lambda: Player(n, done), sock=ours)
    await done
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@operation(0.01)
async def large_writes(loop, n, shared):
    large = bytearray(300_000)
    async with connection() as (reader, writer):
        for _ in range(n):
            writer.write(large)
            writer.transport.pause_reading()
            writer.transport.resume_reading()
            await reader.readexactly(len(large))
            await writer.drain()


@operation(0.02)
async def connections(loop, n, shared):
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        for number in range(n):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(PAYLOAD)
            await reader.readexactly(len(PAYLOAD))
            writer.transport.get_extra_info("socket"), writer.transport.get_extra_info("peername")
            if number % 3:
                writer.close()
            else:
                writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        for _ in range(10):
            await asyncio.sleep(0)


@operation(0.01)
async def servers(loop, n, shared):
    for _ in range(n):
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        server.close()
        await server.wait_closed()


@operation(0.01)
async def connections_refused(loop, n, shared):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for _ in range(n):
            with contextlib.suppress(OSError):
                await loop.create_connection(asyncio.Protocol, *closed.getsockname())


@contextlib.contextmanager
def pair(kind=socket.SOCK_STREAM):
    ours, theirs = socket.socketpair(type=kind)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


@operation(0.5)
async def sock_calls(loop, n, shared):
    buffer = bytearray(len(PAYLOAD))
    with pair() as (ours, theirs):
        for _ in range(n // 2):
            await loop.sock_sendall(ours, PAYLOAD)
            assert len(await loop.sock_recv(theirs, 4096)) == len(PAYLOAD)
            await loop.sock_sendall(theirs, buffer)
            assert await loop.sock_recv_into(ours, buffer) == len(PAYLOAD)


@operation(0.3)
async def sock_calls_that_wait(loop, n, shared):
    with pair() as (ours, theirs):
        for number in range(n):
            receiving = loop.create_task(loop.sock_recv(ours, 4096))
            await asyncio.sleep(0)
            if number % 3:
                await loop.sock_sendall(theirs, PAYLOAD)
                await receiving
            else:
                receiving.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await receiving


@operation(0.1)
async def sock_calls_given_up(loop, n, shared):
    with pair() as (ours, _):
        for number in range(n):
            coroutine = loop.sock_recv(ours, 4096)
            if number % 2:
                coroutine.close()
            else:
                with contextlib.suppress(ExpectedError):
                    coroutine.throw(ExpectedError(shared.argument))


@operation(0.3)
async def sock_datagrams(loop, n, shared):
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        for end in (one, other):
            end.setblocking(False)
            end.bind(("127.0.0.1", 0))
        buffer = bytearray(2000)
        where = other.getsockname()
        for number in range(n):
            await loop.sock_sendto(one, PAYLOAD, where)
            if number % 2:
                await loop.sock_recvfrom(other, 2000)
            else:
                await loop.sock_recvfrom_into(other, buffer)


@operation(0.01)
async def sock_connections(loop, n, shared):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        for _ in range(n):
            with socket.socket() as client:
                client.setblocking(False)
                accepting = loop.create_task(loop.sock_accept(listener))
                await loop.sock_connect(client, listener.getsockname())
                (await accepting)[0].close()


class Reflect(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


class DatagramPlayer(asyncio.DatagramProtocol):
    def __init__(self, left, done):
        self.left, self.done = left, done

    def connection_made(self, transport):
        self.transport = transport
        transport.sendto(PAYLOAD)

    def datagram_received(self, data, address):
        self.left -= 1
        if self.left <= 0:
            self.done.set_result(None)
        else:
            self.transport.sendto(PAYLOAD)


@operation(0.5)
async def datagrams(loop, n, shared):
    done = loop.create_future()
    server, _ = await loop.create_datagram_endpoint(Reflect, local_addr=("127.0.0.1", 0))
    client, _ = await loop.create_datagram_endpoint(
        lambda: DatagramPlayer(n, done), remote_addr=server.get_extra_info("sockname")
    )
    await done
    server.close()
    client.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@operation(0.1)
async def watches(loop, n, shared):
    with pair() as (ours, theirs):
        theirs.send(b"x")
        for _ in range(n):
            loop.add_reader(ours, shared.callback, shared.argument)
            loop.add_writer(ours, shared.callback, shared.argument)
            await asyncio.sleep(0)
            loop.remove_reader(ours)
            loop.remove_writer(ours)


@operation(0.02)
async def signals(loop, n, shared):
    arrived = asyncio.Event()
    for _ in range(n):
        loop.add_signal_handler(signal.SIGUSR1, arrived.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        await arrived.wait()
        arrived.clear()
        loop.remove_signal_handler(signal.SIGUSR1)


@operation(0.1)
async def names(loop, n, shared):
    for number in range(n):
        host = "localhost" if number % 100 == 0 else "127.0.0.1"
        await loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM)


@operation(0.01)
async def pipes(loop, n, shared):
    for _ in range(n):
        reading, writing = (os.fdopen(fd, mode, buffering=0) for fd, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
        reader = asyncio.StreamReader()
        source, _ = await loop.connect_read_pipe(lambda reader=reader: asyncio.StreamReaderProtocol(reader), reading)
        sink, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, writing)
        sink.write(PAYLOAD)
        sink.close()
        assert await reader.read() == PAYLOAD
        source.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@operation(0.005)
async def files(loop, n, shared):
    with tempfile.TemporaryFile() as file, pair() as (ours, theirs):
        file.write(PAYLOAD * 4)
        file.flush()
        for _ in range(n):
            await loop.sock_sendfile(ours, file)
            left = len(PAYLOAD) * 4
            while left:
                left -= len(await loop.sock_recv(theirs, left))


@operation(0.0005)
async def children(loop, n, shared):
    for _ in range(n):
        process = await asyncio.create_subprocess_exec("true", stdout=asyncio.subprocess.PIPE)
        await process.communicate()


@operation(register=LEAKS)
async def a_reference(loop, n, shared):
    kept.extend([shared.argument] * n)


@operation(register=LEAKS)
async def an_object(loop, n, shared):
    kept.extend([] for _ in range(n))


@operation(register=LEAKS)
async def a_number(loop, n, shared):
    kept.extend(1000 + number for number in range(n))


@operation(register=LEAKS)
async def memory(loop, n, shared):
    import ctypes

    malloc = ctypes.CDLL(None).malloc
    malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    for _ in range(n):
        malloc(100)


kept: list[object] = []
