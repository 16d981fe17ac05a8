# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The programs: each uses one part of the loop to the full, wrongly too, and touches the native objects that it meets.

They are short, since memcheck is fifty times slower than the processor. `ON_PURPOSE` are the programs whose faults
memcheck has to find.
"""

import asyncio
import contextlib
import contextvars
import ctypes
import gc
import os
import signal
import socket
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable

from helpers import subinterpreter
from helpers.tls import HOST, client_context, server_context

import oneloop
from memcheck.kinds import Resurrected, resurrect, touch, touched

PAYLOAD = os.urandom(70_001)
PROGRAMS: dict[str, Callable[[], None]] = {}
ON_PURPOSE: dict[str, Callable[[], None]] = {}
# Those whose forked children are judged, too, each by a report of its own.
FORKING = {"forks"}


def program(register=PROGRAMS):
    def add(function):
        register[function.__name__] = function
        return function

    return add


def run(main):
    with asyncio.Runner(loop_factory=oneloop.new_event_loop) as runner:
        runner.get_loop().set_exception_handler(lambda *_: None)
        runner.run(main())
        touched.add("Loop")


def run_once(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def fail(*_):
    raise ZeroDivisionError


@program()
def handles():
    async def main():
        loop = asyncio.get_running_loop()
        made = [
            lambda: loop.call_soon(int),
            lambda: loop.call_soon(repr, PAYLOAD[:3]),
            lambda: loop.call_soon(fail, context=contextvars.copy_context()),
            lambda: loop.call_soon_threadsafe(int),
            lambda: loop.call_later(0, int),
            lambda: loop.call_later(1000, int),
            lambda: loop.call_at(loop.time(), fail),
        ]
        for debug in (False, True):
            loop.set_debug(debug)
            for make in made:
                touch(make())
                touch(make()).cancel()
                handle = make()
                handle.cancel()
                touch(handle)
                kept = make()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                touch(kept)  # has run, or is a timer that has not
                kept.cancel()
                kept._run() if hasattr(kept, "_run") else None
        loop.set_debug(False)
        for make in made:
            resurrect(make, lambda handle, what: loop.call_soon(print, handle, what).cancel())
        for count in (1, 500):
            timers = [loop.call_later(0.001 + number / 1e6, int) for number in range(count)]
            for timer in timers[::2]:
                timer.cancel()
            sorted(timers)
            del timers
            await asyncio.sleep(0.01)
        # Arguments that die by the call, by the cancelling, and by nobody but the loop.
        for cancels in (False, True):
            cell = []
            handle = loop.call_soon(cell.append, Resurrected(cell))
            cell.append(handle)
            if cancels:
                handle.cancel()
            del cell, handle
            await asyncio.sleep(0)
            gc.collect()
        Resurrected.back.clear()

    run(main)


@program()
def threads():
    async def main():
        loop = asyncio.get_running_loop()
        arrived = asyncio.Queue()

        def post(count):
            for number in range(count):
                handle = loop.call_soon_threadsafe(arrived.put_nowait, number)
                if number % 3 == 0:
                    handle.cancel()

        posters = [threading.Thread(target=post, args=(50,)) for _ in range(3)]
        for poster in posters:
            poster.start()
        while any(poster.is_alive() for poster in posters) or not arrived.empty():
            await asyncio.sleep(0.001)
            while not arrived.empty():
                arrived.get_nowait()
        assert await asyncio.gather(*(loop.run_in_executor(None, pow, 2, n) for n in range(10))) == [
            2**n for n in range(10)
        ]
        with contextlib.suppress(ZeroDivisionError):
            await asyncio.to_thread(fail)
        touch(loop.call_soon_threadsafe(int))
        await loop.getaddrinfo("localhost", 80)
        asking = loop.create_task(loop.getnameinfo(("127.0.0.1", 80)))
        await asyncio.sleep(0)
        asking.cancel()

    run(main)


@program()
def steps():
    """The steps of tasks that are taken without asyncio's C code, and what is left to it in the middle of one."""

    class Foreign:
        """What a task waits for that is no future of asyncio's: it is asked while the C code does a step over."""

        def __init__(self, future):
            self.future, self.is_blocking = future, None

        @property
        def _asyncio_future_blocking(self):
            for thing in gc.get_objects():
                if type(thing).__module__ == "oneloop._core" and type(thing).__name__ == "Replay":
                    touch(thing)
            return self.is_blocking

        @_asyncio_future_blocking.setter
        def _asyncio_future_blocking(self, value):
            self.is_blocking = value

        def __getattr__(self, name):
            return getattr(self.future, name)

        def __await__(self):
            if not self.future.done():
                self.is_blocking = True
                yield self
            return self.future.result()

    async def wait(*awaitables):
        return [await awaitable for awaitable in awaitables]

    async def give_way_and(then, *arguments):
        await asyncio.sleep(0)
        return then(*arguments)

    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(3):
            first, second, foreign, shared = (loop.create_future() for _ in range(4))
            tasks = [loop.create_task(wait(first, second, Foreign(foreign)))]
            tasks += [loop.create_task(wait(shared, asyncio.sleep(0, number))) for number in range(3)]
            tasks += [loop.create_task(give_way_and(fail)), loop.create_task(give_way_and(pow, 2, 70))]
            # Ended with nobody, with one and with two to be told.
            for task in tasks[:2]:
                for _ in range(2):
                    task.add_done_callback(repr, context=contextvars.copy_context())
            cancelling = loop.create_task(give_way_and(lambda: asyncio.current_task().cancel("itself")))
            for number, future in enumerate((first, second, foreign, shared)):
                await asyncio.sleep(0)
                future.set_result(Resurrected([number]))
            await asyncio.gather(*tasks, cancelling, return_exceptions=True)
            # One that is initialized anew between two steps, one that is cancelled there, and one that nobody holds.
            anew, lost = loop.create_task(wait(loop.create_future())), loop.create_task(wait(loop.create_future()))
            await asyncio.sleep(0)
            anew._log_destroy_pending = lost._log_destroy_pending = False
            coroutine = give_way_and(int)
            anew.__init__(coroutine, loop=loop)
            await anew
            lost.add_done_callback(lambda _, lost=lost: None)
            waiting = loop.create_task(wait(loop.create_future()))
            await asyncio.sleep(0)
            waiting.cancel()
            del lost, task, tasks
            gc.collect()
            await asyncio.gather(waiting, return_exceptions=True)
        Resurrected.back.clear()

    run(main)


