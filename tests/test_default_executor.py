# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Functions in threads: `run_in_executor`, the default executor and its shutdown."""

import asyncio
import concurrent.futures
import functools
import inspect
import threading
import warnings

import pytest
from helpers.compare import like_asyncio, plain, raised

TIMEOUT_IS_KNOWN = "timeout" in inspect.signature(asyncio.BaseEventLoop.shutdown_default_executor).parameters


async def coroutine():
    pass


def fail():
    raise ZeroDivisionError("boom")


def test_a_function_runs_in_a_thread_of_asyncio_s_name(loop):
    async def main():
        return await loop.run_in_executor(None, lambda a, b: (a, b, threading.current_thread().name), 1, 2)

    one, two, name = loop.run_until_complete(main())
    assert (one, two) == (1, 2)
    assert name.startswith("asyncio_0")
    executor = loop._default_executor
    assert type(executor) is concurrent.futures.ThreadPoolExecutor
    loop.run_until_complete(main())
    assert loop._default_executor is executor


def test_its_future_is_an_asyncio_future_of_the_loop(loop):
    future = loop.run_in_executor(None, int)
    assert type(future) is asyncio.Future
    assert future.get_loop() is loop
    assert loop.run_until_complete(future) == 0


def test_what_it_raises_comes_out_of_the_await(loop):
    with pytest.raises(ZeroDivisionError, match="boom"):
        loop.run_until_complete(loop.run_in_executor(None, fail))


def test_another_executor_is_used_as_it_is(loop):
    class Executor(concurrent.futures.Executor):
        def submit(self, function, /, *args, **keywords):
            future = concurrent.futures.Future()
            future.set_result((function, args, keywords))
            return future

    result = loop.run_until_complete(loop.run_in_executor(Executor(), print, 1, 2))
    assert result == (print, (1, 2), {})
    assert loop._default_executor is None


@pytest.mark.parametrize(
    "function", [coroutine, functools.partial(coroutine), 3, None, "text"], ids=lambda it: type(it).__name__
)
def test_what_cannot_be_called_there(loop_factory, debug, function):
    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)
        loop.slow_callback_duration = 1e9

        async def main():
            result = await loop.run_in_executor(None, function)
            if inspect.iscoroutine(result):
                result.close()
            return type(result).__name__

        seen = []
        error = raised(lambda: seen.append(loop.run_until_complete(main())))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        return error, seen

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("executor", [None, 3, concurrent.futures.Executor()], ids=lambda it: type(it).__name__)
def test_the_default_is_a_thread_pool(loop_factory, executor):
    def scenario(factory):
        loop = factory()
        error = raised(lambda: loop.set_default_executor(executor))
        loop.close()
        return error

    assert like_asyncio(scenario, loop_factory)[0] == "TypeError"


def test_a_default_executor_of_one_s_own(loop):
    with concurrent.futures.ThreadPoolExecutor(thread_name_prefix="own") as executor:
        loop.set_default_executor(executor)
        name = loop.run_until_complete(loop.run_in_executor(None, lambda: threading.current_thread().name))
    assert name.startswith("own")


def test_the_private_name_can_be_set(loop):
    """pytest-asyncio, anyio and others replace it so."""
    with concurrent.futures.ThreadPoolExecutor(thread_name_prefix="own") as executor:
        loop._default_executor = executor
        name = loop.run_until_complete(loop.run_in_executor(None, lambda: threading.current_thread().name))
        assert name.startswith("own")


def test_shutdown_waits_for_the_jobs(loop):
    seen, may_end = [], threading.Event()

    def job():
        may_end.wait()
        seen.append("job")

    async def main():
        future = loop.run_in_executor(None, job)
        loop.call_later(0.01, may_end.set)
        await loop.shutdown_default_executor()
        seen.append("shut down")
        await future

    loop.run_until_complete(main())
    assert seen == ["job", "shut down"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("asyncio_")]


def test_after_shutdown_only_the_default_one_is_refused(loop_factory):
    def scenario(factory):
        loop = factory()
        loop.run_until_complete(loop.shutdown_default_executor())
        error = raised(lambda: loop.run_in_executor(None, int))
        with concurrent.futures.ThreadPoolExecutor() as executor:
            other = loop.run_until_complete(loop.run_in_executor(executor, int))
        loop.close()
        return error, other

    like_asyncio(scenario, loop_factory)


def test_a_second_shutdown_and_one_without_executor_are_harmless(loop):
    for _ in range(2):
        loop.run_until_complete(loop.shutdown_default_executor())
    loop2 = type(loop)()
    loop2.run_until_complete(loop2.run_in_executor(None, int))
    for _ in range(2):
        loop2.run_until_complete(loop2.shutdown_default_executor())
    loop2.close()


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


def shut_down_in_vain(loop, timeout):
    """What a shutdown says whose time is over before the job's is."""
    may_end = threading.Event()
    loop.set_debug(False)

    async def main():
        future = loop.run_in_executor(None, may_end.wait)
        # asyncio's 3.12 looks at the clock only after the jobs are done.
        release = threading.Timer(0.2, may_end.set)
        release.start()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await loop.shutdown_default_executor(timeout)
        in_time = not may_end.is_set()
        await future
        release.join()
        return in_time, [(warning.category.__name__, str(warning.message)) for warning in caught]

    return loop.run_until_complete(main())


def test_the_timeout_ends_the_wait_with_a_warning(oneloop):
    loop = oneloop.new_event_loop()
    in_time, caught = shut_down_in_vain(loop, 0.01)
    loop.close()
    assert in_time
    assert caught == [("RuntimeWarning", "The executor did not finishing joining its threads within 0.01 seconds.")]


@pytest.mark.skipif(not TIMEOUT_IS_KNOWN, reason="asyncio has the timeout from 3.12 on")
def test_a_timeout_that_is_long_enough_is_silent(loop):
    async def main():
        await loop.run_in_executor(None, int)
        await loop.shutdown_default_executor(100)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop.run_until_complete(main())


def test_a_shutdown_that_is_cancelled_leaves_the_loop_usable(oneloop):
    loop, may_end = oneloop.new_event_loop(), threading.Event()

    async def main():
        future = loop.run_in_executor(None, may_end.wait)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.shutdown_default_executor(), 0.01)
        may_end.set()
        await future
        await asyncio.sleep(0.01)

    loop.run_until_complete(main())
    loop.close()


def test_a_job_that_outlives_the_loop_is_let_go(loop_factory):
    def scenario(factory):
        loop, may_end = factory(), threading.Event()
        loop.run_in_executor(None, may_end.wait)
        executor = loop._default_executor
        loop.close()
        seen = loop._default_executor, raised(lambda: executor.submit(int))
        may_end.set()
        executor.shutdown(wait=True)
        return plain(seen)

    like_asyncio(scenario, loop_factory)
