# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Tasks and futures as the loop makes them: every keyword of this interpreter, and what becomes of them."""

import _asyncio
import asyncio
import contextvars
import gc

import pytest
from helpers.compare import like_asyncio, logged, plain, raised, reports
from helpers.loops import run_once, steps


async def answer(value=42):
    await asyncio.sleep(0)
    return value


# Futures.


def test_a_future_is_exactly_asyncio_s(loop):
    future = loop.create_future()
    assert type(future) is _asyncio.Future
    assert future.get_loop() is loop
    assert asyncio.isfuture(future)
    future.cancel()


def test_futures_and_tasks_belong_to_the_loop_that_made_them_whichever_runs(loop, loop_factory):
    other, seen = loop_factory(), []

    def made_by(maker):
        task = maker.create_task(answer())
        seen.append(maker.create_future().get_loop() is maker and task.get_loop() is maker)
        task.cancel()

    def make_all():
        made_by(loop)
        made_by(other)
        for running in (None, other):
            asyncio._set_running_loop(running)
            try:
                made_by(loop)
                made_by(other)
            finally:
                asyncio._set_running_loop(loop)

    loop.call_soon(make_all)
    for maker in (loop, other):
        made_by(maker)
        steps(maker, 3)
    assert seen == [True] * 8
    other.close()


def test_a_future_s_result_and_error(loop):
    future = loop.create_future()
    loop.call_soon(future.set_result, 1)
    assert loop.run_until_complete(future) == 1
    failed = loop.create_future()
    loop.call_soon(failed.set_exception, ValueError("x"))
    with pytest.raises(ValueError, match="x"):
        loop.run_until_complete(failed)
    cancelled = loop.create_future()
    loop.call_soon(cancelled.cancel, "why")
    with pytest.raises(asyncio.CancelledError, match="why"):
        loop.run_until_complete(cancelled)


def test_a_future_s_callbacks_run_in_their_contexts(loop):
    variable, seen = contextvars.ContextVar("variable", default="none"), []
    context = contextvars.copy_context()
    context.run(variable.set, "theirs")
    future = loop.create_future()
    future.add_done_callback(lambda done: seen.append((variable.get(), done is future)), context=context)
    future.add_done_callback(lambda _: seen.append(variable.get()))
    future.set_result(None)
    run_once(loop)
    assert seen == [("theirs", True), "none"]


def test_an_error_that_nobody_fetched_is_reported(loop_factory, debug):
    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)
        seen = reports(loop)
        future = loop.create_future()
        future.set_exception(ValueError("x"))
        del future

        async def fail():
            raise KeyError("y")

        task = loop.create_task(fail())
        steps(loop, 2)
        del task
        gc.collect()
        loop.close()
        return [(sorted(context), context["message"], context["exception"]) for context in seen]

    future, task = like_asyncio(scenario, loop_factory)
    assert future[1:] == ("Future exception was never retrieved", "ValueError('x')")
    assert task[1:] == ("Task exception was never retrieved", "KeyError('y')")
    assert ("source_traceback" in future[0]) == debug


# Tasks and the keywords of create_task.


def test_a_task_is_asyncio_s(loop):
    task = loop.create_task(answer())
    assert isinstance(task, asyncio.Task)
    assert task.get_loop() is loop
    assert loop.run_until_complete(task) == 42


def test_a_task_has_the_given_name_or_one_of_its_own(loop):
    tasks = [loop.create_task(answer()), loop.create_task(answer()), loop.create_task(answer(), name="mine")]
    names = [task.get_name() for task in tasks]
    assert names[2] == "mine"
    assert len(set(names)) == 3
    assert all(name.startswith("Task-") for name in names[:2])
    loop.run_until_complete(asyncio.wait(tasks))


@pytest.mark.parametrize("name", ["", 7, None, object()], ids=plain)
def test_any_name_is_a_name(loop_factory, name):
    def scenario(factory):
        loop = factory()
        task = loop.create_task(answer(), name=name)
        loop.run_until_complete(task)
        loop.close()
        return plain(task.get_name())

    like_asyncio(scenario, loop_factory)


def test_a_task_runs_in_the_given_context_or_a_copy(loop):
    variable = contextvars.ContextVar("variable", default="none")
    context = contextvars.copy_context()

    async def set_it(value):
        before = variable.get()
        variable.set(value)
        await asyncio.sleep(0)
        return before, variable.get()

    assert loop.run_until_complete(loop.create_task(set_it("given"), context=context)) == ("none", "given")
    assert context[variable] == "given"
    assert loop.run_until_complete(loop.create_task(set_it("again"), context=context)) == ("given", "again")
    assert loop.run_until_complete(loop.create_task(set_it("copy"))) == ("none", "copy")
    assert variable.get() == "none"