@program()
def tasks():
    async def main():
        loop = asyncio.get_running_loop()

        async def nothing(turns=1):
            for _ in range(turns):
                await asyncio.sleep(0)

        async def failing():
            await asyncio.sleep(0)
            fail()

        async def stubborn():
            try:
                await asyncio.sleep(1000)
            finally:
                await asyncio.sleep(0)

        task = loop.create_task(nothing(3), name="some")
        if type(task).__module__ == "oneloop._core":
            touch(task)
        for debug in (False, True):
            loop.set_debug(debug)
            await asyncio.gather(*(nothing() for _ in range(30)), failing(), return_exceptions=True)
            with contextlib.suppress(BaseExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    for work in (stubborn, nothing, failing, stubborn):
                        group.create_task(work())
            waiting = [loop.create_task(stubborn()) for _ in range(5)]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel("enough")
                repr(task), task.get_stack(), task.cancelling()
            await asyncio.gather(*waiting, return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.001):
                    await loop.create_future()
            queue = asyncio.Queue(2)
            produced = asyncio.gather(*(queue.put(n) for n in range(10)))
            assert sorted([await queue.get() for _ in range(10)]) == list(range(10))
            await produced
        loop.set_debug(False)
        if hasattr(asyncio, "eager_task_factory"):
            loop.set_task_factory(asyncio.eager_task_factory)
            await asyncio.gather(nothing(), nothing(0), loop.create_task(failing()), return_exceptions=True)
            loop.set_task_factory(None)
        # A task in a cycle, never finished and never looked at again.
        pending = loop.create_task(stubborn())
        pending._log_destroy_pending = False
        pending.add_done_callback(lambda _, pending=pending: None)
        await asyncio.sleep(0)
        del pending
        gc.collect()

    run(main)


class Buffered(asyncio.BufferedProtocol):
    def __init__(self):
        self.buffer, self.lost = bytearray(5000), None

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, count):
        pass

    def connection_lost(self, exc):
        self.lost = True


