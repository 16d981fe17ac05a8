# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""A task's steps, taken without asyncio's C code, and nobody can tell.

Tasks stay asyncio's own, so what they are needs no test. Here: that steps are taken at all, and what turns that off;
what programs see of a step, with the switch on and off; and what a step must not take for the usual. Random programs
are compared in `test_native_steps_model`.
"""

import _asyncio
import asyncio
import contextlib
import contextvars
import gc
import sys
import weakref

import pytest
from helpers import children
from helpers.compare import like_asyncio, plain, raised, reports
from helpers.loops import run_once

ASK = "import oneloop; print(oneloop._core._takes_steps())"


def output(program, **environment):
    finished = children.finish(children.start(["-c", program], "oneloop", **environment))
    assert finished.quiet, finished
    return finished.out


def test_steps_are_taken_unless_the_switch_is_off(oneloop):
    assert oneloop._core._takes_steps()
    assert output(ASK, ONELOOP_NATIVE_TASK="1") == "True\n"
    assert output(ASK, ONELOOP_NATIVE_TASK="0") == "False\n"


def test_debug_mode_sees_every_step(loop_factory, caplog):
    """Each call is timed and told of, which steps of our own would not be."""

    def scenario(factory):
        async def wait(future):
            for _ in range(5):
                await asyncio.sleep(0)
            return await future

        async def main():
            future = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(wait(future), name="told")
            await asyncio.sleep(0)
            future.set_result("done")
            return await task

        with contextlib.closing(factory()) as loop:
            loop.set_debug(True)
            loop.slow_callback_duration = 0
            caplog.clear()
            result = loop.run_until_complete(main())
            messages = [record.getMessage() for record in caplog.records]
        steps = [message for message in messages if "name='told'" in message and message.startswith("Executing")]
        assert len(steps) >= 6
        return result, len(steps)

    like_asyncio(scenario, loop_factory)


# Each makes asyncio another one before oneloop is imported; what is left is asked whether it works.
OTHERS = {
    "a task of another class": "asyncio.Task = asyncio.tasks.Task = asyncio.tasks._PyTask",
    "a future of another class": "asyncio.Future = asyncio.futures.Future = asyncio.futures._PyFuture",
    "no way to enter a task": "import _asyncio; del _asyncio._enter_task",
    "another way to leave a task": "import _asyncio; _asyncio._leave_task = lambda loop, task: None",
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_another_asyncio_keeps_its_own_steps(oneloop, change):
    program = f"""
import asyncio
{change}
import oneloop

async def add(a, b):
    await asyncio.sleep(0)
    return a + b

async def main():
    return await asyncio.gather(add(1, 2), add(3, 4))

assert oneloop.run(main()) == [3, 7]
print(oneloop._core._takes_steps())
"""
    assert output(program) == "False\n"


def test_nothing_is_left_of_the_trial(oneloop):
    program = """
import asyncio, gc, sys, oneloop
assert oneloop._core._takes_steps()
assert asyncio._get_running_loop() is None
assert asyncio.all_tasks(object()) == set()
gc.collect()
assert not [thing for thing in gc.get_objects() if isinstance(thing, asyncio.Future)]

async def main():
    print(asyncio.current_task().get_name())

oneloop.run(main())
"""
    assert output(program) == "Task-1\n"


def test_importing_inside_of_a_running_task_changes_nothing_there(oneloop):
    program = """
import asyncio

async def main():
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    import oneloop
    assert asyncio.current_task() is task and asyncio.get_running_loop() is loop
    await asyncio.sleep(0)
    assert asyncio.current_task() is task
    print(oneloop._core._takes_steps())

asyncio.run(main())
"""
    assert output(program) == "True\n"


SCENE = """
import asyncio, contextvars, re, sys, traceback, oneloop

who = contextvars.ContextVar("who", default="nobody")
log = []

def told(error):
    return [line.strip() for line in traceback.format_exception(error) if "File" not in line]

async def step(name):
    who.set(name)
    for number in range(3):
        log.append((name, number, who.get(), asyncio.current_task().get_name()))
        await asyncio.sleep(0)
    raise LookupError(name)

async def cancelled_while_it_runs(future, manner):
    asyncio.current_task().cancel(manner)
    if manner == "wait":
        await future
    if manner == "yield":
        await asyncio.sleep(0)
    if manner == "raise":
        raise KeyError(manner)
    return manner

class Foreign:
    _asyncio_future_blocking = None
    def __init__(self, future): self.future = future
    def __getattr__(self, name): return getattr(self.future, name)
    def __await__(self):
        if not self.future.done():
            self._asyncio_future_blocking = True
            yield self
        return self.future.result()

