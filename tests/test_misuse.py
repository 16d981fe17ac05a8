# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Bad input: exactly what asyncio's own loop does on this interpreter, debug mode on or off, and the loop goes on.

Each case is recorded on asyncio first. The type of the error has to be the same, at the call or later in the exception
handler; the message is asyncio's own or at least names the mistake. Where asyncio itself is left broken (a NaN on some
versions, a deadline that is no number), ours has a sane outcome instead, and the test says which.
"""

import asyncio
import gc
import math
import re
import warnings

import pytest
from helpers.compare import like_asyncio, logged, plain, raised, reports
from helpers.loops import NESTED_RUN_ENDS_THE_OUTER, goes_on, run_once, steps
from helpers.misuse import outcome


async def coroutine_function():
    pass


SCHEDULERS = {
    "call_soon": lambda loop, *args: loop.call_soon(*args),
    "call_soon_threadsafe": lambda loop, *args: loop.call_soon_threadsafe(*args),
    "call_later": lambda loop, *args: loop.call_later(0, *args),
    "call_at": lambda loop, *args: loop.call_at(loop.time(), *args),
}

NOT_CALLABLE = {
    "None": lambda: None,
    "int": lambda: 42,
    "str": lambda: "callback",
    "coroutine": coroutine_function,
    "coroutine function": lambda: coroutine_function,
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("what", ["None", "int", "str", "coroutine", "coroutine function"])
def test_a_callback_that_cannot_be_called(loop_factory, debug, scheduler, what):
    def action(loop):
        SCHEDULERS[scheduler](loop, NOT_CALLABLE[what]())

    seen = like_asyncio(lambda factory: outcome(factory, debug, action), loop_factory)
    if debug:
        kind, message = seen["error"]
        assert kind == "TypeError"
        # asyncio's call_later leaves the check to call_at, and says so.
        assert scheduler.replace("later", "at") in message
    elif what == "coroutine function":
        # It can be called; nobody awaits what comes out.
        assert seen["error"] is None
        assert "was never awaited" in seen["warnings"][0][1]
    else:
        assert seen["error"] is None
        ((message, error),) = seen["reports"]
        assert message.startswith("Exception in callback")
        assert "is not callable" in error


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_no_callback_at_all(loop_factory, debug, scheduler):
    def scenario(factory):
        return outcome(factory, debug, SCHEDULERS[scheduler])["error"][0]

    assert like_asyncio(scenario, loop_factory) == "TypeError"


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("context", [42, "context", {}, object()], ids=lambda context: type(context).__name__)
def test_a_context_that_is_none(loop_factory, debug, scheduler, context):
    def action(loop):
        def schedule(*args):
            method = getattr(loop, scheduler)
            return method(*([0] if scheduler in ("call_later", "call_at") else []), *args, context=context)

        schedule(print)

    def kinds(factory):
        seen = outcome(factory, debug, action)
        return seen["error"] and seen["error"][0], [re.sub(r"\(.*", "", error) for _, error in seen["reports"]]

    like_asyncio(kinds, loop_factory)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_unknown_keyword(loop_factory, debug, scheduler):
    def scenario(factory):
        def action(loop):
            method = getattr(loop, scheduler)
            method(*([0] if scheduler in ("call_later", "call_at") else []), print, end="")

        return outcome(factory, debug, action)["error"]

    kind, message = like_asyncio(lambda factory: scenario(factory)[:1], loop_factory), scenario(loop_factory)[1]
    assert kind == ("TypeError",)
    assert "end" in message


@pytest.mark.parametrize("delay", [None, "1", b"1", [], object(), 10**400], ids=lambda delay: type(delay).__name__)
def test_a_delay_that_is_no_number(loop_factory, debug, delay):
    def error(factory):
        return outcome(factory, debug, lambda loop: loop.call_later(delay, print))["error"]

    kind = like_asyncio(lambda factory: error(factory)[0], loop_factory)
    assert kind == ("OverflowError" if isinstance(delay, int) else "TypeError")
    if delay is None:
        assert error(loop_factory) == ("TypeError", "delay must not be None")


def test_call_at_none(loop_factory, debug):
    seen = like_asyncio(lambda factory: outcome(factory, debug, lambda loop: loop.call_at(None, print)), loop_factory)
    assert seen["error"] == ("TypeError", "when cannot be None")


@pytest.mark.parametrize("delay", [-1, -0.0, -1e300, -math.inf, False], ids=repr)
def test_a_delay_that_is_negative_is_no_delay(loop_factory, debug, delay):
    def scenario(factory):
        loop, ran = factory(), []
        loop.set_debug(debug)
        loop.call_later(delay, ran.append, 1)
        run_once(loop)
        goes_on(loop)
        loop.close()
        return ran

    assert like_asyncio(scenario, loop_factory) == [1]


@pytest.mark.parametrize("scheduler", ["call_later", "call_at"])
def test_an_infinite_delay_never_ends(loop_factory, debug, scheduler):
    def scenario(factory):
        loop, ran = factory(), []
        loop.set_debug(debug)
        handle = getattr(loop, scheduler)(math.inf, ran.append, 1)
        steps(loop, 3)
        goes_on(loop)
        when = handle.when()
        handle.cancel()
        loop.close()
        return ran, when

    assert like_asyncio(scenario, loop_factory) == ([], math.inf)


@pytest.mark.parametrize("scheduler", ["call_later", "call_at"])
def test_a_nan_is_due_at_once(oneloop, debug, scheduler):
    # No comparison on asyncio: on 3.11 such a callback runs at once; from 3.12 on it makes every later iteration raise
    # ValueError out of the selector, and in any version it spoils the order of the heap. Ours runs it at once.
    loop, ran = oneloop.new_event_loop(), []
    loop.set_debug(debug)
    loop.call_later(3600, ran.append, "later")
    getattr(loop, scheduler)(math.nan, ran.append, "nan")
    run_once(loop)
    assert ran == ["nan"]
    goes_on(loop)
    loop.close()


@pytest.mark.parametrize("when", ["noon", object(), 1j, [], 10**400], ids=lambda when: type(when).__name__)
def test_a_deadline_that_is_no_number_is_refused_at_once(oneloop, debug, when):
    # asyncio puts it into its heap, and every later iteration raises TypeError; ours refuses it where the mistake is.
    loop = oneloop.new_event_loop()
    loop.set_debug(debug)
    with pytest.raises((TypeError, OverflowError)):
        loop.call_at(when, print)
    goes_on(loop)
    loop.close()


NESTED = {
    "run_forever": lambda loop: loop.run_forever(),
    "run_until_complete": lambda loop: loop.run_until_complete(loop.create_future()),
}


@pytest.mark.parametrize("method", NESTED)
@pytest.mark.parametrize("other", ["itself", "same kind", "asyncio"])
def test_a_loop_inside_another(loop_factory, debug, method, other):
    def scenario(factory):
        loop, seen = factory(), []
        loop.set_debug(debug)
        inner = {"itself": lambda: loop, "same kind": factory, "asyncio": asyncio.SelectorEventLoop}[other]()

        def callback():
            seen.append(raised(lambda: NESTED[method](inner)))
            seen.append(asyncio._get_running_loop() is loop)

        loop.call_soon(callback)
        run_once(loop)
        goes_on(loop)
        goes_on(inner)
        inner.close()
        loop.close()
        still_running.append(seen.pop())
        return seen

    still_running = []
    ((kind, message),) = like_asyncio(scenario, loop_factory)
    assert kind == "RuntimeError"
    assert "running" in message
    if not NESTED_RUN_ENDS_THE_OUTER or (loop_factory is not asyncio.SelectorEventLoop and other != "asyncio"):
        assert still_running[-1]


def test_ours_inside_asyncio_s_loop(oneloop):
    outer, inner, seen = asyncio.SelectorEventLoop(), oneloop.new_event_loop(), []
    outer.call_soon(lambda: seen.append(raised(inner.run_forever)))
    run_once(outer)
    assert seen == [("RuntimeError", "Cannot run the event loop while another loop is running")]
    goes_on(inner)
    inner.close()
    outer.close()


def test_a_coroutine_refused_because_the_loop_runs_is_still_the_caller_s(loop):
    def callback():
        coroutine = coroutine_function()
        with pytest.raises(RuntimeError, match="This event loop is already running"):
            loop.run_until_complete(coroutine)
        coroutine.close()

    contexts = reports(loop)
    loop.call_soon(callback)
    run_once(loop)
    assert contexts == []


@pytest.mark.parametrize("what", [None, 42, "x", print, coroutine_function], ids=plain)
def test_run_until_complete_of_something_else(loop_factory, debug, what):
    def scenario(factory):
        return outcome(factory, debug, lambda loop: loop.run_until_complete(what))

    kind, message = like_asyncio(scenario, loop_factory)["error"]
    assert kind == "TypeError"
    assert "coroutine" in message


def test_run_until_complete_of_a_foreign_future(loop_factory, debug):
    def scenario(factory):
        other = asyncio.SelectorEventLoop()
        seen = outcome(factory, debug, lambda loop: loop.run_until_complete(other.create_future()))
        other.close()
        return seen

    kind, message = like_asyncio(scenario, loop_factory)["error"]
    assert kind == "ValueError"
    assert "different loop" in message


def test_awaiting_a_foreign_future(loop_factory, debug):
    def scenario(factory):
        other = asyncio.SelectorEventLoop()

        async def main():
            await other.create_future()

        seen = outcome(factory, debug, lambda loop: loop.run_until_complete(main()))
        other.close()
        return seen["error"][0], re.sub(r"<.*>", "<>", seen["error"][1])

    kind, message = like_asyncio(scenario, loop_factory)
    assert kind == "RuntimeError"
    assert message.endswith("attached to a different loop")


def test_waiting_for_oneself_and_yielding_nonsense(loop_factory, debug):
    class Nonsense:
        def __await__(self):
            yield 42

    async def nonsense():
        await Nonsense()

    async def oneself():
        await asyncio.current_task()

    def scenario(factory):
        return [
            outcome(factory, debug, lambda loop, main=main: loop.run_until_complete(main()))["error"]
            for main in (nonsense, oneself)
        ]

    got_bad, on_itself = like_asyncio(scenario, loop_factory)
    assert got_bad[0] == on_itself[0] == "RuntimeError"
    assert "42" in got_bad[1]


@pytest.mark.parametrize("what", [None, 42, "x", print, coroutine_function], ids=plain)
def test_create_task_of_something_else(loop_factory, debug, what):
    def scenario(factory):
        return outcome(factory, debug, lambda loop: loop.create_task(what))

    kind, message = like_asyncio(scenario, loop_factory)["error"]
    assert kind == "TypeError"
    assert "coroutine" in message


def test_create_task_of_a_future(loop_factory, debug):
    def scenario(factory):
        return outcome(factory, debug, lambda loop: loop.create_task(loop.create_future()))["error"][0]

    assert like_asyncio(scenario, loop_factory) == "TypeError"


def test_a_coroutine_that_is_never_awaited(loop_factory, debug):
    def scenario(factory):
        async def main():
            coroutine_function()
            await asyncio.sleep(0)

        return outcome(factory, debug, lambda loop: loop.run_until_complete(main()))

    ((kind, message),) = like_asyncio(scenario, loop_factory)["warnings"]
    assert kind == "RuntimeWarning"
    assert "coroutine 'coroutine_function' was never awaited" in message
    # Debug mode adds where it was made.
    assert ("Coroutine created at" in message) == debug


def test_a_coroutine_for_a_closed_loop_is_never_awaited(loop_factory, debug):
    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)
        loop.close()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            error = raised(lambda: loop.create_task(coroutine_function()))
            gc.collect()
        return error, [(warning.category.__name__, plain(warning.message)) for warning in caught]

    error, warned = like_asyncio(scenario, loop_factory)
    assert error == ("RuntimeError", "Event loop is closed")
    assert len(warned) == 1
    assert "was never awaited" in warned[0][1]


def test_set_debug_and_the_stop_of_a_stopped_loop_are_no_mistakes(loop):
    loop.stop()
    loop.run_forever()
    loop.set_debug(1)
    assert loop.get_debug()
    loop.set_debug(0)
    assert not loop.get_debug()
    goes_on(loop)


def test_nothing_of_this_is_logged_twice(loop_factory, debug):
    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)
        with logged() as lines:
            loop.call_soon(lambda: 1 / 0)
            run_once(loop)
        loop.close()
        return [line.splitlines()[0] for line in lines]

    (line,) = like_asyncio(scenario, loop_factory)
    assert "Exception in callback" in line