async def echo(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def talk(reader, writer):
    for size in (1, 1000, 70_001):
        writer.write(PAYLOAD[:size])
        assert await reader.readexactly(size) == PAYLOAD[:size]
    writer.writelines([b"one ", bytearray(b"two "), memoryview(b"three\n")])
    await writer.drain()
    assert await reader.readline() == b"one two three\n"


async def end(writer, how):
    transport = writer.transport
    match how:
        case "eof" if writer.can_write_eof():
            writer.write(PAYLOAD)
            writer.write_eof()
        case "abort":
            writer.write(PAYLOAD)
            transport.abort()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    touch(transport)


@program()
def streams():
    async def main():
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            tcp = await asyncio.start_server(echo, "127.0.0.1", 0)
            unix = await asyncio.start_unix_server(echo, path)
            async with tcp, unix:
                address = tcp.sockets[0].getsockname()
                for how in ("close", "eof", "abort"):
                    for opening in (asyncio.open_connection(*address), asyncio.open_unix_connection(path)):
                        reader, writer = await opening
                        touch(writer.transport)
                        await talk(reader, writer)
                        await end(writer, how)
                transport, protocol = await loop.create_connection(Buffered, *address)
                for _ in range(3):
                    transport.write(PAYLOAD)
                    transport.pause_reading()
                    await asyncio.sleep(0.001)
                    transport.resume_reading()
                    transport.set_write_buffer_limits(10)
                    transport.set_protocol(protocol)
                with tempfile.TemporaryFile() as file:
                    file.write(PAYLOAD)
                    file.flush()
                    assert await loop.sendfile(transport, file) == len(PAYLOAD)
                transport.close()
                while not protocol.lost:
                    await asyncio.sleep(0.001)
                with contextlib.suppress(OSError):
                    await loop.create_connection(Buffered, "127.0.0.1", 1)
                connecting = loop.create_task(asyncio.open_connection(*address))
                await asyncio.sleep(0)
                connecting.cancel()
                await asyncio.wait([connecting])

        def hang(transport, what):
            protocol = Buffered()
            protocol.cycle = what, transport
            transport.set_protocol(protocol)
            transport.abort()

        made = []
        for _ in range(2):
            ours, theirs = socket.socketpair()
            made.append((await loop.create_connection(asyncio.Protocol, sock=ours))[0])
            theirs.close()
        resurrect(made.pop, hang)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        made.clear()
        gc.collect()
        Resurrected.back.clear()

    run(main)


@program()
def pipes_and_children():
    async def main():
        loop = asyncio.get_running_loop()
        reading, writing = (os.fdopen(fd, mode, buffering=0) for fd, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
        reader = asyncio.StreamReader()
        source, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), reading)
        sink, _ = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, writing)
        sink.write(PAYLOAD[:50_000])
        assert await reader.readexactly(50_000) == PAYLOAD[:50_000]
        touch(source), touch(sink)
        sink.close()
        assert await reader.read() == b""
        source.close()
        await asyncio.sleep(0)
        touch(source), touch(sink)
        cat = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        for handle in gc.get_objects():
            if type(handle).__name__ == "_ChildExit":
                touch(handle)
        assert await cat.communicate(PAYLOAD) == (PAYLOAD, None)
        killed = await asyncio.create_subprocess_exec("sleep", "1000")
        killed.kill()
        assert await killed.wait() == -9
        shell = await asyncio.create_subprocess_shell("exit 3", stdout=-1)
        assert (await shell.communicate(), shell.returncode) == ((b"", None), 3)

    run(main)


@program()
def datagrams():
    class Inbox(asyncio.DatagramProtocol):
        def __init__(self):
            self.arrived = asyncio.Queue()

        def datagram_received(self, data, address):
            self.arrived.put_nowait((data, address))

    async def main():
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryDirectory() as folder:
            for at, options in (("127.0.0.1", 0), {}), (folder + "/socket", {"family": socket.AF_UNIX}):
                transport, inbox = await loop.create_datagram_endpoint(Inbox, local_addr=at, **options)
                name = transport.get_extra_info("sockname")
                sender, _ = await loop.create_datagram_endpoint(Inbox, remote_addr=name, **options)
                for size in (1, 9000):
                    sender.sendto(PAYLOAD[:size])
                    data, address = await inbox.arrived.get()
                    assert data == PAYLOAD[:size]
                    if address:
                        transport.sendto(b"back", address)
                touch(transport)
                sender.close()
                sender.sendto(b"too late") if not sender.is_closing() else None
                transport.abort()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                touch(sender), touch(transport)

    run(main)


