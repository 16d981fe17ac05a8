# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Debug mode: what it logs, refuses and remembers, only while it is on, and how it is turned on.

Slow callbacks are made slow by a clock that jumps. (Wrong threads are in test_threads, callbacks that cannot be called
in test_misuse, what a handle shows in test_handles.)
"""

import asyncio
import gc
import logging
import sys
import warnings

import pytest
from helpers import children
from helpers.compare import like_asyncio, logged, reports
from helpers.loops import loop_class as class_of
from helpers.loops import manual_clock, run_once

NAMES = {asyncio.SelectorEventLoop: "asyncio"}


def clocked_class(factory):
    """The class with a manual clock that belongs to a factory."""
    return manual_clock(class_of(NAMES.get(factory, "oneloop")))


def test_it_is_off_unless_asked_for(loop):
    assert loop.get_debug() is False
    loop.set_debug(True)
    assert loop.get_debug() is True
    loop.set_debug(False)
    assert loop.get_debug() is False


@pytest.mark.parametrize(
    ("options", "variables", "expected"),
    [
        ((), {}, False),
        ((), {"PYTHONASYNCIODEBUG": "1"}, True),
        ((), {"PYTHONASYNCIODEBUG": ""}, False),
        (("-X", "dev"), {}, True),
        (("-E",), {"PYTHONASYNCIODEBUG": "1"}, False),
    ],
    ids=["nothing", "variable", "empty variable", "dev mode", "variable ignored"],
)
def test_the_environment_turns_it_on(loop_name, options, variables, expected):
    factory = "asyncio.SelectorEventLoop" if loop_name == "asyncio" else "__import__('oneloop').new_event_loop"
    program = f"import asyncio; loop = {factory}(); print(loop.get_debug()); loop.close()"
    child = children.finish(children.start([*options, "-c", program], loop_name, **variables))
    assert child.returncode == 0, child
    assert child.out.strip() == str(expected)


def test_the_runner_turns_it_on(loop_factory):
    async def main():
        return asyncio.get_running_loop().get_debug()

    for debug in (True, False):
        with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
            assert runner.run(main()) is debug


# Slow callbacks.


def slow(loop, seconds):
    loop.now += seconds


def test_a_slow_callback_is_logged(loop_factory, debug):
    def scenario(factory):
        loop = clocked_class(factory)()
        loop.set_debug(debug)
        with logged(logging.WARNING) as lines:
            loop.call_soon(slow, loop, 0.05)
            loop.call_soon(slow, loop, 0.25)
            loop.call_later(0, slow, loop, 0.125)
            run_once(loop)
            run_once(loop)
        loop.close()
        return [line.partition(" created at ")[0] + line.partition("took ")[2] for line in lines]

    lines = like_asyncio(scenario, loop_factory)
    assert len(lines) == (2 if debug else 0)
    if debug:
        assert lines[0].startswith("WARNING: Executing <Handle slow(")
        assert lines[0].endswith("0.250 seconds [NoneType: None]")
        assert lines[1].startswith("WARNING: Executing <TimerHandle when=1000.")


def test_a_slow_step_of_a_task_is_logged_as_the_task(loop_factory):
    def scenario(factory):
        loop = clocked_class(factory)()
        loop.set_debug(True)

        async def main():
            loop.now += 1
            await asyncio.sleep(0)
            loop.now += 2

        task = loop.create_task(main(), name="slow task")
        with logged(logging.WARNING) as lines:
            for _ in range(3):
                run_once(loop)
        assert task.done()
        loop.close()
        return [(line.partition(" coro=")[0], line.partition("took ")[2]) for line in lines]

    lines = like_asyncio(scenario, loop_factory)
    assert lines == [
        ("WARNING: Executing <Task pending name='slow task'", "1.000 seconds [NoneType: None]"),
        ("WARNING: Executing <Task finished name='slow task'", "2.000 seconds [NoneType: None]"),
    ]


def test_what_is_slow_can_be_set(clocked):
    assert clocked.slow_callback_duration == 0.1
    clocked.set_debug(True)
    clocked.slow_callback_duration = 10
    with logged(logging.WARNING) as lines:
        clocked.call_soon(slow, clocked, 9.5)
        run_once(clocked)
        assert lines == []
        clocked.call_soon(slow, clocked, 10)
        run_once(clocked)
        assert len(lines) == 1
        clocked.slow_callback_duration = 0
        clocked.call_soon(int)
        run_once(clocked)
        assert len(lines) >= 2


def test_a_slow_callback_that_raises_is_reported_and_logged(loop_factory):
    def scenario(factory):
        loop = clocked_class(factory)()
        loop.set_debug(True)
        seen = reports(loop)

        def fail():
            loop.now += 1
            raise ValueError("x")

        with logged(logging.WARNING) as lines:
            loop.call_soon(fail)
            run_once(loop)
        loop.close()
        return seen[0]["exception"], len(lines)

    assert like_asyncio(scenario, loop_factory) == ("ValueError('x')", 1)


def test_turned_on_by_a_callback_it_holds_for_the_next(clocked):
    with logged(logging.WARNING) as lines:
        clocked.call_soon(clocked.set_debug, True)
        clocked.call_soon(slow, clocked, 1)
        run_once(clocked)
        assert len(lines) == 1
        clocked.call_soon(clocked.set_debug, False)
        clocked.call_soon(slow, clocked, 1)
        run_once(clocked)
        assert len(lines) == 1


# Where things were made.


def test_handles_and_reports_say_where_they_were_made(loop_factory, debug):
    def scenario(factory):
        loop, contexts = factory(), []
        loop.set_debug(debug)
        loop.set_exception_handler(lambda _, context: contexts.append(context))
        handles = [
            loop.call_soon(slow),  # made here
            loop.call_soon_threadsafe(slow),  # made here
            loop.call_later(0, slow),  # made here
            loop.call_at(0, slow),  # made here
        ]
        run_once(loop)
        loop.close()
        stacks = [handle._source_traceback for handle in handles]
        assert [stack and stack[-1].line.partition("#")[2] for stack in stacks] == [" made here" if debug else None] * 4
        assert all(("source_traceback" in context) == debug for context in contexts)
        return [sorted(context) for context in contexts]

    assert len(like_asyncio(scenario, loop_factory)) == 4


def test_the_log_shows_where_the_failing_handle_was_made(loop_factory, debug):
    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)
        with logged() as lines:
            loop.call_soon(slow)  # this line
            run_once(loop)
        loop.close()
        return "Object created at (most recent call last):" in lines[0], "# this line" in lines[0]

    assert like_asyncio(scenario, loop_factory) == (debug, debug)


def test_a_report_from_inside_a_callback_shows_the_callback_s_handle(loop_factory, debug):
    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)
        with logged() as lines:
            loop.call_soon(loop.call_exception_handler, {"message": "from inside"})  # this line
            run_once(loop)
            loop.call_exception_handler({"message": "from outside"})
        loop.close()
        inside, outside = lines
        return "Handle created at" in inside, "# this line" in inside, "Handle created at" in outside

    assert like_asyncio(scenario, loop_factory) == (debug, debug, False)


def test_coroutines_remember_their_origin_while_a_debugged_loop_runs(loop):
    before = sys.get_coroutine_origin_tracking_depth()
    seen = []

    async def main():
        seen.append(sys.get_coroutine_origin_tracking_depth())

    loop.run_until_complete(main())
    loop.set_debug(True)
    loop.run_until_complete(main())
    assert sys.get_coroutine_origin_tracking_depth() == before
    loop.set_debug(False)
    loop.run_until_complete(main())
    assert seen == [before, asyncio.constants.DEBUG_STACK_DEPTH, before]


def test_origin_tracking_follows_set_debug_while_running(loop):
    seen = []

    async def main():
        for enabled in (True, False, True):
            loop.set_debug(enabled)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            seen.append(sys.get_coroutine_origin_tracking_depth())

    loop.run_until_complete(main())
    depth = asyncio.constants.DEBUG_STACK_DEPTH
    assert seen == [depth, 0, depth]
    assert sys.get_coroutine_origin_tracking_depth() == 0
    loop.set_debug(False)


def test_the_user_s_own_depth_is_restored(loop):
    sys.set_coroutine_origin_tracking_depth(3)
    try:
        loop.set_debug(True)
        run_once(loop)
        assert sys.get_coroutine_origin_tracking_depth() == 3
    finally:
        sys.set_coroutine_origin_tracking_depth(0)


def test_origin_tracking_ends_with_a_run_that_raises(loop):
    def interrupt():
        raise KeyboardInterrupt

    loop.set_debug(True)
    loop.call_soon(interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert sys.get_coroutine_origin_tracking_depth() == 0


def test_a_coroutine_that_was_never_awaited_names_its_origin(loop):
    async def never():
        pass

    async def main():
        never()  # the origin

    loop.set_debug(True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop.run_until_complete(main())
        gc.collect()
    (warning,) = caught
    assert "Coroutine created at (most recent call last)" in str(warning.message)
    assert "# the origin" in str(warning.message)


# What is asked for is a truth value, as people pass it.


@pytest.mark.parametrize("value", [1, 0, "", "yes", None, []], ids=repr)
def test_any_truth_value_turns_it_on_or_off(loop, value):
    loop.set_debug(value)
    assert bool(loop.get_debug()) == bool(value)
    run_once(loop)


def test_the_loop_s_text_says_so(loop):
    assert repr(loop).endswith("running=False closed=False debug=False>")
    loop.set_debug(True)
    seen = []
    loop.call_soon(lambda: seen.append(repr(loop)))
    run_once(loop)
    assert seen[0].endswith("running=True closed=False debug=True>")
    loop.close()
    assert repr(loop).endswith("running=False closed=True debug=True>")
