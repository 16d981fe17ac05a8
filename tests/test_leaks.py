# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Closing, forgetting to close and dropping leak nothing: no descriptor, no object, no thread, no memory.

Counts are taken after a warm-up and after many more rounds; what grows with the rounds is a leak.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import warnings
import weakref

import pytest
from helpers.loops import run_once
from helpers.tls import HOST, client_context, server_context


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def objects():
    gc.collect()
    return len(gc.get_objects())


def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


async def _work():
    await asyncio.sleep(0)
    await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.0001))


def plain(loop):
    run_once(loop)


def tasks(loop):
    loop.run_until_complete(_work())


def watchers(loop):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        loop.add_reader(ours, int)
        loop.add_writer(ours, int)
        run_once(loop)


def timers(loop):
    for handle in [loop.call_later(1 + number, print, loop) for number in range(100)][::2]:
        handle.cancel()
    run_once(loop)


def signals(loop):
    loop.add_signal_handler(signal.SIGUSR1, int)
    run_once(loop)


def executor(loop):
    loop.run_until_complete(loop.run_in_executor(None, int))
    loop.run_until_complete(loop.shutdown_default_executor())


def interrupted(loop):
    loop.call_soon(sys.exit)
    loop.call_soon(print, loop)
    with contextlib.suppress(SystemExit):
        loop.run_forever()


def reported(loop):
    loop.set_exception_handler(lambda *_: None)
    loop.call_soon(lambda: 1 / 0)
    run_once(loop)


def cycle(loop):
    loop.me = loop
    loop.call_soon(lambda: loop)
    loop.call_later(5, lambda: loop)
    loop.set_exception_handler(lambda *_: loop)
    loop.set_task_factory(lambda *_: loop)


def debugging(loop):
    loop.set_debug(True)
    loop.call_soon(print, loop).cancel()
    loop.call_later(5, print, loop)
    tasks(loop)


def generators(loop):
    async def generate():
        yield 1

    async def main():
        generator = generate()
        await generator.__anext__()
        loop.kept = generator

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())


USES = [plain, tasks, watchers, timers, signals, executor, interrupted, reported, cycle, debugging, generators]
ROUNDS = 20


def rounds(loop_factory, use, close):
    for _ in range(ROUNDS):
        loop = loop_factory()
        use(loop)
        if close:
            loop.close()
        del loop
    gc.collect()


def expect_no_growth(loop_factory, use, close):
    rounds(loop_factory, use, close)
    before = descriptors(), objects(), set(threading.enumerate())
    rounds(loop_factory, use, close)
    after = descriptors(), objects(), set(threading.enumerate())
    assert after[0] == before[0]
    # Caches of the interpreter may grow by a few; a leak grows with each of the rounds.
    assert after[1] - before[1] < ROUNDS
    assert after[2] <= before[2]


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_nothing_is_left_of_a_closed_loop(loop_factory, use):
    expect_no_growth(loop_factory, use, close=True)


# In a cycle the collector may finalize the sockets of asyncio's own loop before the loop, whose finalizer then fails.
# So what becomes of a loop that is only dropped is asked of ours alone (of asyncio's in test_close, without a cycle).


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_nothing_is_left_of_a_dropped_loop(oneloop, use):
    expect_no_growth(oneloop.new_event_loop, use, close=False)


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_a_closed_loop_is_freed(loop_factory, use):
    loop = loop_factory()
    use(loop)
    loop.close()
    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "through", ["callback", "timer", "watcher", "threadsafe", "handle", "attribute", "subclass", "future", "task"]
)
def test_a_loop_dropped_in_a_cycle_is_freed_and_warned_about(oneloop, through):
    before = descriptors()
    with warnings.catch_warnings(record=True) as caught, contextlib.ExitStack() as stack:
        warnings.simplefilter("always")
        ours, _ = (stack.enter_context(end) for end in socket.socketpair())

        class Mine(oneloop.Loop):
            def method(self):
                pass

        loop = Mine()
        match through:
            case "callback":
                loop.call_soon(loop.method)
            case "timer":
                loop.call_later(5, loop.method)
            case "watcher":
                loop.add_reader(ours, loop.method)
            case "threadsafe":
                loop.call_soon_threadsafe(loop.method)
            case "handle":
                loop.handle = loop.call_soon(print, loop)
            case "attribute":
                loop.me = loop
            case "subclass":
                Mine.instance = loop
            case "future":
                loop.future = loop.create_future()
                loop.future.add_done_callback(loop.method)
            case "task":

                async def main(loop):
                    await loop.create_future()

                loop.task = loop.create_task(main(loop))
                loop.task._log_destroy_pending = False
                run_once(loop)
        gone = weakref.ref(loop)
        del loop, Mine
        gc.collect()
        messages = [str(warning.message).partition(" <")[0] for warning in caught]
        # The record keeps its source, which a weak reference sees from 3.15 on, where it outlives the finalizer.
        caught.clear()
        gc.collect()
        assert gone() is None
    assert descriptors() == before
    assert messages == ["unclosed event loop"]


