# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Asynchronous generators that somebody stops iterating: the loop closes them."""

import asyncio
import gc
import sys
import threading
import warnings

import pytest
from helpers.compare import like_asyncio, plain, reports
from helpers.loops import run_once


async def numbers(seen, error=None):
    try:
        for number in range(10):
            yield number
    finally:
        await asyncio.sleep(0)
        seen.append("closed")
        if error is not None:
            raise error


async def first_of(generator):
    return await anext(generator)


def test_one_that_is_forgotten_is_closed_by_the_loop(loop):
    seen = []

    async def main():
        assert await first_of(numbers(seen)) == 0
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert seen == ["closed"]


def test_one_that_another_thread_forgets_is_closed_by_the_loop(loop):
    seen, kept = [], []

    async def main():
        kept.append(numbers(seen))
        await first_of(kept[0])
        thread = threading.Thread(target=kept.clear)
        thread.start()
        thread.join()
        for _ in range(5):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert seen == ["closed"]


@pytest.mark.parametrize(
    "error", [None, ValueError("x"), asyncio.CancelledError(), GeneratorExit(), StopAsyncIteration()], ids=repr
)
def test_shutdown_closes_those_that_are_left(loop_factory, error):
    def scenario(factory):
        loop, seen, kept = factory(), [], []
        contexts = reports(loop)

        async def main():
            for each in (None, error, None):
                kept.append(numbers(seen, each))
                await first_of(kept[-1])

        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        return seen, contexts

    seen, _ = like_asyncio(scenario, loop_factory)
    assert seen == ["closed"] * 3


def test_one_that_starts_after_the_shutdown_gives_a_warning(loop_factory):
    def scenario(factory):
        loop, seen = factory(), []

        async def main():
            await loop.shutdown_asyncgens()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                generator = numbers(seen)
                await first_of(generator)
            await generator.aclose()
            return [(warning.category.__name__, plain(warning.message)) for warning in caught]

        caught = loop.run_until_complete(main())
        loop.close()
        return caught

    assert len(like_asyncio(scenario, loop_factory)) == 1


def test_one_that_is_forgotten_after_the_loop_is_closed_is_nobody_s(loop):
    seen, kept = [], []

    async def main():
        kept.append(numbers(seen))
        await first_of(kept[0])

    loop.run_until_complete(main())
    loop.close()
    kept.clear()
    gc.collect()
    assert seen == []


def test_the_hooks_are_the_loop_s_only_while_it_runs(loop):
    seen = []

    def own(generator):
        pass

    sys.set_asyncgen_hooks(own, own)
    try:
        loop.call_soon(lambda: seen.append(sys.get_asyncgen_hooks()))
        run_once(loop)
        assert seen[0] == (loop._asyncgen_firstiter_hook, loop._asyncgen_finalizer_hook)
        assert sys.get_asyncgen_hooks() == (own, own)
    finally:
        sys.set_asyncgen_hooks(None, None)


def test_a_subclass_may_override_the_hooks(loop_class):
    seen = []

    class Own(loop_class):
        def _asyncgen_firstiter_hook(self, agen):
            seen.append("first")
            super()._asyncgen_firstiter_hook(agen)

    loop = Own()
    generator = numbers([])
    loop.run_until_complete(first_of(generator))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert seen == ["first"]
