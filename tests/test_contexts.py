# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""contextvars: every callback runs in the context in which it was scheduled, or in the one that it was given."""

import asyncio
import contextlib
import contextvars
import socket
import threading

import pytest
from helpers.compare import like_asyncio, logged
from helpers.loops import run_once

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")

SCHEDULERS = {
    "call_soon": lambda loop, callback, **kw: loop.call_soon(callback, **kw),
    "call_soon_threadsafe": lambda loop, callback, **kw: loop.call_soon_threadsafe(callback, **kw),
    "call_later": lambda loop, callback, **kw: loop.call_later(0, callback, **kw),
    "call_at": lambda loop, callback, **kw: loop.call_at(0, callback, **kw),
}


@pytest.fixture(params=SCHEDULERS)
def schedule(request):
    return SCHEDULERS[request.param]


@pytest.fixture(autouse=True)
def unset():
    token = VARIABLE.set("unset")
    yield
    VARIABLE.reset(token)


def test_a_callback_sees_what_was_set_when_it_was_scheduled(loop, schedule):
    seen = []
    VARIABLE.set("then")
    schedule(loop, lambda: seen.append(VARIABLE.get()))
    VARIABLE.set("now")
    run_once(loop)
    assert seen == ["then"]


def test_a_callback_s_changes_stay_in_its_context(loop, schedule):
    seen = []
    schedule(loop, lambda: VARIABLE.set("changed"))
    schedule(loop, lambda: seen.append(VARIABLE.get()))
    run_once(loop)
    assert seen == ["unset"]
    assert VARIABLE.get() == "unset"


def test_a_given_context_is_used_itself_not_a_copy(loop, schedule):
    context, seen = contextvars.copy_context(), []
    schedule(loop, lambda: VARIABLE.set("changed"), context=context)
    run_once(loop)
    assert context[VARIABLE] == "changed"
    schedule(loop, lambda: seen.append(VARIABLE.get()), context=context)
    run_once(loop)
    assert seen == ["changed"]


def test_none_is_no_context(loop, schedule):
    VARIABLE.set("then")
    seen = []
    schedule(loop, lambda: seen.append(VARIABLE.get()), context=None)
    VARIABLE.set("now")
    run_once(loop)
    assert seen == ["then"]


def test_watchers_use_the_context_in_which_they_were_added(loop):
    with contextlib.ExitStack() as stack:
        ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
        theirs.send(b"x")
        seen = []

        def callback():
            seen.append(VARIABLE.get())
            VARIABLE.set("changed")

        VARIABLE.set("added")
        loop.add_reader(ours, callback)
        VARIABLE.set("later")
        run_once(loop)
        run_once(loop)
        loop.remove_reader(ours)
    # One handle, and so one context, for all events of a watcher.
    assert seen == ["added", "changed"]


def test_a_thread_s_call_uses_the_thread_s_context(loop):
    seen = []

    def target():
        VARIABLE.set("thread")
        loop.call_soon_threadsafe(lambda: seen.append(VARIABLE.get()))

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    run_once(loop)
    assert seen == ["thread"]


def test_tasks_copy_the_context_once(loop):
    async def child(name):
        before = VARIABLE.get()
        VARIABLE.set(name)
        await asyncio.sleep(0)
        return before, VARIABLE.get()

    async def main():
        VARIABLE.set("main")
        results = await asyncio.gather(child("a"), child("b"))
        return results, VARIABLE.get()

    assert loop.run_until_complete(main()) == ([("main", "a"), ("main", "b")], "main")
    assert VARIABLE.get() == "unset"


def test_a_task_s_callbacks_run_in_its_context(loop):
    seen = []

    async def main():
        VARIABLE.set("main")
        loop.call_soon(lambda: seen.append(VARIABLE.get()))
        await asyncio.sleep(0)
        VARIABLE.set("later")
        asyncio.current_task().add_done_callback(lambda _: seen.append(VARIABLE.get()))

    loop.run_until_complete(main())
    run_once(loop)
    assert seen == ["main", "later"]


def test_to_thread_takes_the_context_along_and_the_executor_does_not(loop):
    async def main():
        VARIABLE.set("main")
        in_thread = await asyncio.to_thread(VARIABLE.get)
        in_executor = await loop.run_in_executor(None, lambda: VARIABLE.get("nothing"))
        await loop.shutdown_default_executor()
        return in_thread, in_executor

    assert loop.run_until_complete(main()) == ("main", "nothing")


def test_run_forever_inside_a_context_does_not_disturb_it(loop):
    context, seen = contextvars.copy_context(), []

    def inside():
        VARIABLE.set("inside")
        loop.call_soon(lambda: (seen.append(VARIABLE.get()), VARIABLE.set("callback")))
        run_once(loop)
        seen.append(VARIABLE.get())

    context.run(inside)
    assert seen == ["inside", "inside"]
    assert context[VARIABLE] == "inside"


def test_a_context_that_is_entered_already_is_an_error_of_the_callback(loop_factory):
    def scenario(factory):
        loop, order = factory(), []
        context = contextvars.copy_context()

        def inside():
            loop.call_soon(order.append, "not reached", context=context)
            loop.call_soon(order.append, "next", context=contextvars.copy_context())
            run_once(loop)

        with logged() as lines:
            context.run(inside)
        loop.close()
        return order, lines

    order, (line,) = like_asyncio(scenario, loop_factory)
    assert order == ["next"]
    assert "[RuntimeError: cannot enter context" in line


def test_one_context_for_many_callbacks(loop):
    context, seen = contextvars.copy_context(), []

    def count():
        VARIABLE.set(1 if VARIABLE.get() == "unset" else VARIABLE.get() + 1)
        seen.append(VARIABLE.get())

    for _ in range(100):
        loop.call_soon(count, context=context)
    run_once(loop)
    assert seen == list(range(1, 101))


@pytest.mark.parametrize("kind", ["socket", "pipe"])
def test_what_is_read_runs_in_the_context_of_whoever_made_the_transport(loop, kind):
    told, lost = [], loop.create_future()

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport):
            told.append(("made", VARIABLE.get()))

        def data_received(self, data):
            told.append(("data", VARIABLE.get()))

        def eof_received(self):
            told.append(("eof", VARIABLE.get()))

        def connection_lost(self, exc):
            told.append(("lost", VARIABLE.get()))
            lost.set_result(None)

    async def connect(end):
        VARIABLE.set("there")
        if kind == "socket":
            await loop.create_connection(Protocol, sock=end)
        else:
            await loop.connect_read_pipe(Protocol, end)

    async def main():
        ours, theirs = socket.socketpair()
        await asyncio.create_task(connect(ours))
        theirs.send(b"x")
        while len(told) < 2:
            await asyncio.sleep(0)
        theirs.close()
        await lost

    loop.run_until_complete(main())
    assert told == [(event, "there") for event in ("made", "data", "eof", "lost")]