@pytest.mark.parametrize(
    "keywords",
    [
        {"eager_start": True},
        {"eager_start": False},
        {"eager_start": None},
        {"colour": "red"},
        {"loop": None},
        {"name": "n", "colour": 1},
    ],
    ids=str,
)
def test_other_keywords_are_what_this_interpreter_says(loop_factory, keywords):
    def scenario(factory):
        loop, started = factory(), []

        async def main():
            started.append(1)

        async def outer():
            coroutine = main()
            try:
                task = loop.create_task(coroutine, **keywords)
            except TypeError as error:
                coroutine.close()
                return str(error).rpartition("()")[2]
            at_once = bool(started)
            await task
            return at_once, task.get_name() if "name" in keywords else None

        result = loop.run_until_complete(outer())
        loop.close()
        return result

    # The text of a TypeError names the function, which is the class's here and there.
    like_asyncio(lambda factory: _kind(scenario(factory)), loop_factory)
    if "colour" in keywords:
        assert "colour" in scenario(loop_factory)


def _kind(seen):
    return "TypeError" if isinstance(seen, str) else seen


def test_positional_arguments_are_refused(loop):
    coroutine = answer()
    with pytest.raises(TypeError):
        loop.create_task(coroutine, "name")
    with pytest.raises(TypeError):
        loop.create_task()
    coroutine.close()


def test_a_coroutine_may_be_a_keyword(loop):
    assert loop.run_until_complete(loop.create_task(coro=answer(1))) == 1


def test_an_old_style_coroutine_object(loop):
    """What `collections.abc.Coroutine` calls one: Cython's, or an awaitable with send, throw and close."""
    import collections.abc

    class Coroutine(collections.abc.Coroutine):
        def __init__(self):
            self.steps = 0

        def send(self, _):
            self.steps += 1
            if self.steps == 3:
                raise StopIteration("done")

        def throw(self, *_):
            raise NotImplementedError

        def close(self):
            pass

        def __await__(self):
            yield

    assert loop.run_until_complete(loop.create_task(Coroutine())) == "done"
    assert loop.run_until_complete(Coroutine()) == "done"


# Who runs and what is there.


def test_current_task_and_all_tasks(loop):
    async def child():
        assert asyncio.current_task() is not main_task
        await asyncio.sleep(0)

    async def main():
        assert asyncio.current_task() is main_task
        children = {asyncio.create_task(child()) for _ in range(3)}
        assert asyncio.all_tasks() == {main_task, *children}
        await asyncio.wait(children)
        assert asyncio.all_tasks() == {main_task}

    main_task = loop.create_task(main())
    assert asyncio.all_tasks(loop) == {main_task}
    assert asyncio.current_task(loop) is None
    loop.run_until_complete(main_task)
    assert asyncio.all_tasks(loop) == set()


def test_no_task_is_current_in_a_callback(loop):
    seen = []

    async def main():
        loop.call_soon(lambda: seen.append(asyncio.current_task()))
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert seen == [None]


# run_until_complete.


def test_what_can_be_run(loop):
    class Awaitable:
        def __await__(self):
            return (yield from answer("awaitable").__await__())

    assert loop.run_until_complete(answer()) == 42
    assert loop.run_until_complete(loop.create_task(answer())) == 42
    assert loop.run_until_complete(Awaitable()) == "awaitable"
    done = loop.create_future()
    done.set_result("done before")
    assert loop.run_until_complete(done) == "done before"
    assert loop.run_until_complete(done) == "done before"


def test_stopping_before_the_end_is_an_error_and_can_be_continued(loop):
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="Event loop stopped before Future completed"):
        loop.run_until_complete(future)
    loop.call_soon(future.set_result, "later")
    assert loop.run_until_complete(future) == "later"


def test_a_coroutine_s_base_exception_is_not_reported_twice(loop_factory):
    def scenario(factory):
        loop = factory()
        seen = reports(loop)

        async def main():
            raise KeyboardInterrupt

        error = raised(lambda: loop.run_until_complete(main()))
        gc.collect()
        loop.close()
        return error, seen

    assert like_asyncio(scenario, loop_factory) == (("KeyboardInterrupt", ""), [])


