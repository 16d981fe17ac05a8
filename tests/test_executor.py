# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""run_in_executor and the default executor: results, refusals, and a shutdown that waits, or waits only so long."""

import asyncio
import concurrent.futures
import functools
import gc
import importlib
import inspect
import os
import subprocess
import sys
import threading
import warnings
import weakref

import pytest
from helpers.compare import like_asyncio, logged, raised
from helpers.loops import goes_on, run_once

SHUTDOWN = asyncio.BaseEventLoop.shutdown_default_executor
HAS_TIMEOUT = "timeout" in inspect.signature(SHUTDOWN).parameters


@pytest.fixture
def loop(loop_factory):
    loop = loop_factory()
    yield loop
    executor = loop._default_executor
    loop.close()
    if executor is not None:
        executor.shutdown()


def test_the_result_of_a_thread(loop):
    async def main():
        loop_thread = threading.get_ident()
        thread, name = await loop.run_in_executor(
            None, lambda: (threading.get_ident(), threading.current_thread().name)
        )
        assert thread != loop_thread
        assert name.startswith("asyncio_")
        return await loop.run_in_executor(None, int, "42")

    assert loop.run_until_complete(main()) == 42
    assert isinstance(loop._default_executor, concurrent.futures.ThreadPoolExecutor)


def test_before_the_loop_runs(loop):
    future = loop.run_in_executor(None, int, "42")
    assert asyncio.isfuture(future)
    assert loop.run_until_complete(future) == 42


def test_an_error_comes_back(loop):
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(loop.run_in_executor(None, lambda: 1 / 0))


@pytest.mark.parametrize(
    "error", [StopIteration(1), KeyboardInterrupt(), SystemExit(1), asyncio.CancelledError()], ids=repr
)
def test_a_special_error_comes_back_as_with_asyncio(loop_factory, error):
    def fail():
        raise error

    def scenario(factory):
        loop = factory()

        async def main():
            # One thread, so that the loop hears of the first job before it hears of the second: what it has not heard
            # by then it never will.
            loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
            future = loop.run_in_executor(None, fail)
            await loop.run_in_executor(None, int)
            try:
                return await future if future.done() else "never told"
            except BaseException as caught:
                return type(caught).__name__
            finally:
                await loop.shutdown_default_executor()

        seen = []
        error = raised(lambda: seen.append(loop.run_until_complete(main())))
        loop.close()
        return seen, error and error[0]

    like_asyncio(scenario, loop_factory)


def test_a_hundred_jobs_at_once(loop):
    async def main():
        jobs = [loop.run_in_executor(None, functools.partial(pow, number, 2)) for number in range(100)]
        return await asyncio.gather(*jobs)

    assert loop.run_until_complete(main()) == [number**2 for number in range(100)]


def test_an_executor_of_one_s_own(loop):
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="own") as executor:
        name = loop.run_until_complete(loop.run_in_executor(executor, lambda: threading.current_thread().name))
    assert name.startswith("own")
    assert loop._default_executor is None


def test_anything_with_submit_is_an_executor(loop):
    class Immediate:
        def submit(self, func, *args):
            future = concurrent.futures.Future()
            future.set_result(func(*args))
            return future

    assert loop.run_until_complete(loop.run_in_executor(Immediate(), int, "7")) == 7


def test_cancelling_the_future_cancels_the_job(loop):
    release, ran = threading.Event(), []
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        blocker = loop.run_in_executor(executor, release.wait)
        waiting = loop.run_in_executor(executor, ran.append, 1)
        waiting.cancel()
        run_once(loop)
        release.set()
        loop.run_until_complete(blocker)
    assert ran == []