@program()
def tls():
    async def main():
        loop = asyncio.get_running_loop()
        trust = client_context()
        async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_context()) as server:
            address = server.sockets[0].getsockname()
            secure = {"ssl": trust, "server_hostname": HOST}
            for how in ("close", "abort"):
                reader, writer = await asyncio.open_connection(*address, **secure)
                touch(writer.transport), touch(writer.transport._ssl_protocol)
                await talk(reader, writer)
                await end(writer, how)
                touch(writer.transport._ssl_protocol)
            with contextlib.suppress(OSError):
                await asyncio.open_connection(*address, ssl=trust, server_hostname="elsewhere")
            for polls in (1, 3, 5, 8):
                connecting = loop.create_task(asyncio.open_connection(*address, **secure))
                for _ in range(polls):
                    await asyncio.sleep(0.001)
                connecting.cancel()
                await asyncio.wait([connecting])
                if not connecting.cancelled():
                    connecting.result()[1].transport.abort()
        touch(oneloop._core._TLSSettings(trust, server_hostname=HOST))

        async def upgrade(reader, writer):
            await reader.readline()
            writer.write(b"go\n")
            await writer.start_tls(server_context())
            await echo(reader, writer)

        async with await asyncio.start_server(upgrade, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"please\n")
            await reader.readline()
            await writer.start_tls(trust, server_hostname=HOST)
            await talk(reader, writer)
            await end(writer, "close")

    run(main)


@program()
def sock_calls():
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            listener.setblocking(False)
            client.setblocking(False)
            accepting = loop.create_task(loop.sock_accept(listener))
            await loop.sock_connect(client, listener.getsockname())
            server, _ = await accepting
            with server:
                sending = loop.create_task(loop.sock_sendall(client, PAYLOAD))
                got, buffer = bytearray(), bytearray(9000)
                while len(got) < len(PAYLOAD):
                    got += await loop.sock_recv(server, 9000)
                    if len(got) < len(PAYLOAD):
                        got += buffer[: await loop.sock_recv_into(server, buffer)]
                await sending
                assert got == PAYLOAD
                with tempfile.TemporaryFile() as file:
                    file.write(PAYLOAD[:9000])
                    await loop.sock_sendfile(client, file)
                    assert await loop.sock_recv(server, 9000)
                for ending in ("cancel", "close", "throw", "nothing"):
                    coroutine = touch(loop.sock_recv(server, 1 << 20))
                    match ending:
                        case "cancel":
                            task = loop.create_task(coroutine)
                            await asyncio.sleep(0)
                            task.cancel()
                            await asyncio.wait([task])
                        case "close":
                            coroutine.close()
                        case "throw":
                            with contextlib.suppress(ZeroDivisionError):
                                coroutine.throw(ZeroDivisionError())
                    touch(coroutine)
                    del coroutine
                resurrect(
                    lambda: loop.sock_recv_into(server, bytearray(8)), lambda thing, what: setattr(what, "me", what)
                )
        with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
            for end_ in (one, other):
                end_.setblocking(False)
                end_.bind(("127.0.0.1", 0))
            buffer = bytearray(10)
            for _ in range(2):
                await loop.sock_sendto(one, b"across", other.getsockname())
            assert await loop.sock_recvfrom(other, 10) == (b"across", one.getsockname())
            assert await loop.sock_recvfrom_into(other, buffer) == (6, one.getsockname())

    import warnings

    warnings.simplefilter("ignore")  # one coroutine is never awaited
    run(main)


@program()
def servers_and_watches():
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        for listener in gc.get_objects():
            if type(listener).__name__ == "_Listener":
                touch(listener)
        clients = []
        for _ in range(5):
            client = socket.create_connection(server.sockets[0].getsockname())
            clients.append(client)
        await asyncio.sleep(0.01)
        for close in ("close_clients", "abort_clients"):
            getattr(server, close, int)()
        server.close()
        for client in clients:
            client.close()
        await asyncio.sleep(0.01)
        one, other = socket.socketpair()
        with one, other:
            for _ in range(3):
                seen = asyncio.Event()
                loop.add_reader(one, seen.set)
                loop.add_reader(one, seen.set)
                loop.add_writer(other, fail)
                other.send(b"x")
                await seen.wait()
                one.recv(1)
                waiting = loop.create_task(loop.sock_recv(one, 1)) if not one.getblocking() else None
                await asyncio.sleep(0)
                loop.remove_reader(one), loop.remove_writer(other)
                if waiting:
                    waiting.cancel()
                one.setblocking(False)
        for _ in range(3):
            arrived = asyncio.Event()
            loop.add_signal_handler(signal.SIGUSR1, arrived.set)
            os.kill(os.getpid(), signal.SIGUSR1)
            await arrived.wait()
        loop.remove_signal_handler(signal.SIGUSR1)

    run(main)


