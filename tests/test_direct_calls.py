# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What asyncio's C code schedules runs without a handle, and nobody can tell.

A task's step and a future's done callbacks are recognised by a private object of `_asyncio`, which is learned when the
module is imported. Here: that it is learned on this interpreter; what programs see, with it and with the switch that
turns it off.
"""

import asyncio
import contextvars
import functools
import gc
import inspect
import weakref

import pytest
from helpers import children
from helpers.compare import like_asyncio, logged, plain, reports
from helpers.loops import run_once

COUNT = """
import asyncio, gc, sys, oneloop

def handles():
    return sum(type(thing) is oneloop._core.Handle for thing in gc.get_objects())

async def main():
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    future.add_done_callback(id)
    before = handles()
    future.set_result(None)
    task = loop.create_task(asyncio.sleep(0))
    print(handles() - before, flush=True)
    await task

oneloop.run(main())
"""


@pytest.mark.parametrize(("switch", "expected"), [("1", 0), ("0", 2)])
def test_asyncio_s_calls_need_no_handle(oneloop, switch, expected):
    # The future's callback, and the task's first step.
    finished = children.finish(children.start(["-c", COUNT], "oneloop", ONELOOP_HANDLE_FREE=switch))
    assert finished.quiet, finished
    assert finished.out == f"{expected}\n"


SCENE = """
import asyncio, contextvars, oneloop

name = contextvars.ContextVar("name", default="nobody")

async def step(log, who):
    name.set(who)
    for number in range(3):
        log.append((who, number, name.get()))
        await asyncio.sleep(0)
    raise LookupError(who)

async def main():
    loop = asyncio.get_running_loop()
    log = []
    tasks = [loop.create_task(step(log, who)) for who in "abc"]
    loop.call_soon(log.append, "soon")
    future = loop.create_future()
    future.add_done_callback(lambda _: log.append(("done", name.get())))
    future.add_done_callback(lambda _: 1 / 0)
    future.set_result(None)
    loop.set_exception_handler(lambda _, told: log.append((told["message"][:21], type(told["exception"]), *told)))
    tasks[2].cancel("enough")
    log.extend(await asyncio.gather(*tasks, return_exceptions=True))
    print(log)