def test_the_job_goes_on_when_the_awaiting_task_is_cancelled(loop):
    started, release, done = threading.Event(), threading.Event(), threading.Event()

    def job():
        started.set()
        release.wait()
        done.set()

    async def main():
        task = asyncio.ensure_future(asyncio.to_thread(job))
        await asyncio.to_thread(started.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        release.set()
        await loop.shutdown_default_executor()
        return done.is_set()

    assert loop.run_until_complete(main())


@pytest.mark.parametrize("func", [None, 42, "x"], ids=repr)
def test_what_cannot_be_called(loop_factory, debug, func):
    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)

        async def main():
            try:
                await loop.run_in_executor(None, func)
            finally:
                await loop.shutdown_default_executor()

        error = raised(lambda: loop.run_until_complete(main()))
        goes_on(loop)
        loop.close()
        return error

    kind, message = like_asyncio(scenario, loop_factory)
    assert kind == "TypeError"
    assert ("run_in_executor" in message) == debug


@pytest.mark.parametrize("wrapped", [False, True], ids=["itself", "in a partial"])
def test_a_coroutine_function_is_refused_in_debug_mode_only(loop_factory, debug, wrapped):
    async def coroutine_function():
        pass

    function = functools.partial(coroutine_function) if wrapped else coroutine_function

    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)

        async def main():
            coroutine = await loop.run_in_executor(None, function)
            await loop.shutdown_default_executor()
            return await coroutine

        error = raised(lambda: loop.run_until_complete(main()))
        loop.close()
        return error

    expected = ("TypeError", "coroutines cannot be used with run_in_executor()") if debug else None
    assert like_asyncio(scenario, loop_factory) == expected


def _setter(executor):
    def scenario(factory):
        loop = factory()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            error = raised(lambda: loop.set_default_executor(executor))
        seen = loop._default_executor is executor, error, [warning.category.__name__ for warning in caught]
        loop._default_executor = None
        loop.close()
        return seen

    return scenario


@pytest.mark.parametrize(
    "executor", [None, 42, object(), concurrent.futures.Executor()], ids=lambda it: type(it).__name__
)
def test_only_a_thread_pool_can_be_the_default(loop_factory, executor):
    _, error, _ = like_asyncio(_setter(executor), loop_factory)
    assert error == ("TypeError", "executor must be ThreadPoolExecutor instance")


def test_the_default_can_be_set(loop):
    executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine")
    loop.set_default_executor(executor)
    assert loop._default_executor is executor
    name = loop.run_until_complete(loop.run_in_executor(None, lambda: threading.current_thread().name))
    assert name.startswith("mine")


def test_the_private_attribute_can_be_set_too(loop):
    executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="private")
    loop._default_executor = executor
    name = loop.run_until_complete(loop.run_in_executor(None, lambda: threading.current_thread().name))
    assert name.startswith("private")


def test_shutdown_waits_for_the_jobs(loop):
    started, release, done = threading.Event(), threading.Event(), []

    def job():
        started.set()
        release.wait()
        done.append(1)

    async def main():
        future = loop.run_in_executor(None, job)
        await asyncio.to_thread(started.wait)
        loop.call_soon(release.set)
        await loop.shutdown_default_executor()
        assert done == [1]
        await future

    loop.run_until_complete(main())
    assert not any(thread.name.startswith("asyncio_") for thread in threading.enumerate())


def test_after_the_shutdown_it_is_refused(loop_factory):
    def scenario(factory):
        loop = factory()
        loop.run_until_complete(loop.shutdown_default_executor())
        seen = raised(lambda: loop.run_in_executor(None, int))
        # An executor of one's own is none of the loop's business.
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            assert loop.run_until_complete(loop.run_in_executor(executor, int, "7")) == 7
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == ("RuntimeError", "Executor shutdown has been called")


def test_shutdown_with_nothing_to_do(loop):
    loop.run_until_complete(loop.shutdown_default_executor())
    assert loop._default_executor is None


