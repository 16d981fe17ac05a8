# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""A loop whose `time()` is replaced, in a subclass, on the instance or on the class, keeps its timers by that clock.

What the replacement raises comes out where asyncio lets it out, and the loop is usable afterwards.
"""

import asyncio
import datetime
import time

import pytest
from helpers.compare import like_asyncio, raised
from helpers.loops import goes_on, run_once


class Clock:
    """A clock that may be told to raise, to run something, or to answer nonsense."""

    def __init__(self):
        self.now = 50.0
        self.does = None

    def __call__(self, *_):
        return self.does() if self.does else self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["subclass", "instance", "class"])
def overridden(request, loop_class, loop_factory, clock, monkeypatch):
    """The three ways in which people replace a loop's clock; the last is freezegun's."""
    if request.param == "subclass":
        loop = type("Timed", (loop_class,), {"time": lambda self: clock()})()
    else:
        loop = loop_factory()
        owner = loop if request.param == "instance" else type(loop)
        monkeypatch.setattr(
            owner, "time", clock if request.param == "instance" else lambda self: clock(), raising=False
        )
    yield loop
    clock.does = None
    loop.close()


def test_it_is_the_loop_s_time(overridden, clock):
    assert overridden.time() == 50
    clock.now = 60
    assert overridden.time() == 60
    assert overridden.call_later(5, print).when() == 65


def test_it_moves_the_timers(overridden, clock):
    fired = []
    overridden.call_later(3600, fired.append, "an hour")
    overridden.call_at(55, fired.append, "at 55")
    run_once(overridden)
    assert fired == []
    clock.now = 56
    run_once(overridden)
    assert fired == ["at 55"]
    clock.now += 3600
    run_once(overridden)
    assert fired == ["at 55", "an hour"]


def test_it_moves_sleeping_tasks(overridden, clock):
    async def sleeper():
        await asyncio.sleep(3600)
        return "awake"

    task = overridden.create_task(sleeper())
    run_once(overridden)
    clock.now += 3601
    for _ in range(3):
        run_once(overridden)
    assert task.result() == "awake"


def test_real_time_moves_no_timer(overridden):
    overridden.call_later(0.001, pytest.fail, "fired by the real clock")
    time.sleep(0.005)
    run_once(overridden)


def test_it_may_be_given_back(loop):
    loop.time = lambda: 7.0
    assert loop.time() == 7
    del loop.time
    before = time.monotonic()
    assert before <= loop.time() <= time.monotonic()
    goes_on(loop)


def test_an_override_that_calls_super_is_the_usual_clock(loop_class):
    class Shifted(loop_class):
        def time(self):
            return super().time() + 1000

    loop = Shifted()
    assert loop.time() >= time.monotonic() + 999
    goes_on(loop)
    loop.close()


class BrokenError(Exception):
    """What a clock of the user's may raise."""


def _raise(error):
    raise error


@pytest.mark.parametrize(
    "error", [BrokenError("clock"), KeyboardInterrupt(), SystemExit(3), asyncio.CancelledError()], ids=repr
)
def test_what_it_raises_comes_out_of_the_call_and_of_the_run(overridden, clock, error):
    fired = []
    overridden.call_later(1, fired.append, 1)
    clock.does = lambda: _raise(error)
    with pytest.raises(type(error)):
        overridden.call_later(1, print)
    # asyncio reads the clock in every iteration, outside any callback.
    overridden.call_soon(overridden.stop)
    with pytest.raises(type(error)):
        overridden.run_forever()
    assert not overridden.is_running()
    assert asyncio._get_running_loop() is None
    clock.does, clock.now = None, 60
    run_once(overridden)
    assert fired == [1]


def test_what_was_ready_when_it_raised_runs_later(overridden, clock):
    ran = []
    overridden.call_soon(ran.append, 1)
    overridden.call_soon(ran.append, 2)
    clock.does = lambda: _raise(BrokenError())
    overridden.stop()
    with pytest.raises(BrokenError):
        overridden.run_forever()
    assert ran == []
    clock.does = None
    run_once(overridden)
    assert ran == [1, 2]