def test_a_future_without_removable_callbacks(loop_factory):
    """Somebody's own future, on the same loop: isfuture() is what asyncio asks for."""

    class Own(asyncio.Future):
        pass

    def scenario(factory):
        loop = factory()
        future = Own(loop=loop)
        loop.call_soon(future.set_result, "own")
        result = loop.run_until_complete(future)
        loop.close()
        return result

    assert like_asyncio(scenario, loop_factory) == "own"


# The vocabulary that everybody uses, on top.


def test_gather_wait_shield_and_timeouts(loop):
    async def main():
        assert await asyncio.gather(*(answer(number) for number in range(100))) == list(range(100))
        done, pending = await asyncio.wait(
            [asyncio.create_task(answer()), asyncio.create_task(asyncio.sleep(3600))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        assert len(done) == len(pending) == 1
        for task in pending:
            task.cancel()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(3600), 0.001)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(3600)
        shielded = asyncio.create_task(answer("kept"))
        outer = asyncio.ensure_future(asyncio.shield(shielded))
        await asyncio.sleep(0)
        outer.cancel()
        assert await shielded == "kept"
        return [await future for future in asyncio.as_completed([answer(1)])]

    assert loop.run_until_complete(main()) == [1]


def test_a_group_cancels_the_rest(loop):
    cancelled = []

    async def rest(name):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(name)
            raise

    async def fail():
        await asyncio.sleep(0)
        raise ValueError("first")

    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(rest("a"))
            group.create_task(rest("b"))
            group.create_task(fail())

    with pytest.raises(ExceptionGroup) as caught:
        loop.run_until_complete(main())
    assert [str(error) for error in caught.value.exceptions] == ["first"]
    assert sorted(cancelled) == ["a", "b"]


def test_cancellation_is_counted_and_keeps_its_message(loop):
    async def main():
        task = asyncio.current_task()
        task.cancel("first")
        task.cancel("second")
        assert task.cancelling() == 2
        with pytest.raises(asyncio.CancelledError) as caught:
            await asyncio.sleep(0)
        assert caught.value.args == ("second",)
        task.uncancel()
        task.uncancel()
        await asyncio.sleep(0)
        return task.cancelling()

    assert loop.run_until_complete(main()) == 0


def test_ten_thousand_tasks(loop):
    async def main():
        return sum(await asyncio.gather(*(answer(number) for number in range(10_000))))

    assert loop.run_until_complete(main()) == sum(range(10_000))


def test_a_long_chain_of_awaits_does_not_recurse(loop):
    async def main():
        future = loop.create_future()
        first = future
        for _ in range(20_000):
            following = loop.create_future()
            future.add_done_callback(lambda _, following=following: following.set_result(None))
            future = following
        first.set_result(None)
        await future
        return "end"

    assert loop.run_until_complete(main()) == "end"


def test_the_sync_primitives(loop):
    async def main():
        queue, lock, event, log = asyncio.Queue(2), asyncio.Lock(), asyncio.Event(), []

        async def produce():
            for number in range(10):
                await queue.put(number)
            await event.wait()
            log.append("event")

        async def consume():
            for _ in range(10):
                async with lock:
                    log.append(await queue.get())
            event.set()

        await asyncio.gather(produce(), consume())
        return log

    assert loop.run_until_complete(main()) == [*range(10), "event"]


def test_debug_mode_names_where_a_task_was_made(loop_factory):
    def scenario(factory):
        loop = factory()
        loop.set_debug(True)
        task, future = loop.create_task(answer()), loop.create_future()
        # asyncio's create_future() is a frame of its own on top.
        seen = [any(frame.line == line for frame in made._source_traceback[-2:]) for made in (task, future)]
        assert task._source_traceback[-1].line == line
        loop.run_until_complete(task)
        future.cancel()
        loop.close()
        return seen

    line = "task, future = loop.create_task(answer()), loop.create_future()"
    assert like_asyncio(scenario, loop_factory) == [True, True]


def test_a_task_that_is_dropped_while_pending_is_reported(loop_factory, debug):
    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)

        async def forever():
            await loop.create_future()

        task = loop.create_task(forever())
        run_once(loop)
        with logged() as lines:
            del task
            gc.collect()
        loop.close()
        return [line.splitlines()[0] for line in lines]

    assert like_asyncio(scenario, loop_factory) == ["ERROR: Task was destroyed but it is pending!"]