if HAS_TIMEOUT:

    def test_shutdown_waits_only_so_long(loop_factory, loop_name):
        loop, release = loop_factory(), threading.Event()
        job = loop.run_in_executor(None, release.wait)
        executor = loop._default_executor
        # 3.12.1's first waits without a limit, and only then for the thread. Ours is 3.13's on every version.
        limited = loop_name != "asyncio" or "timeouts" in SHUTDOWN.__code__.co_names
        if not limited:
            loop.call_later(0.05, release.set)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loop.run_until_complete(loop.shutdown_default_executor(timeout=0.01))
        release.set()
        loop.run_until_complete(job)
        executor.shutdown()
        loop.close()
        assert [(warning.category.__name__, str(warning.message)) for warning in caught] == [
            ("RuntimeWarning", "The executor did not finishing joining its threads within 0.01 seconds.")
        ] * limited

    def test_shutdown_within_the_time(loop):
        loop.run_until_complete(loop.run_in_executor(None, int))
        loop.run_until_complete(loop.shutdown_default_executor(timeout=20))
        assert not any(thread.name.startswith("asyncio_") for thread in threading.enumerate())

    def test_shutdown_with_a_timeout_that_is_none(loop):
        loop.run_until_complete(loop.run_in_executor(None, int))
        loop.run_until_complete(loop.shutdown_default_executor(None))


def test_a_job_that_ends_after_the_loop_was_closed(loop_factory):
    def scenario(factory):
        loop, release = factory(), threading.Event()
        future = loop.run_in_executor(None, release.wait)
        executor = loop._default_executor
        with logged() as lines:
            loop.close()
            release.set()
            refused = raised(lambda: executor.submit(int))
            executor.shutdown()
        assert not future.done()
        assert refused[0] == "RuntimeError"
        assert loop._default_executor is None
        return lines

    assert like_asyncio(scenario, loop_factory) == []


def test_to_thread_runs_beside_the_loop(loop):
    async def main():
        release = threading.Event()
        waiting = asyncio.create_task(asyncio.to_thread(release.wait))
        await asyncio.sleep(0)
        # The loop is free meanwhile.
        assert await asyncio.to_thread(int, "1") == 1
        release.set()
        await waiting
        await loop.shutdown_default_executor()

    loop.run_until_complete(main())


def test_a_second_shutdown_is_harmless(loop):
    loop.run_until_complete(loop.run_in_executor(None, int))
    for _ in range(2):
        loop.run_until_complete(loop.shutdown_default_executor())


def test_what_the_executor_raises_comes_out_of_the_shutdown(loop):
    class Broken(concurrent.futures.ThreadPoolExecutor):
        broken = True

        def shutdown(self, wait=True, **keywords):
            super().shutdown(wait, **keywords)
            if self.broken:
                raise ValueError("broken")

    executor = Broken()
    loop.set_default_executor(executor)
    with pytest.raises(ValueError, match="broken"):
        loop.run_until_complete(loop.shutdown_default_executor())
    executor.broken = False


def test_a_shutdown_that_is_cancelled_leaves_the_loop_usable(oneloop):
    loop, release = oneloop.new_event_loop(), threading.Event()

    async def main():
        job = loop.run_in_executor(None, release.wait)
        shutdown = asyncio.create_task(loop.shutdown_default_executor())
        await asyncio.sleep(0)
        shutdown.cancel()
        with pytest.raises(asyncio.CancelledError):
            await shutdown
        release.set()
        await job

    loop.run_until_complete(main())
    goes_on(loop)
    loop.close()


# What the loop's own chain between the two futures has in common with asyncio's.


@pytest.fixture(params=[True, False], ids=["own", "asyncio's"])
def chain(request, monkeypatch):
    """Ours, and with it turned off."""
    monkeypatch.setattr(importlib.import_module("oneloop._executor"), "_IS_AS_KNOWN", request.param)


class Postponed:
    """An executor whose jobs end when, and as, they are told."""

    def __init__(self, kind=concurrent.futures.Future):
        self.kind, self.jobs = kind, []

    def submit(self, func, *args):
        self.jobs.append(self.kind())
        return self.jobs[-1]


class OtherFuture(concurrent.futures.Future[object]):
    """A future of an executor's own kind."""