def test_handles_are_freed_when_they_have_run(loop):
    class Argument:
        pass

    def schedule():
        argument = Argument()
        references.append(weakref.ref(argument))
        loop.call_soon(print_nothing, argument)
        loop.call_soon_threadsafe(print_nothing, argument)
        loop.call_at(0, print_nothing, argument)

    def print_nothing(_):
        pass

    references = []
    for _ in range(100):
        schedule()
    run_once(loop)
    run_once(loop)
    assert [reference() for reference in references] == [None] * 100


def test_a_long_run_does_not_grow(loop):
    async def main(count):
        for _ in range(count):
            await asyncio.sleep(0)
            loop.call_later(3600, int).cancel()
            loop.call_soon_threadsafe(int)
            await asyncio.create_task(asyncio.sleep(0))

    loop.run_until_complete(main(2_000))
    before = objects(), resident()
    loop.run_until_complete(main(20_000))
    after = objects(), resident()
    assert after[0] - before[0] < 100
    # A hundred bytes leaked in each turn would be 2 MB.
    assert after[1] - before[1] < 2_000_000


def test_tls_connections_leave_no_blocks(loop):
    """Not even what the collector does not know, such as integers."""

    async def echo(reader, writer):
        writer.write(await reader.readexactly(50_000))
        await reader.read()
        writer.close()

    async def rounds(count):
        async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_context()) as server:
            port, trust = server.sockets[0].getsockname()[1], client_context()
            for _ in range(count):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname=HOST)
                writer.write(bytes(50_000))
                await reader.readexactly(50_000)
                writer.close()
                await writer.wait_closed()

    def blocks():
        for _ in range(5):
            run_once(loop)
        gc.collect()
        return sys.getallocatedblocks()

    loop.run_until_complete(rounds(10))
    before = blocks()
    loop.run_until_complete(rounds(50))
    assert blocks() - before < 50


def test_errors_do_not_grow(loop):
    loop.set_exception_handler(lambda *_: None)

    def errors(count):
        for _ in range(count):
            loop.call_soon(lambda: 1 / 0)
            loop.call_soon(42)
            run_once(loop)

    errors(200)
    before = objects()
    errors(2_000)
    assert objects() - before < 100


def test_contexts_do_not_grow(loop):
    import contextvars

    variable = contextvars.ContextVar("variable")

    class Value:
        pass

    def use():
        value = Value()
        references.append(weakref.ref(value))
        context = contextvars.copy_context()
        context.run(variable.set, value)
        loop.call_soon(int, context=context)
        loop.call_later(3600, int, context=context).cancel()

    references = []
    for _ in range(200):
        use()
    for _ in range(3):
        run_once(loop)
    gc.collect()
    assert sum(reference() is not None for reference in references) <= 100  # cancelled timers may wait a little


def test_reference_counts_of_what_is_passed(loop):
    argument, callback = object(), lambda *_: None
    before = sys.getrefcount(argument), sys.getrefcount(callback)
    for _ in range(1000):
        loop.call_soon(callback, argument)
        loop.call_soon_threadsafe(callback, argument)
        loop.call_at(0, callback, argument)
        loop.call_later(5, callback, argument).cancel()
    for _ in range(3):
        run_once(loop)
    gc.collect()
    assert (sys.getrefcount(argument), sys.getrefcount(callback)) == before
