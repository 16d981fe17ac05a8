# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Asynchronous generators: the loop closes those that nobody finishes, and says so when one comes too late."""

import asyncio
import gc
import sys
import threading
import warnings

import pytest
from helpers.compare import like_asyncio, plain, reports
from helpers.loops import goes_on, run_once, steps


async def numbers(log, name="numbers"):
    try:
        for number in range(10):
            yield number
    finally:
        await asyncio.sleep(0)
        log.append(f"closed {name}")


def test_the_hooks_are_the_loop_s_only_while_it_runs(loop):
    def firstiter(_):
        pass

    def finalizer(_):
        pass

    async def main():
        return sys.get_asyncgen_hooks()

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter, finalizer)
    try:
        during = loop.run_until_complete(main())
        assert during == (loop._asyncgen_firstiter_hook, loop._asyncgen_finalizer_hook)
        assert tuple(sys.get_asyncgen_hooks()) == (firstiter, finalizer)
        loop.call_soon(lambda: sys.exit(3))
        with pytest.raises(SystemExit):
            loop.run_forever()
        assert tuple(sys.get_asyncgen_hooks()) == (firstiter, finalizer)
    finally:
        sys.set_asyncgen_hooks(*before)


def test_one_that_is_dropped_is_closed_by_the_loop(loop):
    log = []

    async def main():
        generator = numbers(log)
        async for number in generator:
            if number == 2:
                break
        del generator
        gc.collect()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert log == ["closed numbers"]


def test_one_that_is_dropped_on_another_thread_is_closed_by_the_loop(loop):
    log, closed = [], threading.Event()

    async def generate():
        try:
            yield 1
        finally:
            log.append(threading.current_thread() is threading.main_thread())
            closed.set()

    async def main():
        box = [generate()]
        await box[0].__anext__()
        await asyncio.to_thread(box.clear)
        while not closed.is_set():
            await asyncio.sleep(0)
        await loop.shutdown_default_executor()

    loop.run_until_complete(main())
    assert log == [True]


def test_shutdown_closes_those_that_are_left(loop):
    log = []

    async def main():
        generators = [numbers(log, name) for name in "abc"]
        for generator in generators:
            await generator.__anext__()
        finished = numbers(log, "finished")
        assert [number async for number in finished] == list(range(10))
        return generators

    generators = loop.run_until_complete(main())
    assert log == ["closed finished"]
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert sorted(log) == ["closed a", "closed b", "closed c", "closed finished"]
    # Nothing is left to do.
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert len(log) == 4
    del generators


def test_asyncio_run_closes_them(loop_factory):
    log, kept = [], []

    async def main():
        generator = numbers(log)
        kept.append(generator)
        await generator.__anext__()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
    assert log == ["closed numbers"]


@pytest.mark.parametrize(
    "error", [ValueError("x"), asyncio.CancelledError(), GeneratorExit(), StopAsyncIteration()], ids=repr
)
def test_an_error_while_closing_is_reported(loop_factory, error):
    async def failing():
        try:
            yield 1
        finally:
            raise error

    def scenario(factory):
        loop = factory()
        seen, kept, log = reports(loop), [], []

        async def main():
            for generator in (numbers(log), failing(), numbers(log)):
                kept.append(generator)
                await generator.__anext__()

        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        return [(sorted(report), plain(report["message"]), report["exception"]) for report in seen], log

    reported, log = like_asyncio(scenario, loop_factory)
    assert log == ["closed numbers"] * 2
    if isinstance(error, ValueError):
        ((keys, message, exception),) = reported
        assert keys == ["asyncgen", "exception", "message"]
        assert message.startswith("an error occurred during closing of asynchronous generator <async_generator object")
        assert exception == "ValueError('x')"


def test_one_that_starts_after_the_shutdown_is_warned_about(loop_factory):
    def scenario(factory):
        loop, log, kept = factory(), [], []
        loop.run_until_complete(loop.shutdown_asyncgens())

        async def late():
            generator = numbers(log)
            kept.append(generator)
            assert await generator.__anext__() == 0
            await generator.aclose()

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loop.run_until_complete(late())
        loop.close()
        return [(warning.category.__name__, plain(warning.message)) for warning in caught], log

    ((kind, message),), log = like_asyncio(scenario, loop_factory)
    assert kind == "ResourceWarning"
    assert message.startswith("asynchronous generator <async_generator object numbers at ")
    assert message.endswith("was scheduled after loop.shutdown_asyncgens() call")
    assert log == ["closed numbers"]


def test_one_that_outlives_its_closed_loop_is_dropped_in_silence(loop_factory):
    loop, log, kept = loop_factory(), [], []

    async def main():
        kept.append(numbers(log))
        await kept[0].__anext__()

    loop.run_until_complete(main())
    loop.close()
    kept.clear()
    gc.collect()
    assert log == []


def test_one_that_is_dropped_while_its_loop_is_stopped_is_closed_by_the_next_run(loop):
    log, kept = [], []

    async def main():
        kept.append(numbers(log))
        await kept[0].__anext__()

    loop.run_until_complete(main())
    kept.clear()
    gc.collect()
    assert log == []
    steps(loop, 4)
    assert log == ["closed numbers"]


def test_the_hooks_can_be_overridden(loop_class):
    seen = []

    class Mine(loop_class):
        def _asyncgen_firstiter_hook(self, generator):
            seen.append("first")
            super()._asyncgen_firstiter_hook(generator)

    loop = Mine()

    async def main():
        async for _ in numbers([]):
            pass

    loop.run_until_complete(main())
    loop.close()
    assert seen == ["first"]


def test_the_loop_keeps_no_generator_alive(loop):
    import weakref

    references = []

    async def main():
        for _ in range(10):
            generator = numbers([])
            async for _ in generator:
                pass
            references.append(weakref.ref(generator))

    loop.run_until_complete(main())
    gc.collect()
    assert [reference() for reference in references] == [None] * 10
    run_once(loop)
    goes_on(loop)
