# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Exception handlers: who is called with what, what is logged, and what happens when a handler fails itself."""

import asyncio
import contextvars
import gc

import pytest
from helpers.compare import like_asyncio, logged, plain, raised
from helpers.loops import goes_on, loop_class, run_once

NAMES = {asyncio.SelectorEventLoop: "asyncio"}


def subclass(factory, **methods):
    return type("Mine", (loop_class(NAMES.get(factory, "oneloop")),), methods)()


def fail():
    raise ValueError("from a callback")


def log_of(factory, action, debug=False):
    """What is logged while an action does its worst on a loop that then runs once."""
    loop = factory()
    loop.set_debug(debug)
    with logged() as lines:
        action(loop)
        run_once(loop)
    goes_on(loop)
    loop.close()
    return lines


def test_without_a_handler_it_is_logged(loop_factory, debug):
    # With debug off the whole text is compared; with it on, it shows asyncio's own lines above ours.
    lines = like_asyncio(lambda factory: log_of(factory, lambda loop: loop.call_soon(fail)), loop_factory)
    (line,) = lines
    assert line.startswith("ERROR: Exception in callback fail() at ")
    assert line.endswith("[ValueError: from a callback]")
    if debug:
        (line,) = log_of(loop_factory, lambda loop: loop.call_soon(fail), debug)
        assert line.startswith("ERROR: Exception in callback fail() at ")
        assert "\nsource_traceback: Object created at (most recent call last):\n" in line


CONTEXTS = {
    "nothing": {},
    "message": {"message": "a message"},
    "empty message": {"message": ""},
    "everything": {
        "message": "everything",
        "exception": ValueError("x"),
        "zeta": 1,
        "alpha": "two",
        "future": None,
        "transport": [],
    },
    "exception without a traceback": {"exception": KeyError("x")},
    "no exception at all": {"message": "m", "exception": None},
    "source traceback": {"message": "m", "source_traceback": []},
    "handle traceback": {"message": "m", "handle_traceback": []},
    "keys of mixed case": {"message": "m", "B": 1, "a": 2},
    "base exception": {"message": "m", "exception": asyncio.CancelledError()},
    "falsy exception": {"message": "m", "exception": type("Falsy", (Exception,), {"__bool__": lambda _: False})()},
}


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_context_is_logged_as_asyncio_logs_it(loop_factory, context):
    def action(loop):
        loop.call_exception_handler(dict(CONTEXTS[context]))

    (line,) = like_asyncio(lambda factory: log_of(factory, action), loop_factory)
    if context == "nothing":
        assert line == "ERROR: Unhandled exception in event loop [NoneType: None]"
    if context == "everything":
        assert line == "ERROR: everything\nalpha: 'two'\nfuture: None\ntransport: []\nzeta: 1 [ValueError: x]"


@pytest.mark.parametrize("context", [None, 42, "text", [], {1: 2, "message": "x"}, {None: 1, "a": 2}], ids=repr)
def test_a_context_that_is_none_is_logged_too(loop_factory, context):
    def scenario(factory):
        seen = []

        def action(loop):
            seen.append(raised(lambda: loop.call_exception_handler(context)))
            seen.append(raised(lambda: loop.default_exception_handler(context)))

        return seen, log_of(factory, action)

    like_asyncio(scenario, loop_factory)


def test_a_context_whose_text_cannot_be_made(loop_factory):
    class Unprintable:
        def __repr__(self):
            raise RuntimeError("no text")

    def action(loop):
        loop.call_exception_handler({"message": "m", "thing": Unprintable()})

    (line,) = like_asyncio(lambda factory: log_of(factory, action), loop_factory)
    assert line == "ERROR: Exception in default exception handler [RuntimeError: no text]"


def test_a_handler_is_called_with_the_loop_and_the_context(loop):
    seen = []
    loop.set_exception_handler(lambda *args: seen.append(args))
    loop.call_exception_handler({"message": "m"})
    handle = loop.call_soon(fail)
    run_once(loop)
    (first_loop, first), (second_loop, second) = seen
    assert first_loop is second_loop is loop
    assert first == {"message": "m"}
    assert second["handle"] is handle
    assert isinstance(second["exception"], ValueError)


def test_the_handler_can_be_asked_for_and_taken_back(loop):
    def handler(*_):
        pass

    assert loop.get_exception_handler() is None
    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None
    with logged() as lines:
        loop.call_exception_handler({"message": "logged again"})
    assert lines == ["ERROR: logged again [NoneType: None]"]


@pytest.mark.parametrize("handler", [42, "handler", []], ids=repr)
def test_a_handler_that_cannot_be_called_is_refused(loop_factory, handler):
    def scenario(factory):
        loop = factory()
        seen = raised(lambda: loop.set_exception_handler(handler)), loop.get_exception_handler()
        loop.close()
        return seen

    (kind, message), current = like_asyncio(scenario, loop_factory)
    assert (kind, current) == ("TypeError", None)
    assert message == f"A callable object or None is expected, got {handler!r}"


@pytest.mark.parametrize("error", [LookupError("x"), asyncio.CancelledError("x"), GeneratorExit("x")], ids=repr)
def test_a_handler_that_raises_is_logged(loop_factory, error):
    def handler(loop, context):
        raise error

    def action(loop):
        loop.set_exception_handler(handler)
        loop.call_soon(fail)

    (line,) = like_asyncio(lambda factory: log_of(factory, action), loop_factory)
    assert line.startswith("ERROR: Unhandled error in exception handler\ncontext: {'message': 'Exception in callback")
    assert line.endswith(f"[{type(error).__name__}: x]")


