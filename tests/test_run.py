# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The ways in: `oneloop.run`, `new_event_loop` and its driver, and asyncio's own runners with our loops.

(The package's names, the policy and `install` are in test_package.)"""

import asyncio
import gc
import inspect
import os
import sys
import warnings

import pytest
from helpers import children
from helpers.compare import plain, raised
from helpers.loops import goes_on


async def which():
    return asyncio.get_running_loop()


# oneloop.run


def test_run_raises_what_the_coroutine_raises(oneloop):
    async def fail():
        raise LookupError("x")

    with pytest.raises(LookupError, match="x"):
        oneloop.run(fail())


def test_run_takes_debug(oneloop):
    for debug in (True, False):
        assert oneloop.run(which(), debug=debug).get_debug() is debug
    assert oneloop.run(which(), debug=None).get_debug() is False
    assert str(inspect.signature(oneloop.run)).startswith("(main")
    parameters = inspect.signature(oneloop.run).parameters
    assert list(parameters) == ["main", "debug"]
    assert parameters["debug"].kind is inspect.Parameter.KEYWORD_ONLY
    assert parameters["debug"].default is None


@pytest.mark.parametrize("what", [None, 42, "x", which], ids=plain)
def test_run_of_something_else_is_refused_as_by_asyncio(oneloop, what):
    assert raised(lambda: oneloop.run(what)) == raised(lambda: asyncio.run(what))


def test_run_cleans_up(oneloop):
    log = []

    async def background():
        try:
            await asyncio.sleep(3600)
        finally:
            log.append("cancelled")

    async def generate():
        try:
            yield 1
        finally:
            log.append("generator closed")

    async def main():
        task = asyncio.create_task(background())
        generator = generate()
        await generator.__anext__()
        await asyncio.to_thread(log.append, "thread")
        return task, generator

    task, _ = oneloop.run(main())
    assert task.cancelled()
    assert log == ["thread", "cancelled", "generator closed"]


def test_run_many_times(oneloop):
    before = len(os.listdir("/proc/self/fd"))
    loops = {id(oneloop.run(which())) for _ in range(50)}
    assert loops
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


# Loops and runners


def test_each_loop_is_a_new_one(oneloop):
    first, second = oneloop.new_event_loop(), oneloop.new_event_loop()
    assert first is not second
    for loop in (first, second, oneloop.Loop()):
        goes_on(loop)
        loop.close()


def test_the_runner_uses_the_factory(loop_factory, loop_class):
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, loop_class)
        assert runner.run(which()) is loop
        assert runner.run(which()) is loop
    assert loop.is_closed()


if sys.version_info >= (3, 12):

    def test_asyncio_run_uses_the_factory(loop_factory, loop_class):
        assert isinstance(asyncio.run(which(), loop_factory=loop_factory), loop_class)


if sys.version_info >= (3, 13):

    def test_unittest_uses_the_factory(loop_factory, loop_class):
        import unittest

        seen = []

        class Case(unittest.IsolatedAsyncioTestCase):
            async def test(self):
                await asyncio.sleep(0)
                seen.append(asyncio.get_running_loop())

        Case.loop_factory = staticmethod(loop_factory)
        result = unittest.TestResult()
        Case("test").run(result)
        assert result.wasSuccessful()
        assert isinstance(seen[0], loop_class)


def test_the_driver_is_chosen_by_the_environment(oneloop):
    for driver in ("epoll", "portable"):
        program = "import oneloop; loop = oneloop.new_event_loop(); print(loop.backend); loop.close()"
        child = children.finish(children.start(["-c", program], "oneloop", ONELOOP_DRIVER=driver))
        assert child.quiet, child
        assert child.out.strip() == driver


def test_an_unknown_driver_is_named(oneloop):
    program = "import oneloop; oneloop.new_event_loop()"
    child = children.finish(children.start(["-c", program], "oneloop", ONELOOP_DRIVER="steam"))
    assert child.returncode == 1
    assert "steam" in child.err.splitlines()[-1]


def test_a_warning_free_life(oneloop):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert oneloop.run(which()).is_closed()
