# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""A `StreamReader` behind one of our transports reads without Python code, and nobody can tell.

It is given a class below `asyncio.StreamReader` whose methods to read are native. What they do is asyncio's: each
scenario runs on both loops, random operations among them. Whoever replaces a method that they stand for, on the class
or on the object, has it called.
"""

import asyncio
import collections.abc
import contextlib
import gc
import inspect
import os
import socket
import sys
import warnings
import weakref

import pytest
from helpers import children
from helpers.compare import like_asyncio, plain, raised, raised_type
from helpers.loops import run_once, steps
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

IS_ON = os.environ.get("ONELOOP_NATIVE_STREAMS") != "0" and os.environ.get("ONELOOP_FAST_STREAMS") != "0"


@contextlib.contextmanager
def streams(factory, limit=2**16, reader_class=asyncio.StreamReader, is_debugging=False):
    """A loop, a reader behind a transport, and the other end."""
    with contextlib.closing(factory()) as loop:
        loop.set_debug(is_debugging)
        reader = reader_class(limit=limit, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        with peer:
            transport, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=ours))
            try:
                yield loop, transport, reader, peer
            finally:
                transport.abort()
                run_once(loop)
                run_once(loop)


def outcome(task):
    if not task.done():
        return "waits"
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    if error is None:
        return task.result()
    context = error.__context__
    return type(error).__name__, str(error), getattr(error, "args", None), type(context).__name__, str(context)


def looked_at(reader, transport):
    waits = reader._waiter is not None
    return bytes(reader._buffer), reader._paused, reader._eof, waits, transport.is_reading(), plain(repr(reader))[:20]


# -- random operations -------------------------------------------------------------------------

DATA = st.text("ab-\n", min_size=1, max_size=9).map(str.encode)
OPERATIONS = st.one_of(
    st.tuples(st.just("feed"), DATA),
    st.tuples(st.just("read"), st.integers(-1, 9)),
    st.tuples(st.just("readexactly"), st.integers(-1, 9)),
    st.tuples(st.just("readuntil"), st.sampled_from([b"-", b"--", b"a\n", b"-b-", b""])),
    st.tuples(st.just("readline"), st.none()),
    st.tuples(st.just("cancel"), st.integers(0, 3)),
    st.tuples(st.just("step"), st.integers(1, 3)),
    st.tuples(st.just("eof"), st.none()),
    st.tuples(st.just("fail"), st.none()),
)


def play(factory, operations, limit):
    with streams(factory, limit) as (loop, transport, reader, _):
        tasks, seen = [], []
        for name, argument in operations:
            if name == "feed":
                seen.append(raised(lambda data=argument: reader.feed_data(data)) if not reader._eof else None)
            elif name == "cancel":
                seen.append(tasks[-1 - argument].cancel() if len(tasks) > argument else None)
            elif name == "step":
                steps(loop, argument)
            elif name == "eof":
                reader.feed_eof()
            elif name == "fail":
                reader.set_exception(OSError("the line went dead"))
            else:
                arguments = () if argument is None else (argument,)
                tasks.append(loop.create_task(getattr(reader, name)(*arguments)))
            seen.append((name, looked_at(reader, transport), [outcome(task) for task in tasks]))
        steps(loop, 3)
        seen.append((looked_at(reader, transport), [outcome(task) for task in tasks]))
        for task in tasks:
            task.cancel()
        steps(loop, 3)
        seen.append((looked_at(reader, transport), [outcome(task) for task in tasks]))
        return seen


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
@given(st.lists(OPERATIONS, max_size=25), st.integers(1, 12))
def test_random_operations(loop_factory, operations, limit):
    like_asyncio(lambda factory: play(factory, operations, limit), loop_factory)


# -- what the reader is ------------------------------------------------------------------------


def test_the_reader_looks_like_asyncio_s(loop_factory):
    def scenario(factory):
        with streams(factory) as (_, _, reader, _):
            kind = type(reader)
            return (
                isinstance(reader, asyncio.StreamReader),
                (kind.__name__, kind.__qualname__, kind.__module__, kind.__doc__),
                sorted(reader.__dict__),
                plain(repr(reader)).partition(" transport")[0],
                [name for name in dir(reader) if name not in ("__firstlineno__", "__static_attributes__")],
                [str(inspect.signature(getattr(reader, name))) for name in ("read", "readexactly", "readline")],
            )

    like_asyncio(scenario, loop_factory)


@pytest.mark.skipif(not IS_ON, reason="the fast path is turned off")
def test_it_reads_natively(oneloop):
    with streams(oneloop.new_event_loop) as (_, _, reader, _):
        assert type(reader) is not asyncio.StreamReader
        for coroutine in (reader.read(1), reader.readexactly(1), reader.readuntil(b"-"), reader.readline()):
            assert not inspect.iscoroutine(coroutine)
            coroutine.close()


@pytest.mark.parametrize("kind", ["debug mode", "subclass"])
def test_what_is_left_alone(loop_factory, kind):
    class Own(asyncio.StreamReader):
        pass

    reader_class = Own if kind == "subclass" else asyncio.StreamReader
    with streams(loop_factory, reader_class=reader_class, is_debugging=kind == "debug mode") as (_, _, reader, _):
        assert type(reader) is reader_class


SCENE = """
import asyncio
from helpers.loops import new_event_loop

