# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Exception handlers: who is called, in which context, and what is logged, all as asyncio does it here."""

import asyncio
import contextvars
import itertools

import pytest
from helpers.compare import like_asyncio, logged, plain, raised
from helpers.loops import run_once


class Falsy(Exception):  # noqa: N818
    def __bool__(self):
        return False


def made():
    return ZeroDivisionError("boom")


CONTEXTS = {
    "nothing": {},
    "no message": {"message": ""},
    "message": {"message": "what happened"},
    "exception": {"message": "m", "exception": made()},
    "falsy exception": {"message": "m", "exception": Falsy("x")},
    "base exception": {"message": "m", "exception": asyncio.CancelledError()},
    "no exception": {"message": "m", "exception": None},
    "more keys": {"message": "m", "zebra": 1, "task": None, "asyncgen": "text", "protocol": [1, 2]},
    "keys of mixed case": {"message": "m", "B": 1, "a": 2},
}


def with_short_stacks(reports):
    """Of a stack only the innermost calls: asyncio counts its own among the ten that it keeps, and drops them."""
    short = []
    for report in reports:
        blocks = itertools.groupby(plain(report).split("\n"), key=lambda line: line.startswith("  "))
        short.append([line for is_stack, lines in blocks for line in list(lines)[-4 if is_stack else 0 :]])
    return short


@pytest.mark.parametrize("name", CONTEXTS)
def test_the_default_handler_logs_as_asyncio_s(loop_factory, name):
    def scenario(factory):
        loop = factory()
        with logged() as lines:
            loop.default_exception_handler(dict(CONTEXTS[name]))
            loop.call_exception_handler(dict(CONTEXTS[name]))
        loop.close()
        return lines

    assert len(like_asyncio(scenario, loop_factory)) == 2


@pytest.mark.parametrize("context", [{1: 2, "message": "x"}, {None: 1, "a": 2}, None, 3], ids=repr)
def test_a_context_that_is_none_is_an_error_of_the_default_handler(loop_factory, context):
    def scenario(factory):
        loop = factory()
        with logged() as lines:
            direct = raised(lambda: loop.default_exception_handler(context))
            indirect = raised(lambda: loop.call_exception_handler(context))
        loop.close()
        return lines, direct, indirect

    like_asyncio(scenario, loop_factory)


def test_a_source_traceback_is_shown(loop_factory):
    def scenario(factory):
        loop = factory()
        loop.set_debug(True)
        with logged() as lines:
            loop.call_soon(lambda: 1 / 0)
            run_once(loop)
        loop.close()
        return with_short_stacks(lines)

    (line,) = like_asyncio(scenario, loop_factory)
    assert "source_traceback: Object created at (most recent call last):" in line


def test_the_running_handle_s_traceback_is_shown(loop_factory):
    def scenario(factory):
        loop = factory()
        loop.set_debug(True)
        loop.slow_callback_duration = 1e9
        with logged() as lines:
            loop.call_soon(loop.call_exception_handler, {"message": "m"})
            run_once(loop)
            loop.call_exception_handler({"message": "outside"})
        loop.close()
        return with_short_stacks(lines)

    first, second = like_asyncio(scenario, loop_factory)
    assert "handle_traceback: Handle created at (most recent call last):" in first
    assert second == ["ERROR: outside [NoneType: None]"]


def test_a_handler_is_called_with_the_loop_and_the_context(loop):
    seen = []
    loop.set_exception_handler(lambda *arguments: seen.append(arguments))
    context = {"message": "m"}
    loop.call_exception_handler(context)
    assert seen == [(loop, context)]
    assert seen[0][1] is context


@pytest.mark.parametrize("handler", [3, "text", object()], ids=lambda it: type(it).__name__)
def test_a_handler_that_cannot_be_called_is_refused(loop_factory, handler):
    def scenario(factory):
        loop = factory()
        before = raised(lambda: loop.set_exception_handler(handler)), loop.get_exception_handler()
        loop.set_exception_handler(print)
        after = loop.get_exception_handler() is print
        loop.set_exception_handler(None)
        loop.close()
        return before, after, loop.get_exception_handler()

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("error", [ValueError("x"), asyncio.CancelledError(), GeneratorExit()], ids=repr)
@pytest.mark.parametrize("where", ["custom", "default", "both"])
def test_what_a_handler_raises_is_logged(loop_factory, error, where):
    def scenario(factory):
        loop = factory()

        def broken(*_):
            raise error

        if where in ("custom", "both"):
            loop.set_exception_handler(broken)
        if where in ("default", "both"):
            loop.default_exception_handler = broken
        with logged() as lines:
            loop.call_exception_handler({"message": "m", "exception": made()})
        loop.close()
        return lines

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
@pytest.mark.parametrize("where", ["custom", "default", "both"])
def test_what_ends_the_program_comes_out_of_a_handler(loop_factory, error, where):
    def scenario(factory):
        loop = factory()

        def broken(*_):
            raise error

        def failing(*_):
            raise ValueError

        loop.set_exception_handler({"custom": broken, "default": None, "both": failing}[where])
        if where != "custom":
            loop.default_exception_handler = broken
        with logged() as lines:
            direct = raised(lambda: loop.call_exception_handler({"message": "m"}))
            loop.call_soon(lambda: 1 / 0)
            from_a_callback = raised(lambda: run_once(loop))
        running = loop.is_running()
        loop.stop()
        loop.run_forever()
        loop.close()
        return lines, direct, from_a_callback, running

    _, direct, from_a_callback, _ = like_asyncio(scenario, loop_factory)
    assert direct[0] == from_a_callback[0] == type(error).__name__


@pytest.mark.parametrize("key", ["task", "future", "handle"])
def test_it_runs_in_the_context_of_what_failed_where_asyncio_s_does(loop_factory, key):
    def scenario(factory):
        loop, seen = factory(), []
        variable = contextvars.ContextVar("variable", default="outside")
        context = contextvars.copy_context()
        context.run(variable.set, "inside")

        async def sleep():
            await asyncio.sleep(1000)

        culprits = {
            "task": context.run(loop.create_task, sleep()),
            "future": loop.create_future(),
            "handle": loop.call_soon(print, context=context),
        }
        loop.set_exception_handler(lambda *_: seen.append(variable.get()))
        loop.call_exception_handler({"message": "m", key: culprits[key]})
        loop.call_exception_handler({"message": "m", "future": culprits["task"], "handle": culprits["handle"]})
        loop.call_exception_handler({"message": "m", "task": culprits["future"], "handle": culprits["handle"]})
        loop.call_exception_handler({"message": "m"})
        culprits["task"].cancel()
        culprits["handle"].cancel()
        run_once(loop)
        loop.close()
        return seen

    like_asyncio(scenario, loop_factory)


def test_a_subclass_may_override_both(loop_class):
    seen = []

    class Own(loop_class):
        def call_exception_handler(self, context):
            seen.append(("call", sorted(context)))
            super().call_exception_handler(context)

        def default_exception_handler(self, context):
            seen.append(("default", sorted(context)))

    loop = Own()
    loop.call_soon(lambda: 1 / 0)
    run_once(loop)
    loop.close()
    keys = ["exception", "handle", "message"]
    assert seen == [("call", keys), ("default", keys)]
