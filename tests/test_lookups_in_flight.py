# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""A lookup that is under way, or waits for a thread, when nobody is there any more to be told: cancelled, its loop
closed, its process forked, the interpreter gone.

The resolver is a Python function that stands in for the system's, and hangs until it is let go.
"""

import asyncio
import gc
import os
import socket
import textwrap
import threading
import weakref

import pytest
from helpers import children
from helpers.loops import goes_on, run_once, steps
from helpers.processes import eventually

HEAD = """
import asyncio, gc, os, signal, socket, sys, threading, time, warnings
from helpers.loops import goes_on, new_event_loop, run_once, steps
"""

# How many of a loop's lookups run at once; the next one waits.
THREADS = 8


def run(body, loop_name, **keywords):
    return children.run_program(HEAD + textwrap.dedent(body), loop_name, **keywords)


class Resolver:
    """Stands in for `socket.getaddrinfo`, and hangs until it is told to answer."""

    def __init__(self):
        self.asked, self.threads = [], set()
        self.begun, self.answer = threading.Semaphore(0), threading.Event()

    def __call__(self, host, *_):
        self.asked.append(host)
        self.threads.add(threading.get_ident())
        self.begun.release()
        assert self.answer.wait(20)
        return [host]


@pytest.fixture
def resolver(monkeypatch):
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    yield resolver
    resolver.answer.set()


def begin(loop, resolver, host="a name"):
    task = loop.create_task(loop.getaddrinfo(host, 80))
    steps(loop, 2)
    assert resolver.begun.acquire(timeout=10)
    return task


def test_one_that_nobody_waits_for_any_more(loop, resolver):
    task = begin(loop, resolver)
    task.cancel()
    steps(loop, 3)
    assert task.cancelled()
    resolver.answer.set()
    goes_on(loop)
    assert loop.run_until_complete(loop.getaddrinfo("another", 80)) == ["another"]


def test_one_that_waits_for_a_thread_is_not_begun_when_it_is_cancelled(oneloop, resolver):
    loop = oneloop.new_event_loop()
    tasks = [begin(loop, resolver, number) for number in range(THREADS)]
    waits = loop.create_task(loop.getaddrinfo("too many", 80))
    steps(loop, 3)
    waits.cancel()
    steps(loop, 3)
    resolver.answer.set()
    assert loop.run_until_complete(asyncio.gather(*tasks)) == [[number] for number in range(THREADS)]
    assert loop.run_until_complete(loop.getaddrinfo("the last", 80)) == ["the last"]
    assert "too many" not in resolver.asked
    assert threading.get_ident() not in resolver.threads
    assert len(resolver.threads) <= THREADS
    loop.close()


def test_the_loop_is_closed_and_keeps_nothing(oneloop, resolver):
    class Name(str):
        __slots__ = ("__weakref__",)

    loop, name = oneloop.new_event_loop(), Name("a name")
    loop.set_exception_handler(lambda *_: None)  # it is told that the task was destroyed
    begin(loop, resolver, name)
    queued = [Name("queued") for _ in range(THREADS)]
    for each in queued:
        loop.create_task(loop.getaddrinfo(each, 80))
    steps(loop, 2)
    loop.close()
    gone = weakref.ref(loop)
    seen = [weakref.ref(each) for each in queued[THREADS - 1 :]]
    del loop, queued, each
    gc.collect()
    assert gone() is None
    assert [each() for each in seen] == [None]
    # The one that runs holds its arguments, and lets go of them with its answer.
    held = weakref.ref(name)
    del name
    resolver.answer.set()

    def let_go():
        resolver.asked.clear()
        return held() is None

    eventually(let_go)


def test_a_closed_loop_asks_nobody(loop, resolver):
    loop.close()
    for coroutine in (loop.getaddrinfo("a name", 80), loop.getnameinfo(("127.0.0.1", 80))):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            coroutine.send(None)
    assert resolver.asked == []


def test_dropped_in_another_thread_while_the_loop_runs(oneloop, resolver):
    loop, seen = oneloop.new_event_loop(), threading.Event()
    coroutine = loop.getaddrinfo("a name", 80)
    future = coroutine.send(None)
    assert resolver.begun.acquire(timeout=10)
    thread = threading.Thread(target=loop.run_forever)
    loop.call_soon(seen.set)
    thread.start()
    assert seen.wait(10)
    coroutine.close()
    resolver.answer.set()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    goes_on(loop)
    future.cancel()
    loop.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_programs_ends_no_thread(loop, monkeypatch, error):
    def odd(*_):
        raise error("mine")

    monkeypatch.setattr(socket, "getaddrinfo", odd)
    for _ in range(2 * THREADS):
        with pytest.raises(error, match="mine"):
            loop.run_until_complete(loop.getaddrinfo("a name", 80))
    monkeypatch.undo()
    assert loop.run_until_complete(loop.getaddrinfo("localhost", 80))


def test_ctrl_c_is_the_main_threads():
    child = run(
        """
        begun, seen = threading.Event(), []
        def resolver(*_):
            begun.set()
            try:
                for _ in range(100): time.sleep(0.01)
            except KeyboardInterrupt:
                seen.append("the lookup")
            return []
        socket.getaddrinfo = resolver
        loop = new_event_loop()
        task = loop.create_task(loop.getaddrinfo("a name", 80))
        threading.Thread(target=lambda: begun.wait() and os.kill(os.getpid(), signal.SIGINT)).start()
        try:
            loop.run_until_complete(task)
        except KeyboardInterrupt:
            seen.append("the loop")
        print(seen, loop.run_until_complete(task))
        loop.close()
        """,
        "oneloop",
    )
    assert (child.out, child.err) == ("['the loop'] []\n", "")


HANGS = {
    "in the system": "time.sleep(60)",
    "in Python": "while True: pass",
    "in a lock": "threading.Lock().acquire() and (lock := threading.Lock()).acquire() and lock.acquire()",
    "and comes back at the exit": "begun.set(); time.sleep(0.3)",
}


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("hangs", HANGS)
def test_the_interpreter_exits(hangs, closed):
    # asyncio's executor would wait for it.
    child = run(
        f"""
        begun = threading.Event()
        def resolver(*_):
            begun.set()
            {HANGS[hangs]}
            return []
        socket.getaddrinfo = resolver
        loop = new_event_loop()
        tasks = [loop.create_task(loop.getaddrinfo("a name", 80)) for _ in range(20)]
        for task in tasks:
            task._log_destroy_pending = False
        steps(loop, 3)
        begun.wait()
        if {closed}:
            loop.close()
        print("end")
        """,
        "oneloop",
    )
    assert (child.returncode, child.out, child.err) == (0, "end\n", "")


def test_at_exit_the_system_resolver_is_left_alone():
    # The real one, which waits without the GIL and wants it back when the interpreter has none to give.
    child = run(
        """
        loop = new_event_loop()
        tasks = [loop.create_task(loop.getaddrinfo(f"name{n}.invalid", 80)) for n in range(20)]
        for task in tasks:
            task._log_destroy_pending = False
        steps(loop, 2)
        print("end")
        """,
        "oneloop",
    )
    assert (child.returncode, child.out, child.err) == (0, "end\n", "")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_forked_child_is_told_that_its_answer_will_not_come(oneloop, resolver):
    loop = oneloop.new_event_loop()
    task = begin(loop, resolver)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            resolver.answer.set()
            run_once(loop)
            try:
                loop.run_until_complete(asyncio.wait_for(task, 5))
            except OSError:
                assert loop.run_until_complete(asyncio.wait_for(loop.getaddrinfo("another", 80), 5)) == ["another"]
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    resolver.answer.set()
    assert loop.run_until_complete(task) == ["a name"]
    loop.close()