async def everything_pending():
    """Work of every kind that will not be done."""
    loop = asyncio.get_running_loop()
    left = [loop.call_later(1000, fail), loop.create_task(asyncio.sleep(1000))]
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    secure = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_context())
    left += [server, secure]
    left.append(await asyncio.open_connection(*server.sockets[0].getsockname()))
    left[-1][1].write(PAYLOAD * 20)
    where = secure.sockets[0].getsockname()
    left.append(await asyncio.open_connection(*where, ssl=client_context(), server_hostname=HOST))
    left[-1][1].write(PAYLOAD * 20)
    left.append(await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)))
    one, other = socket.socketpair()
    one.setblocking(False)
    left += [one, other, loop.create_task(loop.sock_recv(one, 1)), loop.sock_recv(other, 1)]
    loop.add_reader(other, fail)
    left.append(await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1))
    left.append(loop.run_in_executor(None, int))
    loop.call_soon(fail)
    loop.call_soon_threadsafe(fail)
    loop.kept = left
    return left


def abandoned(how):
    import warnings

    warnings.simplefilter("ignore")
    loop = oneloop.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    left = loop.run_until_complete(everything_pending())
    child = next(thing for thing in left if isinstance(thing, asyncio.subprocess.Process))
    child.kill()
    for thing in left:
        if isinstance(thing, asyncio.Task):
            thing._log_destroy_pending = False
    gone = weakref.ref(loop)
    match how:
        case "closed":
            loop.close()
            for thing in left:
                if isinstance(thing, tuple) and isinstance(thing[0], asyncio.BaseTransport):
                    with contextlib.suppress(RuntimeError):  # the loop is closed
                        touch(thing[0]).abort()
                elif isinstance(thing, asyncio.TimerHandle):
                    touch(thing).cancel()
            del left, thing, child, loop
            gc.collect()
        case "dropped":
            del left, thing, child, loop
            gc.collect()
            assert gone() is None
        case "kept":
            sys.kept = left, loop  # until the interpreter is no more
    os.waitpid(-1, 0) if how == "kept" else None


@program()
def closed_with_work_pending():
    abandoned("closed")


@program()
def dropped_with_work_pending():
    abandoned("dropped")


@program()
def kept_with_work_pending_until_the_end():
    abandoned("kept")


@program()
def forks():
    """A child that goes on with the loop that it inherits, and with one of its own."""

    async def main():
        loop = asyncio.get_running_loop()
        left = await everything_pending()
        pid = os.fork()
        if not pid:
            try:
                asyncio._set_running_loop(None)
                inner = oneloop.new_event_loop()
                inner.run_until_complete(asyncio.sleep(0.001))
                inner.close()
                asyncio._set_running_loop(loop)
                await asyncio.sleep(0.001)  # the inherited loop goes on, too
                for thing in left:
                    if isinstance(thing, tuple) and isinstance(thing[0], asyncio.BaseTransport):
                        thing[0].abort()
                os._exit(0)
            finally:
                os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        next(thing for thing in left if isinstance(thing, asyncio.subprocess.Process)).kill()
        await asyncio.sleep(0.01)

    import warnings

    warnings.simplefilter("ignore")
    run(main)


@program()
def subinterpreters():
    """Refused, and the refusal leaves the module whole."""
    subinterpreter.run("try:\n    import oneloop\nexcept ImportError:\n    pass\nelse:\n    raise SystemError")
    run(lambda: asyncio.sleep(0))


@program(ON_PURPOSE)
def leaks_bytes():
    """Memory that our shared object asked for, and nobody has."""

    class Leaking(asyncio.Protocol):
        def data_received(self, data):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(data))

    async def main():
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _ = await asyncio.get_running_loop().create_connection(Leaking, sock=ours)
            theirs.send(PAYLOAD[:1000])
            await asyncio.sleep(0.01)
            transport.close()

    run(main)


@program(ON_PURPOSE)
def frees_too_early():
    """A handle that the loop still has."""

    async def main():
        handle = asyncio.get_running_loop().call_soon(int)
        for _ in range(sys.getrefcount(handle) - 1):
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(handle))
        await asyncio.sleep(0)

    run(main)