async def main():
    async def serve(reader, writer):
        writer.write(await reader.readline())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"a line\\n")
    print(await reader.read(100), type(reader) is asyncio.StreamReader)
    writer.close()
    server.close()

loop = new_event_loop()
loop.run_until_complete(main())
loop.close()
"""


@pytest.mark.parametrize("switch", ["ONELOOP_NATIVE_STREAMS", "ONELOOP_FAST_STREAMS"])
def test_it_can_be_turned_off(oneloop, switch):
    finished = children.finish(children.start(["-c", SCENE], "oneloop", **{switch: "0"}))
    assert finished.quiet, finished
    assert finished.out == "b'a line\\n' True\n"


# -- what its methods return -------------------------------------------------------------------


def test_it_is_known_as_a_coroutine(loop_factory):
    with streams(loop_factory) as (_, _, reader, _):
        coroutine = reader.read(1)
        assert asyncio.iscoroutine(coroutine)
        assert isinstance(coroutine, collections.abc.Coroutine)
        assert inspect.isawaitable(coroutine)
        assert (coroutine.__name__, coroutine.__qualname__) == ("read", "StreamReader.read")
        assert repr(coroutine).startswith("<coroutine object StreamReader.read at 0x")
        assert weakref.ref(coroutine)() is coroutine
        assert (coroutine.cr_running, coroutine.cr_origin) == (False, None)
        coroutine.close()


@pytest.mark.parametrize("wrap", [asyncio.wait_for, asyncio.shield, asyncio.gather, asyncio.ensure_future])
def test_it_goes_wherever_asyncio_takes_one(loop_factory, wrap):
    with streams(loop_factory) as (loop, _, reader, _):

        async def main():
            coroutine = reader.readexactly(2)
            awaitable = wrap(coroutine, 60) if wrap is asyncio.wait_for else wrap(coroutine)
            loop.call_soon(reader.feed_data, b"xy")
            return await awaitable

        assert loop.run_until_complete(main()) in (b"xy", [b"xy"])


def test_it_is_awaited_once(loop_factory):
    def scenario(factory):
        with streams(factory) as (loop, _, reader, _):

            async def main(coroutine):
                return await coroutine

            reader.feed_data(b"xyz")
            coroutine = reader.read(1)
            seen = [raised(lambda: coroutine.send(1)), loop.run_until_complete(main(coroutine))]
            seen.append(raised(lambda: coroutine.send(None)))
            seen.append(raised(lambda: coroutine.throw(ValueError("mine"))))
            seen.append(raised(lambda: loop.run_until_complete(main(coroutine))))
            seen.append(coroutine.close())
            task = loop.create_task(reader.readexactly(5))
            run_once(loop)
            seen.append(raised(lambda: loop.run_until_complete(main(task.get_coro()))))
            reader.feed_data(b"123")
            seen.append(loop.run_until_complete(task))
            return seen

    seen = like_asyncio(scenario, loop_factory)
    assert seen[2] == ("RuntimeError", "cannot reuse already awaited coroutine")
    assert seen[-1] == b"yz123"


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("end", ["throw", "close", "drop", "again"])
def test_however_it_ends_nobody_waits_any_more(loop_factory, begun, end):
    def scenario(factory):
        with streams(factory) as (_, _, reader, _), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            coroutine = reader.readline()
            seen = []
            if begun:
                future = coroutine.send(None)
                seen.append((reader._waiter is future, future._asyncio_future_blocking))
            if end == "throw":
                seen.append(raised(lambda coroutine=coroutine: coroutine.throw(ValueError("mine"))))
            elif end == "close":
                seen.append(coroutine.close())
            elif end == "again" and begun:
                seen.append(raised(lambda coroutine=coroutine: coroutine.send(None)))
            del coroutine
            gc.collect()
            return seen, reader._waiter, [(each.category.__name__, str(each.message)) for each in warned]

    like_asyncio(scenario, loop_factory)


def test_one_that_nobody_awaits_is_warned_of(loop_factory):
    with streams(loop_factory) as (_, _, reader, _):
        for name, arguments in {"read": (1,), "readexactly": (1,), "readuntil": (b"-",), "readline": ()}.items():
            with pytest.warns(RuntimeWarning, match=f"^coroutine 'StreamReader.{name}' was never awaited"):
                getattr(reader, name)(*arguments)


def test_one_in_garbage_is_warned_of(loop_factory):
    with streams(loop_factory) as (_, _, reader, _):
        garbage = [reader.read(1)]
        garbage.append(garbage)
        del garbage
        with pytest.warns(RuntimeWarning, match="^coroutine 'StreamReader.read' was never awaited"):
            gc.collect()


def test_a_second_reader_is_refused(loop_factory):
    def scenario(factory):
        with streams(factory) as (loop, _, reader, _):
            first = loop.create_task(reader.read(1))
            run_once(loop)
            seen = []
            for coroutine in (reader.read(1), reader.readexactly(1), reader.readuntil(b"-"), reader.readline()):
                seen.append(raised(lambda coroutine=coroutine: loop.run_until_complete(coroutine)))
            reader.feed_data(b"x")
            return seen, loop.run_until_complete(first)

    seen, _ = like_asyncio(scenario, loop_factory)
    assert seen[3][1].startswith("readuntil() called while another coroutine is already waiting")


# -- calls and states that are out of the ordinary ---------------------------------------------

CALLS = {
    "read": [(), (-1,), (0,), (True,), (2.5,), ("x",), (None,), (2**70,), (1, 2)],
    "readexactly": [(), (-1,), (0,), (True,), (2.0,), ("x",), (2**70,), (1, 2)],
    "readuntil": [(), (b"",), (bytearray(b"-"),), (memoryview(b"-"),), ("-",), (None,), ((b"-", b"\n"),), ((),), (1,)],
    "readline": [(1,)],
}


@pytest.mark.parametrize("name", CALLS)
def test_odd_arguments(loop_factory, name):
    def scenario(factory):
        seen = []
        for arguments in CALLS[name]:
            with streams(factory) as (loop, transport, reader, _):
                reader.feed_data(b"a-b\nc")
                reader.feed_eof()

                async def call(arguments=arguments, reader=reader):
                    return await getattr(reader, name)(*arguments)

                # Which number of arguments is wrong, each implementation says in its own words.
                has_wrong_number = len(arguments) > 1 or (arguments and name == "readline")
                tell = raised_type if has_wrong_number or not arguments else raised
                task = loop.create_task(call())
                steps(loop, 3)
                seen.append((outcome(task) if tell is raised else tell(task.result), looked_at(reader, transport)))
        return seen

    like_asyncio(scenario, loop_factory)


def test_arguments_by_name(loop_factory):
    def scenario(factory):
        with streams(factory) as (loop, _, reader, _):
            reader.feed_data(b"a-b\nc")
            return [
                loop.run_until_complete(reader.read(n=1)),
                loop.run_until_complete(reader.readuntil(separator=b"-")),
                loop.run_until_complete(reader.readexactly(n=2)),
                raised_type(lambda: reader.read(m=1)),
            ]

    like_asyncio(scenario, loop_factory)


def spoil_buffer(reader, loop):
    reader._buffer = bytes(reader._buffer)


def hold_buffer(reader, loop):
    reader.view = memoryview(reader._buffer)


def float_limit(reader, loop):
    reader._limit = 2.5


def odd_limit(reader, loop):
    reader._limit = "much"


def no_exception(reader, loop):
    reader._exception = "no exception"


def exception_class(reader, loop):
    reader._exception = ValueError


def lose_waiter(reader, loop):
    del reader._waiter


def other_loop(reader, loop):
    class Futures:
        def create_future(self):
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            return Own(future)

    class Own:
        def __init__(self, future):
            self.future = future

        def __await__(self):
            reader.__dict__["_buffer"] += b"-late\n"
            return self.future.__await__()

    reader._loop = Futures()


@pytest.mark.parametrize("moment", ["before", "while it waits"])
@pytest.mark.parametrize(
    "spoil",
    [spoil_buffer, hold_buffer, float_limit, odd_limit, no_exception, exception_class, lose_waiter, other_loop],
    ids=lambda spoil: spoil.__name__,
)
@pytest.mark.parametrize("name", ["read", "readexactly", "readuntil", "readline"])
def test_a_reader_in_a_state_of_its_own(loop_factory, spoil, name, moment):
    arguments = {"read": (3,), "readexactly": (3,), "readuntil": (b"-",)}.get(name, ())

    def scenario(factory):
        with streams(factory) as (loop, _, reader, _):
            if moment == "before":
                reader._buffer.extend(b"a" if spoil is other_loop else b"ab-c\n")
                spoil(reader, loop)
            task = loop.create_task(getattr(reader, name)(*arguments))
            steps(loop, 3)
            if moment != "before" and not task.done():
                waiter = reader._waiter
                spoil(reader, loop)
                if spoil is spoil_buffer:
                    reader._buffer = b"ab-c\n"
                if spoil is not hold_buffer and spoil is not spoil_buffer:
                    reader._buffer.extend(b"ab-c\n")
                waiter.set_result(None)
                steps(loop, 3)
            seen = outcome(task), bytes(reader._buffer)
            reader.__dict__.pop("view", None)
            task.cancel()
            steps(loop, 2)
            return seen

    like_asyncio(scenario, loop_factory)


# -- whoever replaces something ----------------------------------------------------------------

METHODS = ["read", "readexactly", "readuntil", "readline", "_wait_for_data", "_maybe_resume_transport"]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("place", ["class", "object"])
@pytest.mark.parametrize("called", ["read", "readexactly", "readuntil", "readline"])
def test_another_method_is_called(loop_factory, monkeypatch, name, place, called):
    arguments = {"read": (2,), "readexactly": (2,), "readuntil": (b"-",)}.get(called, ())

    def scenario(factory):
        with streams(factory) as (loop, transport, reader, _), monkeypatch.context() as patch:
            original, calls = getattr(asyncio.StreamReader, name), []

            def other(self, *args):
                calls.append(args)
                return original(self, *args)

            before = loop.create_task(getattr(reader, called)(*arguments))
            run_once(loop)
            reader.feed_data(b"a-\n")
            steps(loop, 2)
            if place == "class":
                patch.setattr(asyncio.StreamReader, name, other)
            else:
                patch.setattr(reader, name, other.__get__(reader), raising=False)
            during = loop.create_task(getattr(reader, called)(*arguments))
            run_once(loop)
            reader.feed_data(b"b-\n")
            steps(loop, 2)
            seen = len(calls) > 0, calls[:1] if name == called else None
            patch.undo()
            reader.feed_data(b"c-\n")
            after = loop.run_until_complete(getattr(reader, called)(*arguments))
            return seen, outcome(before), outcome(during), after, looked_at(reader, transport)

    like_asyncio(scenario, loop_factory)


def test_a_mock_of_the_class_s_method_is_called(loop_factory):
    def scenario(factory):
        from unittest import mock

        with streams(factory) as (loop, _, reader, _):
            with mock.patch.object(asyncio.StreamReader, "read") as read:
                read.return_value = b"mocked"
                seen = [loop.run_until_complete(reader.read(5)), read.call_args_list == [mock.call(5)]]
            reader.feed_data(b"real")
            return [*seen, loop.run_until_complete(reader.read(5))]

    assert like_asyncio(scenario, loop_factory) == [b"mocked", True, b"real"]


# -- what is left ------------------------------------------------------------------------------


def test_reads_keep_nothing(loop_factory):
    with streams(loop_factory) as (loop, _, reader, _):

        def turn():
            for finish in ("feed", "cancel", "fail", "throw"):
                task = loop.create_task(reader.readuntil(b"--"))
                run_once(loop)
                if finish == "feed":
                    reader.feed_data(b"data--")
                elif finish == "cancel":
                    task.cancel()
                else:
                    reader._waiter.set_exception(ValueError("mine"))
                steps(loop, 3)
                assert task.done()
                assert task.cancelled() or task.exception() or task.result() == b"data--"
            reader.read(1).close()

        def owned():
            gc.collect()
            return sys.getrefcount(reader), len(gc.get_objects())

        turn()
        turn()
        before = owned()
        for _ in range(20):
            turn()
        after = owned()
        assert after[0] == before[0]
        assert abs(after[1] - before[1]) < 10
