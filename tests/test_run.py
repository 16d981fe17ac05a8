# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The ways in: `oneloop.run`, `new_event_loop`, the policy, `install`, and asyncio's own Runner with our loops."""

import asyncio
import gc
import inspect
import os
import sys
import warnings

import pytest
from helpers import children
from helpers.compare import raised
from helpers.loops import goes_on

HAS_POLICIES = hasattr(asyncio.events, "AbstractEventLoopPolicy") or hasattr(asyncio.events, "_AbstractEventLoopPolicy")


async def which():
    return asyncio.get_running_loop()


# oneloop.run


def test_run_returns_the_result_and_closes_the_loop(oneloop):
    loop = oneloop.run(which())
    assert isinstance(loop, oneloop.Loop)
    assert loop.is_closed()
    assert asyncio._get_running_loop() is None


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


def test_run_inside_a_running_loop_is_refused(oneloop):
    async def main():
        coroutine = which()
        try:
            return raised(lambda: oneloop.run(coroutine))
        finally:
            coroutine.close()

    kind, message = oneloop.run(main())
    assert kind == "RuntimeError"
    assert message.endswith("cannot be called from a running event loop")


@pytest.mark.parametrize("what", [None, 42, "x", which], ids=repr)
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


# Importing and installing


def test_importing_changes_nothing_and_warns_about_nothing(oneloop):
    program = """
import asyncio, sys
before = {name: dict(vars(module)) for name, module in sys.modules.items() if name.partition(".")[0] == "asyncio"}
import oneloop
for name, names in before.items():
    now = vars(sys.modules[name])
    assert set(now) - set(names) <= {"__warningregistry__"}, (name, set(now) - set(names))
    assert all(now[key] is value for key, value in names.items()), name
loop = asyncio.new_event_loop()
assert not isinstance(loop, oneloop.Loop)
loop.close()
"""
    child = children.run_program(program, "oneloop", options=("-W", "error"))
    assert child.quiet, child


def test_its_public_names(oneloop):
    always, with_policies = {"run", "new_event_loop", "Loop", "__version__"}, {"install", "EventLoopPolicy"}
    assert always <= set(oneloop.__all__) <= always | with_policies
    for name in always | (with_policies if HAS_POLICIES else set()):
        assert hasattr(oneloop, name), name
        assert name in dir(oneloop), name
    for name in with_policies if not HAS_POLICIES else ():
        with pytest.raises(AttributeError, match="polic"):
            getattr(oneloop, name)
    assert oneloop.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="no_such_name"):
        oneloop.no_such_name  # noqa: B018


if HAS_POLICIES:

    def test_install_makes_it_the_default(oneloop):
        program = """
import asyncio, oneloop, threading
oneloop.install()
async def main():
    return type(asyncio.get_running_loop())
assert asyncio.run(main()) is oneloop.Loop
loop = asyncio.new_event_loop()
assert type(loop) is oneloop.Loop
asyncio.set_event_loop(loop)
assert asyncio.get_event_loop() is loop
loop.close()
seen = []
thread = threading.Thread(target=lambda: seen.append(asyncio.run(main())))
thread.start()
thread.join()
assert seen == [oneloop.Loop]
with asyncio.Runner() as runner:
    assert type(runner.get_loop()) is oneloop.Loop
"""
        child = children.run_program(program, "oneloop", options=("-W", "ignore::DeprecationWarning"))
        assert child.quiet, child

    def test_the_policy_makes_our_loops(oneloop):
        program = """
import asyncio, oneloop
policy = oneloop.EventLoopPolicy()
assert isinstance(policy, getattr(asyncio.events, "_AbstractEventLoopPolicy", None) or asyncio.AbstractEventLoopPolicy)
loop = policy.new_event_loop()
assert type(loop) is oneloop.Loop
policy.set_event_loop(loop)
assert policy.get_event_loop() is loop
policy.set_event_loop(None)
loop.close()
asyncio.set_event_loop_policy(policy)
async def main():
    return type(asyncio.get_running_loop())
assert asyncio.run(main()) is oneloop.Loop
asyncio.set_event_loop_policy(None)
assert asyncio.run(main()) is not oneloop.Loop
"""
        child = children.run_program(program, "oneloop", options=("-W", "ignore::DeprecationWarning"))
        assert child.quiet, child


def test_a_warning_free_life(oneloop):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert oneloop.run(which()).is_closed()