async def wait_for(awaitable):
    return await awaitable

async def main():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: log.append((context["message"], *sorted(context))))
    tasks = [loop.create_task(step(name), name=name) for name in "abc"]
    future, other = loop.create_future(), loop.create_future()
    tasks += [loop.create_task(cancelled_while_it_runs(future, how)) for how in ("wait", "yield", "raise", "return")]
    await asyncio.sleep(0)
    future = loop.create_future()
    awaitables = (future, future, Foreign(future), tasks[0], asyncio.shield(other))
    tasks += [loop.create_task(wait_for(what)) for what in awaitables]
    tasks[2].cancel("enough")
    loop.call_later(0.01, future.set_result, "late")
    loop.call_later(0.01, other.cancel, "other")
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        log.append(told(result) if isinstance(result, BaseException) else result)
    for task in tasks:
        log.append((task.done(), task.cancelled(), task.cancelling(), task._fut_waiter, task._must_cancel, task._state))
    print(re.sub("0x[0-9a-f]+|Task-[0-9]+", "", repr(log)))

oneloop.run(main())
"""


def test_with_the_switch_everything_is_the_same(oneloop):
    assert output(SCENE, ONELOOP_NATIVE_TASK="1") == output(SCENE, ONELOOP_NATIVE_TASK="0") != ""


def looks(factory):
    """What task and future say of each other at each point."""
    loop = factory()

    async def wait_for(*futures):
        for future in futures:
            await future
        return "done"

    async def main():
        first, second = loop.create_future(), loop.create_future()
        task = loop.create_task(wait_for(first, second), name="waits")
        seen = [repr(task), task._fut_waiter, len(task.get_stack())]
        for future in (first, second):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            ((callback, context),) = future._callbacks
            seen += [repr(task), repr(future), repr(callback), callback.__self__ is task, type(callback).__name__]
            seen += [context is (task.get_context() if sys.version_info >= (3, 12) else context), len(task.get_stack())]
            seen += [task._fut_waiter is future, future._asyncio_future_blocking, callback == callback]
            seen += [future.remove_done_callback(callback), future._callbacks]
            future.add_done_callback(callback, context=context)
            future.set_result(None)
        seen += [await task, repr(task), task._fut_waiter, task._callbacks, repr(first)]
        return [plain(item) for item in seen]

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def test_it_looks_like_asyncio_s(loop_factory):
    like_asyncio(looks, loop_factory)


@pytest.mark.parametrize("wrap", ["subclass", "instance"])
def test_a_call_soon_of_the_program_s_sees_every_step(oneloop, wrap):
    calls = []

    class Loop(oneloop.Loop):
        def call_soon(self, callback, *args, context=None):
            calls.append(getattr(callback, "__self__", None))
            return super().call_soon(callback, *args, context=context)

    async def main():
        for _ in range(5):
            await asyncio.sleep(0)

    loop = Loop() if wrap == "subclass" else oneloop.new_event_loop()
    if wrap == "instance":
        call_soon = loop.call_soon

        def recorded(callback, *args, context=None):
            calls.append(getattr(callback, "__self__", None))
            return call_soon(callback, *args, context=context)

        loop.call_soon = recorded
    try:
        task = loop.create_task(main())
        loop.run_until_complete(task)
        assert calls.count(task) == 6
    finally:
        loop.close()


def test_a_call_soon_that_is_replaced_during_a_run_sees_the_next_step(oneloop):
    loop = oneloop.new_event_loop()
    calls = []

    async def main():
        await asyncio.sleep(0)
        call_soon = loop.call_soon

        def recorded(callback, *args, **keywords):
            calls.append(callback)
            return call_soon(callback, *args, **keywords)

        loop.call_soon = recorded
        await asyncio.sleep(0)
        del loop.call_soon
        await asyncio.sleep(0)

    try:
        loop.run_until_complete(main())
        assert len(calls) == 1
    finally:
        loop.close()


def test_tasks_of_a_subclass_are_tasks_too(loop):
    class Task(asyncio.Task):
        def __init__(self, *args, **keywords):
            super().__init__(*args, **keywords)
            self.seen = []

        def cancel(self, msg=None):
            self.seen.append(msg)
            return super().cancel(msg)

    async def main():
        task = Task(asyncio.sleep(0, "slept"), loop=loop)
        other = Task(asyncio.sleep(10), loop=loop)
        assert await task == "slept"
        other.cancel("mine")
        with pytest.raises(asyncio.CancelledError, match="mine"):
            await other
        return other.seen

    assert loop.run_until_complete(main()) == ["mine"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_run_ends_it(loop, error):
    async def end():
        await asyncio.sleep(0)
        raise error("now")

    task = loop.create_task(end())
    with pytest.raises(error, match="now"):
        loop.run_until_complete(asyncio.sleep(1))
    assert type(task.exception()) is error
    assert asyncio.current_task(loop) is None


def leaving(factory):
    loop = factory()
    told = reports(loop)

    async def leave():
        _asyncio._leave_task(loop, asyncio.current_task())
        return "left"

    try:
        task = loop.create_task(leave())
        run_once(loop)
        (report,) = told
        return task.result(), plain(report["exception"]), plain(asyncio.current_task(loop))
    finally:
        loop.close()


def test_a_task_that_left_itself_is_reported(loop_factory):
    like_asyncio(leaving, loop_factory)


def test_a_task_in_the_place_of_another_is_reported(loop):
    told = reports(loop)
    other = loop.create_task(asyncio.sleep(0))
    loop.run_until_complete(other)
    loop.call_soon(_asyncio._enter_task, loop, other)
    task = loop.create_task(asyncio.sleep(0))
    loop.call_soon(_asyncio._leave_task, loop, other)
    run_once(loop)
    (report,) = told
    expected = f"Cannot enter into task {task!r} while another task {other!r} is being executed."
    assert plain(expected) in plain(report["exception"])
    assert plain(report["message"]).startswith("Exception in callback ")
    assert asyncio.current_task(loop) is None
    task._log_destroy_pending = False
    task.get_coro().close()


@pytest.mark.parametrize("how", ["raise", "wait", "return"])
def test_a_coroutine_that_initializes_its_task_anew_crashes_nobody(oneloop, how):
    """asyncio's C code lets go of the coroutine that runs, and crashes."""
    loop = oneloop.new_event_loop()
    reports(loop)

    async def again():
        await asyncio.sleep(0)

    async def anew():
        asyncio.current_task().__init__(coroutine, loop=loop)
        if how == "raise":
            raise LookupError(how)
        if how == "wait":
            await loop.create_future()
        return how

    coroutine = again()
    task = loop.create_task(anew())
    run_once(loop)
    assert asyncio.current_task(loop) is None
    task._log_destroy_pending = False
    raised(task.result)
    coroutine.close()
    loop.close()


