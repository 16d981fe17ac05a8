# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Who makes the tasks: task factories, those that are no good, and eager tasks where the interpreter has them."""

import asyncio
import contextvars
import inspect
import sys

import pytest
from helpers.compare import like_asyncio, plain, raised

CREATE_TASK = inspect.signature(asyncio.BaseEventLoop.create_task).parameters
FORWARDS_KEYWORDS = any(parameter.kind is parameter.VAR_KEYWORD for parameter in CREATE_TASK.values())


async def answer(value=42):
    await asyncio.sleep(0)
    return value


def test_a_task_factory_makes_the_tasks(loop_factory):
    def scenario(factory):
        loop, calls = factory(), []

        def make(*args, **kwargs):
            calls.append((args[0] is loop, asyncio.iscoroutine(args[1]), sorted(kwargs)))
            kwargs.pop("eager_start", None)
            return asyncio.Task(args[1], loop=args[0], **kwargs)

        assert loop.get_task_factory() is None
        loop.set_task_factory(make)
        assert loop.get_task_factory() is make
        context = contextvars.copy_context()
        tasks = [
            loop.create_task(answer()),
            loop.create_task(answer(), name="named"),
            loop.create_task(answer(), context=context),
            loop.create_task(answer(), name="both", context=context),
        ]
        if FORWARDS_KEYWORDS:
            tasks.append(loop.create_task(answer(), eager_start=False))
        assert loop.run_until_complete(answer("through the factory")) == "through the factory"
        loop.run_until_complete(asyncio.wait(tasks))
        loop.set_task_factory(None)
        assert loop.get_task_factory() is None
        loop.run_until_complete(answer())
        loop.close()
        return calls, [plain(task.get_name()) for task in tasks]

    calls, names = like_asyncio(scenario, loop_factory)
    assert all(call[:2] == (True, True) for call in calls)
    assert names[1] == "named"
    assert names[3] == "both"


def test_a_factory_s_own_kind_of_task(loop_factory):
    class Mine(asyncio.Task):
        pass

    def scenario(factory):
        loop = factory()
        loop.set_task_factory(lambda loop, coroutine, **kwargs: Mine(coroutine, loop=loop, **kwargs))
        task = loop.create_task(answer(), name="mine")
        result = loop.run_until_complete(task)
        loop.close()
        return type(task) is Mine, result, task.get_name()

    assert like_asyncio(scenario, loop_factory) == (True, 42, "mine")


@pytest.mark.parametrize("result", ["future", None, 42], ids=str)
def test_a_factory_that_returns_no_task(loop_factory, result):
    def scenario(factory):
        loop = factory()

        def make(loop, coroutine, **_):
            coroutine.close()
            return loop.create_future() if result == "future" else result

        loop.set_task_factory(make)
        seen = raised(lambda: loop.create_task(answer())), raised(lambda: loop.create_task(answer(), name="x"))
        loop.close()
        return seen

    like_asyncio(scenario, loop_factory)


def test_a_factory_that_raises(loop):
    def make(_, coroutine, **__):
        coroutine.close()
        raise LookupError("no tasks today")

    loop.set_task_factory(make)
    with pytest.raises(LookupError, match="no tasks today"):
        loop.create_task(answer())
    loop.set_task_factory(None)
    assert loop.run_until_complete(answer()) == 42


@pytest.mark.parametrize("factory", [42, "x", []], ids=repr)
def test_a_factory_that_cannot_be_called(loop, factory):
    with pytest.raises(TypeError, match="task factory must be a callable or None"):
        loop.set_task_factory(factory)
    assert loop.get_task_factory() is None


if sys.version_info >= (3, 12):

    def test_eager_tasks_run_until_they_wait(loop):
        order = []

        async def child(name, wait):
            order.append(name)
            assert asyncio.current_task() is not task
            if wait:
                await asyncio.sleep(0)
            return wait

        async def main():
            order.append("main")
            done = loop.create_task(child("done at once", False))
            waits = loop.create_task(child("waits", True))
            order.append("after")
            assert done.done()
            assert not waits.done()
            assert asyncio.current_task() is task
            assert asyncio.all_tasks() == {task, waits}
            return await done, await waits

        task = loop.create_task(main())
        loop.set_task_factory(asyncio.eager_task_factory)
        assert loop.run_until_complete(task) == (False, True)
        assert order == ["main", "done at once", "waits", "after"]

    def test_eager_tasks_that_fail_or_are_cancelled(loop):
        async def fail():
            raise ValueError("eagerly")

        async def main():
            task = asyncio.create_task(fail())
            assert task.done()
            with pytest.raises(ValueError, match="eagerly"):
                await task
            waiting = asyncio.create_task(asyncio.sleep(3600))
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        loop.set_task_factory(asyncio.eager_task_factory)
        loop.run_until_complete(main())

    def test_an_eager_factory_for_one_s_own_kind(loop):
        class Mine(asyncio.Task):
            pass

        async def main():
            task = asyncio.create_task(answer(), name="mine", context=contextvars.copy_context())
            assert type(task) is Mine
            assert task.get_name() == "mine"
            return await task

        loop.set_task_factory(asyncio.create_eager_task_factory(Mine))
        assert loop.run_until_complete(main()) == 42

    def test_an_eager_task_before_the_loop_runs_starts_with_it(loop_factory):
        def scenario(factory):
            loop, seen = factory(), []
            loop.set_task_factory(asyncio.eager_task_factory)

            async def main():
                seen.append(asyncio.get_running_loop() is loop)

            task = loop.create_task(main())
            before = list(seen)
            loop.run_until_complete(task)
            loop.close()
            return before, seen

        like_asyncio(scenario, loop_factory)