@pytest.mark.parametrize("error", [KeyboardInterrupt("k"), SystemExit(3)], ids=repr)
@pytest.mark.parametrize("where", ["handler", "default handler"])
def test_a_handler_may_end_the_run(loop_factory, error, where):
    def handler(*_):
        raise error

    def scenario(factory):
        loop, order = subclass(factory, **({"default_exception_handler": handler} if where != "handler" else {})), []
        if where == "handler":
            loop.set_exception_handler(handler)
        loop.call_soon(fail)
        loop.call_soon(order.append, "next")
        seen = raised(loop.run_forever)
        assert order == []
        run_once(loop)
        loop.close()
        return seen, order

    like_asyncio(scenario, loop_factory)


def test_a_default_handler_that_raises_is_logged(loop_factory):
    def broken(self, context):
        raise LookupError("from the default handler")

    def scenario(factory):
        loop = subclass(factory, default_exception_handler=broken)
        with logged() as lines:
            loop.call_soon(fail)
            run_once(loop)
            loop.set_exception_handler(lambda *_: 1 / 0)
            loop.call_soon(fail)
            run_once(loop)
        loop.close()
        return lines

    assert like_asyncio(scenario, loop_factory) == [
        "ERROR: Exception in default exception handler [LookupError: from the default handler]",
        "ERROR: Exception in default exception handler while handling an unexpected error in custom exception handler "
        "[LookupError: from the default handler]",
    ]


def test_a_handler_may_defer_to_the_default_one(loop_factory):
    def action(loop):
        loop.set_exception_handler(lambda loop, context: loop.default_exception_handler(context))
        loop.call_soon(fail)

    (line,) = like_asyncio(lambda factory: log_of(factory, action), loop_factory)
    assert line.startswith("ERROR: Exception in callback fail()")


def test_an_overridden_call_exception_handler_sees_everything(loop_factory):
    def scenario(factory):
        seen = []
        loop = subclass(factory, call_exception_handler=lambda self, context: seen.append(context["message"]))
        loop.call_soon(fail)
        future = loop.create_future()
        future.set_exception(ValueError())
        del future
        run_once(loop)
        gc.collect()
        loop.close()
        return [plain(message) for message in seen]

    messages = like_asyncio(scenario, loop_factory)
    assert len(messages) == 2


def test_one_set_on_the_instance_is_called_as_well(loop_factory):
    def scenario(factory):
        loop, seen = factory(), []
        loop.call_exception_handler = lambda context: seen.append(context["message"])
        loop.call_soon(fail)
        run_once(loop)
        loop.close()
        return seen

    (message,) = like_asyncio(scenario, loop_factory)
    assert message.startswith("Exception in callback")


def test_a_handler_runs_in_the_context_of_the_culprit_where_asyncio_s_does(loop_factory):
    variable = contextvars.ContextVar("variable", default="nobody's")

    def scenario(factory):
        loop, seen = factory(), []
        loop.set_exception_handler(lambda *_: seen.append(variable.get()))

        def context(name):
            made = contextvars.copy_context()
            made.run(variable.set, name)
            return made

        async def sleep():
            await asyncio.sleep(3600)

        task = context("the task's").run(loop.create_task, sleep())
        handle = loop.call_soon(fail, context=context("the handle's"))
        loop.call_later(0, fail, context=context("the timer's"))
        future = loop.create_future()
        for culprits in (
            {"task": task},
            {"future": task},
            {"future": future},
            {"handle": handle},
            {"future": task, "handle": handle},
            {"task": future, "handle": handle},
            {"task": None, "future": None, "handle": handle},
            {"message": "nobody"},
        ):
            loop.call_exception_handler(culprits)
        run_once(loop)
        run_once(loop)
        task.cancel()
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
    loop.call_soon(fail)
    run_once(loop)
    loop.close()
    keys = ["exception", "handle", "message"]
    assert seen == [("call", keys), ("default", keys)]


def test_a_handler_may_schedule_and_stop(loop):
    order = []

    def handler(loop, context):
        loop.call_soon(order.append, "scheduled")
        loop.stop()

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    loop.run_forever()
    run_once(loop)
    assert order == ["scheduled"]


def test_a_handler_may_replace_itself(loop):
    seen = []

    def first(loop, context):
        seen.append("first")
        loop.set_exception_handler(lambda *_: seen.append("second"))

    loop.set_exception_handler(first)
    for _ in range(3):
        loop.call_soon(fail)
    run_once(loop)
    assert seen == ["first", "second", "second"]


def test_a_falsy_exception_is_still_an_exception(loop):
    class Falsy(Exception):  # noqa: N818
        def __bool__(self):
            return False

    def falsy():
        raise Falsy

    seen = []
    loop.set_exception_handler(lambda _, context: seen.append(context["exception"]))
    loop.call_soon(falsy)
    run_once(loop)
    assert [type(error) for error in seen] == [Falsy]


def test_the_callback_s_error_is_not_kept_alive(loop_factory):
    import weakref

    class Mine(Exception):  # noqa: N818
        pass

    errors = []

    def callback():
        error = Mine()
        errors.append(weakref.ref(error))
        raise error

    loop = loop_factory()
    loop.set_exception_handler(lambda *_: None)
    loop.call_soon(callback)
    run_once(loop)
    gc.collect()
    assert errors[0]() is None
    loop.close()