def test_a_future_that_is_initialized_anew_while_a_task_waits(loop):
    reports(loop)
    future = loop.create_future()

    async def wait():
        return await future

    task = loop.create_task(wait())
    run_once(loop)
    # From 3.15 on a future refuses that.
    with pytest.raises(RuntimeError) if sys.version_info >= (3, 15) else contextlib.nullcontext():
        future.__init__(loop=loop)
    assert task._fut_waiter is future
    task.cancel()
    run_once(loop)
    run_once(loop)
    task._log_destroy_pending = False


def test_a_destructor_may_do_anything_between_two_steps(loop):
    """The future that a task has waited for is let go at the start of its next step."""
    seen = []

    class Held:
        def __del__(self):
            seen.append(asyncio.current_task(loop))
            tasks[0].cancel("by the destructor")

    async def main():
        future = loop.create_future()
        loop.call_soon(future.set_result, Held())
        await future
        del future
        await asyncio.sleep(0)

    tasks = [loop.create_task(main())]
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(tasks[0])
    assert seen


def test_nothing_is_kept(oneloop):
    """Counts of everything that a step touches, after many of each kind."""
    loop = oneloop.new_event_loop()
    context = contextvars.copy_context()

    class Value:
        pass

    async def work(value):
        for _ in range(3):
            await asyncio.sleep(0)
        future = loop.create_future()
        loop.call_soon(future.set_result, value)
        await future
        with contextlib.suppress(LookupError):
            await loop.create_task(fail())
        return await loop.create_task(asyncio.sleep(0, value))

    async def fail():
        raise LookupError

    async def main(count):
        value = Value()
        gone = weakref.ref(value)
        for _ in range(count):
            assert await loop.create_task(work(value), context=context) is value
        del value
        return gone

    def counts():
        gc.collect()
        return [sys.getrefcount(thing) for thing in (loop, context, work, fail)], len(gc.get_objects())

    assert loop.run_until_complete(main(20))() is None
    before = counts()
    assert loop.run_until_complete(main(300))() is None
    after = counts()
    loop.close()
    assert after[0] == before[0]
    assert after[1] - before[1] < 50
