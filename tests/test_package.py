# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The package's face: importing changes nothing, every name is there, and what is missing says so."""

import asyncio
import contextlib
import inspect
import sys

import pytest
from helpers import children

DEPRECATED = sys.version_info >= (3, 14)


@contextlib.contextmanager
def default_policy_afterwards():
    try:
        yield
    finally:
        set_policy = getattr(asyncio.events, "_set_event_loop_policy", None) or asyncio.set_event_loop_policy
        set_policy(None)


async def which():
    return type(asyncio.get_running_loop()).__module__


def test_importing_changes_nothing_in_asyncio():
    child = children.run_program(
        """
        import asyncio, asyncio.events, asyncio.base_events, asyncio.streams, asyncio.runners, sys
        def seen():
            modules = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "asyncio"}
            return {(name, key): id(value) for name, module in modules.items() for key, value in vars(module).items()}
        before = seen()
        import oneloop
        assert {key: value for key, value in seen().items() if key in before} == before
        assert "oneloop._policy" not in sys.modules
        async def main(): return type(asyncio.get_running_loop()).__module__
        assert asyncio.run(main()).startswith("asyncio.")
        """,
        "oneloop",
        options=("-W", "error"),
    )
    assert child.quiet, child


def test_every_public_name_is_there(oneloop):
    assert {"Loop", "__version__", "new_event_loop", "run"} <= set(oneloop.__all__)
    assert {*oneloop.__all__, "EventLoopPolicy", "install"} <= set(dir(oneloop))
    assert oneloop.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        oneloop.nonsense  # noqa: B018


def test_run_returns_the_result_and_closes_the_loop(oneloop):
    async def main():
        return asyncio.get_running_loop()

    loop = oneloop.run(main())
    assert isinstance(loop, oneloop.Loop)
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert loop.is_closed()


def test_run_has_asyncio_s_debug_mode(oneloop):
    async def main():
        return asyncio.get_running_loop().get_debug()

    assert [oneloop.run(main(), debug=debug) for debug in (True, False)] == [True, False]


def test_run_inside_a_loop_is_refused(oneloop):
    async def main():
        inner = which()
        with pytest.raises(RuntimeError, match=r"oneloop\.run\(\) cannot be called from a running event loop"):
            oneloop.run(inner)
        inner.close()

    oneloop.run(main())


@pytest.mark.parametrize("nonsense", [None, 3, which])
def test_run_wants_a_coroutine(oneloop, nonsense):
    with pytest.raises((TypeError, ValueError), match=r"required|expected"):
        oneloop.run(nonsense)


def test_install_makes_it_the_default(oneloop):
    with default_policy_afterwards():
        if DEPRECATED:
            with pytest.warns(DeprecationWarning, match=r"oneloop\.install\(\).*3\.16") as warned:
                oneloop.install()
            assert [warning.filename for warning in warned] == [__file__]
        else:
            oneloop.install()
        assert asyncio.run(which()) == "oneloop._loop"
        loop = asyncio.new_event_loop()
        assert isinstance(loop, oneloop.Loop)
        loop.close()
    assert asyncio.run(which()).startswith("asyncio.")


def test_the_policy_is_asyncio_s_but_for_its_loops(oneloop):
    policy = oneloop.EventLoopPolicy()
    assert type(policy) is oneloop.EventLoopPolicy
    abstract = vars(asyncio.events).get("_AbstractEventLoopPolicy") or asyncio.AbstractEventLoopPolicy
    assert isinstance(policy, abstract)
    loop = policy.new_event_loop()
    policy.set_event_loop(loop)
    assert policy.get_event_loop() is loop
    policy.set_event_loop(None)
    loop.close()


def test_where_policies_are_gone_it_says_so():
    child = children.run_program(
        """
        from asyncio import events
        for name in ("set_event_loop_policy", "_set_event_loop_policy"):
            vars(events).pop(name, None)
        import oneloop
        for name in ("install", "EventLoopPolicy"):
            assert name not in dir(oneloop)
            try:
                getattr(oneloop, name)
            except AttributeError as error:
                assert str(error).startswith(f"oneloop.{name} needs event loop policies"), error
                assert "loop_factory=oneloop.new_event_loop" in str(error)
            else:
                raise AssertionError(name)
        """,
        "oneloop",
    )
    assert child.quiet, child


def test_no_method_is_missing(oneloop):
    """Every method that asyncio's interface names is ours, not the interface's NotImplementedError."""
    for name, value in vars(asyncio.AbstractEventLoop).items():
        if inspect.isfunction(value):
            assert inspect.getattr_static(oneloop.Loop, name) is not value, name