oneloop.run(main())
"""


def test_with_the_switch_everything_is_the_same(oneloop):
    def output(switch):
        finished = children.finish(children.start(["-c", SCENE], "oneloop", ONELOOP_HANDLE_FREE=switch))
        assert finished.quiet, finished
        return finished.out

    assert output("1") == output("0") != ""


def test_a_done_callback_that_raises_is_reported_with_a_handle(loop):
    def boom(_):
        raise ZeroDivisionError("boom")

    told = reports(loop)
    future = loop.create_future()
    future.add_done_callback(boom)
    future.set_result(None)
    run_once(loop)
    (report,) = told
    assert report.keys() == {"message", "exception", "handle"}
    assert report["message"].startswith("Exception in callback ")
    assert "boom" in report["message"]
    assert report["handle"].startswith("<Handle ")
    assert "boom" in report["handle"]
    assert report["exception"] == "ZeroDivisionError('boom')"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_run_ends_it_here_too(loop, kind):
    def leave(_):
        raise kind

    seen = []
    future = loop.create_future()
    future.add_done_callback(leave)
    future.add_done_callback(seen.append)
    future.set_result(None)
    with pytest.raises(kind):
        run_once(loop)
    assert seen == []
    run_once(loop)
    assert seen == [future]


def test_a_context_that_is_none_is_an_error_of_the_call_s(loop):
    told = reports(loop)
    future = loop.create_future()
    future.add_done_callback(print, context="no context")
    future.set_result(None)
    run_once(loop)
    (report,) = told
    assert report["exception"].startswith("AttributeError(")


def test_a_context_that_somebody_is_in(loop):
    told = reports(loop)
    context = contextvars.copy_context()
    future = loop.create_future()
    future.add_done_callback(print, context=context)
    future.set_result(None)
    # From 3.12 on the exception handler is to run in that context, too, which fails as well and is logged.
    with logged() as lines:
        context.run(run_once, loop)
    assert "already entered" in f"{told} {lines}"


def test_debug_mode_that_comes_later_measures_it(loop):
    loop.slow_callback_duration = 0
    future = loop.create_future()
    future.add_done_callback(lambda _: None)
    future.set_result(None)
    loop.set_debug(True)
    with logged() as lines:
        run_once(loop)
    assert any("Executing <Handle" in line and "lambda" in line for line in lines)


def test_debug_mode_checks_the_thread(loop):
    async def main():
        future = loop.create_future()
        future.add_done_callback(print)
        with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
            await asyncio.to_thread(future.set_result, None)

    loop.set_debug(True)
    loop.run_until_complete(main())


def test_a_closed_loop_refuses(loop):
    future = loop.create_future()
    future.add_done_callback(print)
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        future.set_result(None)


@pytest.mark.parametrize("wrap", [functools.partial, lambda method: lambda *args, **kwargs: method(*args, **kwargs)])
def test_a_call_soon_of_the_instance_s_is_called(loop, wrap):
    wrapped, seen = wrap(loop.call_soon), []
    loop.call_soon = lambda *args, **kwargs: (seen.append(args), wrapped(*args, **kwargs))[1]
    future = loop.create_future()
    future.add_done_callback(seen.append)
    future.set_result(None)
    assert seen == [(seen.append, future)]
    loop.call_soon = wrapped
    other = loop.create_future()
    other.add_done_callback(seen.append)
    other.set_result(None)
    run_once(loop)
    assert seen[1:] == [future, other]


def test_what_waits_in_a_forgotten_loop_is_collected(loop_class):
    class Thing:
        def __call__(self, _):
            pass

    def scene():
        loop = loop_class()
        thing = Thing()
        thing.loop = loop  # a cycle through the queue
        future = loop.create_future()
        future.add_done_callback(thing)
        future.set_result(None)
        return weakref.ref(thing)

    gone = scene()
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        gc.collect()
    assert gone() is None


def test_signatures(loop_factory):
    def signatures(factory):
        loop = factory()
        loop.close()
        names = ["call_soon", "call_soon_threadsafe", "call_later", "call_at"]
        return [str(inspect.signature(getattr(loop, name))) for name in names]

    like_asyncio(signatures, loop_factory)


ODD_CALLS = [
    ("call_soon", (), {}),
    ("call_soon", (), {"callback": print}),
    ("call_soon", (print,), {"callback": print}),
    ("call_soon", (print,), {"nonsense": 1}),
    ("call_soon", (print, 1), {"context": None}),
    ("call_soon", (), {"context": None}),
    ("call_later", (1,), {}),
    ("call_later", (), {"delay": 1, "callback": print}),
    ("call_later", (1, print), {"delay": 1}),
    ("call_later", (None, print), {}),
    ("call_later", (1, print, 2, 3), {"context": contextvars.copy_context()}),
    ("call_at", (print,), {"when": 1}),
    ("call_at", (None, print), {}),
    ("call_at", (), {"callback": print, "when": 1e9, "context": None}),
    ("call_soon_threadsafe", (), {"callback": print, "context": None}),
    ("call_soon_threadsafe", (), {}),
]


@pytest.mark.parametrize(("name", "args", "kwargs"), ODD_CALLS)
def test_arguments_are_bound_as_python_binds_them(loop_factory, name, args, kwargs):
    def bound(factory):
        loop = factory()
        try:
            handle = getattr(loop, name)(*args, **kwargs)
        except TypeError as error:
            return plain(error).replace("BaseEventLoop.", "")
        finally:
            loop.close()
        return type(handle).__name__, handle._callback, handle._args

    like_asyncio(bound, loop_factory)