def test_it_may_call_the_loop(overridden, clock):
    ran = []

    def reenter():
        clock.does = None
        overridden.call_soon(ran.append, "soon")
        overridden.call_soon_threadsafe(ran.append, "threadsafe")
        overridden.call_at(0, ran.append, "timer").cancel()
        overridden.call_at(0, ran.append, "due")
        with pytest.raises(RuntimeError):
            overridden.close()
        return clock.now

    overridden.call_later(1, ran.append, "later")
    clock.does = reenter
    run_once(overridden)
    run_once(overridden)
    assert [name for name in ran if name != "due"] == ["soon", "threadsafe"]
    assert ran.count("due") == 1


def test_it_may_stop_the_loop(overridden, clock):
    def stop():
        overridden.stop()
        return clock.now

    clock.does = stop
    overridden.call_soon(lambda: None)
    overridden.run_forever()


@pytest.mark.parametrize(
    "answer", [None, "noon", object(), datetime.timedelta(1)], ids=lambda answer: type(answer).__name__
)
def test_an_answer_that_is_no_number_is_an_error(loop_factory, answer):
    def scenario(factory):
        loop = factory()
        loop.time = lambda: answer
        loop.call_soon(loop.stop)
        seen = [raised(lambda: loop.call_later(1, print)), raised(loop.run_forever)]
        del loop.time
        loop.run_forever()
        goes_on(loop)
        loop.close()
        return [error and error[0] for error in seen]

    assert like_asyncio(scenario, loop_factory) == ["TypeError", "TypeError"]


def test_an_integer_is_a_time(loop):
    fired = []
    loop.time = lambda: 100
    assert loop.call_later(5, fired.append, 1).when() == 105
    loop.time = lambda: 106
    run_once(loop)
    assert fired == [1]


def test_another_loop_s_method_is_an_override(loop, loop_class):
    """As `loop.time = other.time` is for asyncio: the method is called, with the loop that it belongs to."""

    class Other(loop_class):
        def call_at(self, when, callback, *args, context=None):
            asked.append(when)
            return super().call_at(when, callback, *args, context=context)

    asked = []
    other = Other()
    try:
        loop.call_at = other.call_at
        loop.call_later(0, print).cancel()
        assert len(asked) == 1
        del loop.call_at
        loop.call_later(0, print).cancel()
        assert len(asked) == 1
    finally:
        other.close()


def test_a_native_method_of_another_loop_is_an_override(loop, loop_factory):
    other = loop_factory()
    try:
        loop.call_at = other.call_at
        timer = loop.call_later(0, print)
        assert timer._loop is other
        del loop.call_at
        loop.call_at = loop.call_at
        timer = loop.call_later(0, print)
        assert timer._loop is loop
    finally:
        other.close()


def test_the_class_s_bare_method_on_the_instance_is_an_error(loop, loop_class):
    loop.call_at = loop_class.call_at
    with pytest.raises(TypeError):
        loop.call_later(0, print)
    del loop.call_at
    goes_on(loop)


def test_a_class_that_answers_for_its_attributes_is_asked(loop_class):
    class Answering(loop_class):
        def __getattribute__(self, name):
            return (lambda: 1000.0) if name == "time" else super().__getattribute__(name)

    loop = Answering()
    assert loop.call_later(5, print).when() == 1005
    loop.close()


def test_a_clock_set_back_in_a_run_holds_a_timer_that_was_due(loop):
    fired, asked = [], []

    def behind():
        asked.append(None)
        if len(asked) == 5:
            loop.stop()
        return when - 0.001

    def set_back():
        loop.time = behind

    when = loop.time()
    loop.call_soon(set_back)
    loop.call_soon(lambda: loop.call_at(when, fired.append, 1))
    loop.run_forever()
    assert fired == []
    del loop.time
    run_once(loop)
    assert fired == [1]
