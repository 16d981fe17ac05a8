# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What the loop's native asynchronous methods return: coroutines, as far as Python code can tell.

`sock_recv` stands for all of them. On asyncio's loop it is an `async def`, so what it shows there is what a coroutine
shows; ours is to show the same.
"""

import asyncio
import collections.abc
import contextlib
import gc
import inspect
import io
import socket
import sys
import textwrap
import threading
import traceback
import warnings
import weakref

import pytest
from helpers import children
from helpers.compare import like_asyncio, raised, reports
from helpers.loops import goes_on, run_once, steps


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@contextlib.contextmanager
def sockets():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def stepped(coroutine):
    """What `send(None)` comes to."""
    try:
        return "yielded", type(coroutine.send(None)).__name__
    except StopIteration as stop:
        return "returned", stop.value
    except BaseException as error:
        return type(error).__name__, str(error)


def waiting(loop, coroutine):
    """A task that waits in its first step."""
    task = loop.create_task(coroutine)
    run_once(loop)
    assert not task.done()
    return task


# -- what it is --------------------------------------------------------------------------------


def test_it_is_known_as_a_coroutine(loop, pair):
    coroutine = loop.sock_recv(pair[0], 1)
    assert asyncio.iscoroutine(coroutine)
    assert isinstance(coroutine, collections.abc.Coroutine)
    assert inspect.isawaitable(coroutine)
    assert (coroutine.__name__, coroutine.__qualname__.rpartition(".")[2]) == ("sock_recv", "sock_recv")
    assert repr(coroutine).startswith("<coroutine object ")
    assert weakref.ref(coroutine)() is coroutine
    coroutine.close()


@pytest.mark.parametrize("wrap", [asyncio.wait_for, asyncio.shield, asyncio.gather, asyncio.ensure_future])
def test_it_goes_wherever_asyncio_takes_one(loop, pair, wrap):
    async def main():
        coroutine = loop.sock_recv(pair[0], 1)
        awaitable = wrap(coroutine, 5) if wrap is asyncio.wait_for else wrap(coroutine)
        loop.call_later(0.001, pair[1].send, b"x")
        return await awaitable

    assert loop.run_until_complete(main()) in (b"x", [b"x"])
    pair[1].send(b"y")
    assert loop.run_until_complete(loop.sock_recv(pair[0], 1)) == b"y"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_an_eager_task_of_what_is_ready_is_done_at_once(loop, pair):
    async def main():
        pair[1].send(b"x")
        task = asyncio.Task(loop.sock_recv(pair[0], 1), loop=loop, eager_start=True)
        assert task.done()
        waits = asyncio.Task(loop.sock_recv(pair[0], 1), loop=loop, eager_start=True)
        assert not waits.done()
        pair[1].send(b"y")
        return await task + await waits

    assert loop.run_until_complete(main()) == b"xy"


# -- how it is driven --------------------------------------------------------------------------


def test_what_is_ready_never_suspends(loop, pair):
    pair[1].send(b"x")
    assert stepped(loop.sock_recv(pair[0], 1)) == ("returned", b"x")


@pytest.mark.parametrize("value", [None, (), (1, 2), ValueError("a value"), StopIteration(3), {}])
def test_any_value_is_returned_as_it_is(loop, value):
    class Odd(socket.socket):
        def recv(self, n):
            return value

    async def main(sock):
        return await loop.sock_recv(sock, 1)

    with Odd() as sock:
        sock.setblocking(False)
        assert loop.run_until_complete(loop.sock_recv(sock, 1)) is value
        assert loop.run_until_complete(main(sock)) is value
        (returned, seen) = stepped(loop.sock_recv(sock, 1))
        assert (returned, seen is value) == ("returned", True)
        with pytest.raises(StopIteration) as stop:
            next(iter(loop.sock_recv(sock, 1).__await__()))
        assert stop.value.value is value


def test_it_is_awaited_once(loop_factory):
    def scenario(factory):
        loop, seen = factory(), []

        async def main(coroutine):
            await coroutine

        with sockets() as (ours, theirs):
            theirs.send(b"x")
            coroutine = loop.sock_recv(ours, 1)
            loop.run_until_complete(coroutine)
            for again in (coroutine.send, coroutine.throw):
                seen.append(raised(lambda again=again: again(None if again == coroutine.send else ValueError("mine"))))
            seen.append(raised(lambda: loop.run_until_complete(main(coroutine))))
            seen.append(raised(lambda: loop.run_until_complete(coroutine)))
            seen.append(coroutine.close())
            task = waiting(loop, loop.sock_recv(ours, 1))
            seen.append(raised(lambda: loop.run_until_complete(main(task.get_coro()))))
            theirs.send(b"y")
            seen.append(loop.run_until_complete(task))
        loop.close()
        return seen

    seen = like_asyncio(scenario, loop_factory)
    assert seen[0] == ("RuntimeError", "cannot reuse already awaited coroutine")
    assert seen[-2:] == [("RuntimeError", "coroutine is being awaited already"), b"y"]


def test_a_value_cannot_be_sent_to_what_has_not_begun(loop_factory):
    def scenario(factory):
        loop = factory()
        with sockets() as (ours, theirs):
            theirs.send(b"x")
            coroutine = loop.sock_recv(ours, 1)
            seen = [raised(lambda: coroutine.send(1)), stepped(coroutine)]
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory)[1] == ("returned", b"x")


THROWN = {
    "an exception": (ValueError("mine"),),
    "a class": (ValueError,),
    "a class and a value": (ValueError, "mine"),
    "a class and many values": (ValueError, ("mine", 2)),
    "a class and None": (ValueError, None, None),
    "a class and an exception of it": (OSError, FileNotFoundError(2, "mine")),
    "a BaseException": (KeyboardInterrupt("mine"),),
    "an exception and a value": (ValueError("mine"), 1),
    "no exception": (1,),
    "no exception class": (int,),
    "no traceback": (ValueError, "mine", 1),
}


@pytest.mark.filterwarnings("ignore:the \\(type, exc, tb\\) signature")
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("thrown", THROWN)
def test_throwing(loop_factory, thrown, begun):
    def scenario(factory):
        loop = factory()
        with sockets() as (ours, theirs):
            coroutine = loop.sock_recv(ours, 1)
            seen = [stepped(coroutine) if begun else None]
            try:
                coroutine.throw(*THROWN[thrown])
            except BaseException as error:
                seen.append((type(error), str(error), getattr(error, "args", None)))
            seen.append(raised(lambda: coroutine.send(None)))
            theirs.send(b"x")
            seen.append(stepped(loop.sock_recv(ours, 1)))
            coroutine.close()
            steps(loop, 2)
        loop.close()
        gc.collect()
        # While it waits, asyncio's passes a misuse on to a future, which words it differently; whether that ends it is
        # an accident.
        return seen[1][0] if "no " in thrown or "and a value" in thrown else seen

    like_asyncio(scenario, loop_factory)


def test_throwing_and_closing_end_the_wait(loop, pair):
    for end in (lambda it: it.close(), lambda it: raised(lambda: it.throw(ValueError()))):
        coroutine = loop.sock_recv(pair[0], 1)
        waits_for = coroutine.send(None)
        end(coroutine)
        waits_for.cancel()
        steps(loop, 2)
        assert loop.remove_reader(pair[0]) is False
        pair[1].send(b"x")
        steps(loop, 2)
        assert pair[0].recv(10) == b"x"


def test_it_cannot_be_entered_while_it_runs(loop):
    class Odd(socket.socket):
        def recv(self, n):
            for call in (coroutine.close, lambda: coroutine.send(None), lambda: coroutine.throw(ValueError())):
                seen.append(raised(call))
            states.append(coroutine.cr_running)
            gc.collect()
            return b"x"

    seen, states = [], []
    with Odd() as sock:
        sock.setblocking(False)
        coroutine = loop.sock_recv(sock, 1)
        assert loop.run_until_complete(coroutine) == b"x"
    assert seen == [("ValueError", "coroutine already executing")] * 3
    assert states == [True]


def test_a_wake_up_for_nothing_costs_one_more_look(loop, pair):
    # Whoever steps it by hand gets the same future again, and both go on when there is something.
    coroutine = loop.sock_recv(pair[0], 1)
    waits_for = coroutine.send(None)
    if type(coroutine).__name__ == "NativeCoroutine":
        assert coroutine.send(None) is waits_for
    pair[1].send(b"x")
    for _ in range(10):
        run_once(loop)
        if waits_for.done():
            break
    assert waits_for.done()
    assert stepped(coroutine) == ("returned", b"x")


def test_stop_iteration_is_no_result(loop):
    class Odd(socket.socket):
        def recv(self, n):
            raise StopIteration("mine")

    with Odd() as sock:
        sock.setblocking(False)
        with pytest.raises(RuntimeError, match="coroutine raised StopIteration"):
            loop.run_until_complete(loop.sock_recv(sock, 1))


# -- when it goes on ---------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["sock_recv", "sock_recv_into", "sock_recvfrom", "sock_accept", "sock_sendall"])
def test_it_goes_on_as_many_iterations_after_readiness_as_with_asyncio(loop_factory, call):
    def scenario(factory):
        loop, seen = factory(), []
        with contextlib.ExitStack() as stack:
            if call == "sock_accept":
                ours = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                ours.setblocking(False)
                task = waiting(loop, loop.sock_accept(ours))
                stack.enter_context(socket.create_connection(ours.getsockname()))
            else:
                ours, theirs = stack.enter_context(sockets())
                if call == "sock_sendall":
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            ours.send(bytes(10000))
                    task = waiting(loop, loop.sock_sendall(ours, b"x"))
                    theirs.recv(1000000)
                else:
                    argument = bytearray(1) if call == "sock_recv_into" else 1
                    task = waiting(loop, getattr(loop, call)(ours, argument))
                    theirs.send(b"x")
            loop.call_soon(seen.append, "before")
            task.add_done_callback(lambda _: seen.append("done"))
            for _ in range(4):
                seen.append(task.done())
                run_once(loop)
            result = task.result()
            if call == "sock_accept":
                result[0].close()
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory)[-1] is True


def test_cancelling_takes_as_long_as_with_asyncio(loop_factory):
    def scenario(factory):
        loop, seen = factory(), []
        with sockets() as (ours, theirs):
            for data in (b"", b"x"):
                task = waiting(loop, loop.sock_recv(ours, 1))
                task.cancel("mine")
                for _ in range(3):
                    seen.append(task.cancelled())
                    run_once(loop)
                theirs.send(data)
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory)[2] is True


# -- whose it is -------------------------------------------------------------------------------


def test_another_loop_of_the_same_thread_is_told_so(loop, loop_factory, pair):
    other = loop_factory()
    with pytest.raises(RuntimeError, match="attached to a different loop"):
        other.run_until_complete(loop.sock_recv(pair[0], 1))
    other.close()
    steps(loop, 3)
    assert loop.run_until_complete(asyncio.wait_for(echo(loop, pair), 5)) == b"x"


async def echo(loop, pair):
    pair[1].send(b"x")
    return await loop.sock_recv(pair[0], 1)


@contextlib.contextmanager
def running_elsewhere(loop):
    """The loop runs in another thread meanwhile."""
    thread = threading.Thread(target=loop.run_forever)
    ready = threading.Event()
    loop.call_soon(ready.set)
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def test_another_thread_than_the_loops_is_refused(oneloop, pair):
    loop, other = oneloop.new_event_loop(), oneloop.new_event_loop()
    with running_elsewhere(loop):
        coroutine = loop.sock_recv(pair[0], 1)
        with pytest.raises(RuntimeError, match=r"'Loop\.sock_recv' belongs to an event loop that runs in another"):
            other.run_until_complete(coroutine)
        # Made here and awaited there is fine.
        pair[1].send(b"x")
        made = loop.sock_recv(pair[0], 1)
        assert asyncio.run_coroutine_threadsafe(made, loop).result(10) == b"x"
    loop.close()
    other.close()


def test_dropped_in_another_thread_it_ends_its_wait_in_the_loops_own(oneloop, pair):
    loop = oneloop.new_event_loop()
    coroutine = loop.sock_recv(pair[0], 1)
    waits_for = coroutine.send(None)
    with running_elsewhere(loop):
        del coroutine
        seen = threading.Event()
        loop.call_soon_threadsafe(seen.set)
        assert seen.wait(10)
    assert loop.remove_reader(pair[0]) is False
    waits_for.cancel()
    loop.close()


def test_closing_and_throwing_in_another_thread(oneloop, pair):
    loop = oneloop.new_event_loop()
    one, two = loop.sock_recv(pair[0], 1), loop.sock_recv(pair[0], 1)
    futures = [one.send(None), two.send(None)]
    with running_elsewhere(loop):
        one.close()
        with pytest.raises(ValueError, match="mine"):
            two.throw(ValueError("mine"))
        seen = threading.Event()
        loop.call_soon_threadsafe(seen.set)
        assert seen.wait(10)
    assert loop.remove_reader(pair[0]) is False
    for future in futures:
        future.cancel()
    loop.close()


def test_on_a_closed_loop(loop_factory):
    def scenario(factory):
        loop = factory()
        with sockets() as (ours, _):
            coroutine = loop.sock_recv(ours, 1)
            loop.close()
            return raised(lambda: coroutine.send(None))

    assert like_asyncio(scenario, loop_factory) == ("RuntimeError", "Event loop is closed")


# -- what it leaves behind ---------------------------------------------------------------------


def test_nobody_awaits_it(loop, pair):
    coroutines = [loop.sock_recv(pair[0], 1)]
    with pytest.warns(RuntimeWarning, match=r"coroutine '\w+\.sock_recv' was never awaited"):
        coroutines.clear()


def test_where_it_was_made_is_told_in_debug_mode(loop, pair):
    loop.set_debug(True)

    async def main():
        loop.sock_recv(pair[0], 1)

    with pytest.warns(RuntimeWarning, match="never awaited\nCoroutine created at") as caught:
        loop.run_until_complete(main())
    assert "in main\n    loop.sock_recv(pair[0], 1)" in str(caught[0].message)


def test_a_warning_that_is_an_error_goes_where_errors_go_that_nobody_can_be_given(loop_name):
    child = children.run_program(
        """
        import socket, warnings
        from helpers.loops import new_event_loop
        warnings.simplefilter("error")
        loop = new_event_loop()
        pair = socket.socketpair()
        loop.sock_recv(pair[0], 1)
        print("goes on")
        warnings.simplefilter("ignore")
        loop.close()
        """,
        loop_name,
    )
    assert child.out == "goes on\n"
    assert child.returncode == 0
    assert "sock_recv' was never awaited" in child.err


def test_closing_it_is_as_good_as_awaiting_it(loop, pair):
    loop.sock_recv(pair[0], 1).close()
    gc.collect()


def test_a_task_that_nobody_holds_is_kept_by_what_it_waits_for(loop, pair):
    seen = []

    async def main():
        seen.append(await loop.sock_recv(pair[0], 1))

    loop.create_task(main())
    run_once(loop)
    gc.collect()
    pair[1].send(b"x")
    steps(loop, 3)
    assert seen == [b"x"]


def test_a_cycle_through_it_is_collected(loop):
    class Mine(socket.socket):
        pass

    sock, other = Mine(socket.AF_UNIX, socket.SOCK_STREAM), None
    sock.setblocking(False)
    coroutine = loop.sock_recv(sock, bytearray())
    sock.coroutine, gone = coroutine, weakref.ref(sock)
    sock.close()
    coroutine.close()
    del coroutine, sock, other
    gc.collect()
    assert gone() is None


def test_a_cycle_of_one_that_nobody_awaited_is_collected(loop):
    class Mine(socket.socket):
        pass

    sock = Mine(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.coroutine, gone = loop.sock_recv(sock, 1), weakref.ref(sock)
    sock.close()
    del sock
    with warnings.catch_warnings():
        # Not recorded: a warning that is kept keeps the coroutine.
        warnings.simplefilter("ignore", RuntimeWarning)
        gc.collect()
    assert gone() is None


def test_a_loop_that_is_given_up_with_its_waiting_tasks_is_collected(loop_factory):
    class Mine(socket.socket):
        pass

    def give_up():
        loop = loop_factory()
        sock = Mine(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.loop = loop
        loop.set_exception_handler(lambda *_: None)  # it is told that the task was destroyed
        sock.task = loop.create_task(loop.sock_recv(sock, 1))
        run_once(loop)
        return weakref.ref(sock)

    gone = give_up()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of the socket and the loop, which nobody closed
        gc.collect()
    assert gone() is None


def test_a_closed_loop_keeps_nothing_of_what_waits(oneloop, pair):
    loop = oneloop.new_event_loop()
    coroutine = loop.sock_recv(pair[0], 1)
    future = coroutine.send(None)
    gone = weakref.ref(future)
    loop.close()
    del future
    assert gone() is None
    coroutine.close()


LEFT = {
    "a task that waits": "task = loop.create_task(coroutine); task._log_destroy_pending = False; run_once(loop)",
    "a coroutine that waits": "future = coroutine.send(None)",
    "one that nobody awaited": "coroutine.close()",
    "one in a builtin module": "import builtins; builtins.kept = coroutine; builtins.future = coroutine.send(None)",
    "one in sys.modules": "sys.modules['kept'] = coroutine; sys.modules['a future'] = coroutine.send(None)",
    "one in a cycle with its loop": "loop.kept = coroutine; loop.future = coroutine.send(None)",
    "one of a closed loop": "future = coroutine.send(None); loop.close()",
    "one in another thread": (
        "ready = threading.Event()\n"
        "def run():\n"
        "    loop.create_task(coroutine); loop.call_soon(ready.set); loop.run_forever()\n"
        "threading.Thread(target=run, daemon=True).start(); ready.wait()"
    ),
}


@pytest.mark.parametrize("left", LEFT)
def test_what_is_left_at_exit_goes_in_silence(loop_name, left):
    child = children.run_program(
        "import asyncio, socket, sys, threading\n"
        "from helpers.loops import new_event_loop, run_once\n"
        "loop, pair = new_event_loop(), socket.socketpair()\n"
        "pair[0].setblocking(False)\n"
        "coroutine = loop.sock_recv(pair[0], 1)\n" + LEFT[left] + "\nprint('end')",
        loop_name,
    )
    assert (child.returncode, child.out, child.err) == (0, "end\n", "")


# -- what others look at -----------------------------------------------------------------------


def test_its_state_is_a_coroutines(loop, pair):
    coroutine = loop.sock_recv(pair[0], 1)
    assert (coroutine.cr_running, coroutine.cr_suspended) == (False, False)
    task = waiting(loop, coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED
    pair[1].send(b"x")
    assert loop.run_until_complete(task) == b"x"
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


def test_a_task_of_it_can_be_shown(loop, pair):
    task = waiting(loop, loop.sock_recv(pair[0], 1))
    assert "sock_recv() " in repr(task) or "sock_recv()>" in repr(task)
    text = io.StringIO()
    task.print_stack(file=text)
    assert repr(task) in text.getvalue()
    assert isinstance(task.get_stack(), list)
    pair[1].send(b"x")
    loop.run_until_complete(task)
    assert "result=b'x'" in repr(task)


def test_a_failed_task_of_it_can_be_shown(loop, pair):
    seen = reports(loop)
    task = loop.create_task(loop.sock_recv(pair[0], "not a number"))
    steps(loop, 2)
    text = io.StringIO()
    task.print_stack(file=text)
    assert "TypeError" in text.getvalue()
    assert "TypeError" in "".join(traceback.format_exception(task.exception()))
    del task
    gc.collect()
    assert seen == []
    goes_on(loop)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="the tools came with 3.14")
def test_another_process_can_look_at_a_task_of_it():
    """What `python -m asyncio ps` and `pstree` do. They read memory, and expect CPython's own coroutines there."""
    from asyncio import tools

    child = children.start(
        [
            "-c",
            textwrap.dedent(
                """
                import asyncio, socket, sys
                from helpers.loops import new_event_loop, run_once

                async def outer(sock):
                    return await loop.sock_recv(sock, 1)

                loop = new_event_loop()
                pair = socket.socketpair()
                for sock in pair:
                    sock.setblocking(False)
                tasks = [asyncio.Task(loop.sock_recv(pair[0], 1), loop=loop, name="the native one")]
                tasks.append(asyncio.Task(outer(pair[1]), loop=loop, name="the one around it"))
                run_once(loop)
                print("ready", flush=True)
                loop.run_until_complete(asyncio.gather(*tasks))
                """
            ),
        ],
        "oneloop",
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        for _ in range(5):
            seen = tools.get_all_awaited_by(child.pid)
            names = {row[2] for row in tools.build_task_table(seen)}
            assert {"the native one", "the one around it"} <= names
            assert any("the one around it" in line for tree in tools.build_async_tree(seen) for line in tree)
    finally:
        child.kill()
        child.communicate()


@pytest.mark.skipif(sys.version_info < (3, 14), reason="call graphs came with 3.14")
def test_a_call_graph_of_a_task_of_it(loop, pair):
    async def outer():
        return await loop.sock_recv(pair[0], 1)

    for coroutine in (outer(), loop.sock_recv(pair[0], 1)):
        task = waiting(loop, coroutine)
        graph = asyncio.capture_call_graph(task)
        assert graph.future is task
        assert "Task" in asyncio.format_call_graph(task)
        task.cancel()
        steps(loop, 3)