def ends(job, how):
    if how == "cancelled":
        assert job.cancel()
        job.set_running_or_notify_cancel()
    elif how == "failed":
        job.set_exception(LookupError("job"))
    elif how == "cancelled error":
        job.set_exception(concurrent.futures.CancelledError("job"))
    else:
        job.set_result(how)


def outcome(future):
    if not future.done():
        return "pending"
    if future.cancelled():
        return "cancelled"
    return repr(future.exception() or future.result())


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize("kind", [concurrent.futures.Future, OtherFuture])
@pytest.mark.parametrize("how", ["result", None, "failed", "cancelled", "cancelled error"])
@pytest.mark.parametrize("where", ["inside", "outside", "thread"])
def test_a_job_ends_at_asyncio_s_turn_of_the_loop(loop_factory, kind, how, where):
    def scenario(factory):
        loop, executor, seen = factory(), Postponed(kind), []

        async def main():
            future = loop.run_in_executor(executor, print)
            (job,) = executor.jobs
            if where == "thread":
                thread = threading.Thread(target=ends, args=(job, how))
                thread.start()
                thread.join()
            elif where == "inside":
                ends(job, how)
            for _ in range(3):
                seen.append(outcome(future))
                await asyncio.sleep(0)

        if where == "outside":
            future = loop.run_in_executor(executor, print)
            ends(executor.jobs[0], how)
            for _ in range(3):
                seen.append(outcome(future))
                run_once(loop)
        else:
            loop.run_until_complete(main())
        loop.close()
        return seen

    like_asyncio(scenario, loop_factory)


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize("how", ["result", "failed", "cancelled"])
@pytest.mark.parametrize("settled", ["cancelled", "done"])
def test_a_job_that_ends_after_its_future(loop_factory, how, settled):
    def scenario(factory):
        loop, executor = factory(), Postponed()
        future = loop.run_in_executor(executor, print)
        (job,) = executor.jobs
        running = job.set_running_or_notify_cancel()
        future.cancel() if settled == "cancelled" else future.set_result("mine")
        with logged() as log:
            run_once(loop)
            if how != "cancelled":
                ends(job, how)
            run_once(loop)
        state = [running, outcome(future), job.cancelled(), len(log)]
        loop.close()
        return state

    like_asyncio(scenario, loop_factory)


@pytest.mark.usefixtures("chain")
def test_jobs_that_the_shutdown_cancels(loop_factory):
    def scenario(factory):
        loop = factory()
        started, release, executor = threading.Event(), threading.Event(), concurrent.futures.ThreadPoolExecutor(1)

        def block():
            started.set()
            return release.wait()

        async def main():
            blocker = loop.run_in_executor(executor, block)
            started.wait()  # one that has not begun would be cancelled, too
            waiting = loop.run_in_executor(executor, print)
            executor.shutdown(wait=False, cancel_futures=True)
            seen = [outcome(waiting)]
            await asyncio.sleep(0)
            seen.append(outcome(waiting))
            release.set()
            return [*seen, await blocker]

        try:
            return loop.run_until_complete(main())
        finally:
            executor.shutdown()
            loop.close()

    like_asyncio(scenario, loop_factory)


@pytest.mark.usefixtures("chain")
def test_a_job_that_is_done_leaves_no_cycle(loop):
    class Executor(Postponed):
        def submit(self, func, *args):
            job = super().submit(func, *args)
            job.set_result(Result())
            return job

    executor = Executor()
    gc.collect()
    gc.disable()
    try:
        gone = weakref.ref(loop.run_until_complete(loop.run_in_executor(executor, print)))
        executor.jobs.clear()
        run_once(loop)
        assert gone() is None
    finally:
        gc.enable()


class Result:
    """Something that can be seen to go."""


def test_the_switch_turns_the_own_chain_off():
    program = "from oneloop import _executor; print(_executor._IS_AS_KNOWN)"
    answers = []
    for value in ("0", "1"):
        env = {**os.environ, "ONELOOP_FAST_EXECUTOR": value}
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
        answers.append(done.stdout.strip())
    assert answers == ["False", "True"]
