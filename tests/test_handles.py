# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Handles: asyncio's to look at, native inside, and not to be broken from Python.

What they show (text, order, attributes) is compared with asyncio's own on the running interpreter. What only ours can
get wrong is that there is native data in an object that Python may copy, pickle, re-class, allocate by other means or
collect at any time: each way must be an exception or harmless, never a crash.
"""

import asyncio
import contextvars
import copy
import functools
import gc
import pickle
import re
import sys
import threading
import types
import weakref

import pytest
from helpers.compare import like_asyncio, logged, plain, raised, reports
from helpers.loops import run_once

THREAD_SAFE_KIND = getattr(asyncio.events, "_ThreadSafeHandle", None)


def callback(*args):
    return args


def boom(*_):
    raise ZeroDivisionError("boom")


class Thing:
    """Something that can be watched with a weak reference, and has a bound method."""

    def method(self):
        pass


def schedule_all(loop, function, *args, **keywords):
    """One handle of every kind."""
    return {
        "soon": loop.call_soon(function, *args, **keywords),
        "threadsafe": loop.call_soon_threadsafe(function, *args, **keywords),
        "later": loop.call_later(1000, function, *args, **keywords),
        "at": loop.call_at(1e9, function, *args, **keywords),
    }


KINDS = ["soon", "threadsafe", "later", "at"]


@pytest.fixture(params=KINDS)
def handle(request, loop):
    """A handle that has not run."""
    handle = schedule_all(loop, callback, 1, "two")[request.param]
    yield handle
    handle.cancel()


# What they look like.


def test_what_a_handle_shows(loop_factory, debug):
    def text_of(thing):
        return re.sub(r"when=[\d.]+", "when=N", plain(repr(thing)))

    def look(handle):
        shown = {name: text_of(getattr(handle, name)) for name in ("_callback", "_args", "_cancelled", "_repr")}
        shown["context"] = type(handle._context).__name__
        shown["loop"] = handle._loop is not None
        shown["stack"] = [line.name for line in (handle._source_traceback or [])[-3:]]
        shown["repr"] = text_of(handle)
        shown["base"] = [base.__name__ for base in type(handle).__mro__ if base.__module__ == "asyncio.events"][-2:]
        return shown

    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)
        handles = schedule_all(loop, callback, 1, "two")
        seen = {kind: look(handle) for kind, handle in handles.items()}
        for handle in handles.values():
            handle.cancel()
            handle.cancel()
        seen["cancelled"] = {kind: look(handle) for kind, handle in handles.items()}
        seen["text"] = repr(loop.call_at(1e9, callback))
        loop.close()
        return seen

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "function", [callback, functools.partial(boom, 1), Thing().method, print, Thing], ids=lambda it: type(it).__name__
)
def test_its_text_is_asyncio_s(loop_factory, debug, kind, function):
    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)
        handle = schedule_all(loop, function)[kind]
        loop.close()
        return re.sub(r"when=[\d.]+", "when=N", plain(repr(handle)))

    like_asyncio(scenario, loop_factory)


def test_it_is_an_instance_of_asyncio_s_class(loop):
    handles = schedule_all(loop, callback)
    for kind, handle in handles.items():
        assert isinstance(handle, asyncio.TimerHandle if kind in ("later", "at") else asyncio.Handle)
    if THREAD_SAFE_KIND is not None:
        assert isinstance(handles["threadsafe"], THREAD_SAFE_KIND)


def test_timers_are_ordered_compared_and_hashed_as_asyncio_s(loop_factory):
    def scenario(factory):
        loop = factory()
        one, same, two = (loop.call_at(when, callback, 1) for when in (1e9, 1e9, 2e9))
        other = loop.call_at(1e9, callback, 2)
        theirs = asyncio.TimerHandle(1.5e9, callback, (1,), loop)
        seen = [one < two, two < one, one <= same, one >= same, one > two, one == same, one != same, one == other]
        seen += [hash(one) == hash(same) == hash(1e9), sorted([two, theirs, one]) == [one, theirs, two], one < theirs]
        seen += [one == 1, raised(lambda: one < 1)[0], one.when(), two.when()]
        same.cancel()
        seen += [one == same, hash(same) == hash(one)]
        loop.close()
        return seen

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("when", [10**9, 1e9, True * 10**9], ids=repr)
def test_when_is_the_very_object_that_was_given(loop, when):
    assert loop.call_at(when, callback).when() is when


def test_a_timer_knows_whether_it_is_scheduled(loop_factory):
    def scenario(factory):
        loop = factory()
        fired, cancelled = loop.call_later(0, callback), loop.call_later(1000, callback)
        seen = [fired._scheduled, cancelled._scheduled]
        loop.call_later(0, loop.stop)
        loop.run_forever()
        cancelled.cancel()
        seen.append(fired._scheduled)
        loop.close()
        return seen

    like_asyncio(scenario, loop_factory)


# Running them.


def test_it_runs_in_its_context_and_leaves_it(loop):
    variable = contextvars.ContextVar("variable", default="outside")
    context = contextvars.copy_context()
    context.run(variable.set, "given")
    seen = []

    def look():
        seen.append(variable.get())
        variable.set("changed")

    loop.call_soon(look, context=context)
    loop.call_soon(look)
    variable.set("current")
    loop.call_soon(look)
    run_once(loop)
    assert seen == ["given", "outside", "current"]
    assert context[variable] == "changed"
    assert variable.get() == "current"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio's handles have get_context from 3.12 on")
def test_its_context_can_be_asked_for(loop):
    context = contextvars.copy_context()
    assert loop.call_soon(callback, context=context).get_context() is context


class Slotted(asyncio.Handle):
    """Of the same Python-level layout as ours."""

    __slots__ = ()


class RunsWithoutContext:
    """Not a context, but it has the method that asyncio calls."""

    def run(self, function, *args):
        return function("instead", *args)


@pytest.mark.parametrize("context", [RunsWithoutContext(), object(), 3], ids=lambda it: type(it).__name__)
def test_a_context_that_is_none_is_asked_to_run_it_all_the_same(loop_factory, context):
    def scenario(factory):
        loop, seen = factory(), []
        contexts = reports(loop)
        loop.call_soon(lambda *args: seen.append(args), 1, context=context)
        run_once(loop)
        loop.close()
        return seen, contexts

    like_asyncio(scenario, loop_factory)


def test_a_context_that_is_entered_already_is_an_error_of_the_callback_s(loop_factory):
    def scenario(factory):
        loop = factory()
        context = contextvars.copy_context()
        loop.call_soon(callback, context=context)
        with logged() as lines:
            context.run(run_once, loop)
        loop.close()
        return lines

    (line,) = like_asyncio(scenario, loop_factory)
    assert "already entered" in line


def test_what_it_raises_is_reported_as_asyncio_does(loop_factory, debug):
    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)
        contexts = reports(loop)
        handle = loop.call_soon(boom, 1)
        run_once(loop)
        handle._run()
        del handle
        loop.set_exception_handler(None)
        loop.call_soon(boom, 2)
        with logged() as lines:
            run_once(loop)
        loop.close()
        keep = [{key: text for key, text in context.items() if key != "source_traceback"} for context in contexts]
        return keep, [sorted(context) for context in contexts], [line.split("source_traceback")[0] for line in lines]

    like_asyncio(scenario, loop_factory)


def test_it_may_cancel_and_forget_itself_while_it_runs(loop_factory):
    def scenario(factory):
        loop, handles = factory(), []
        contexts = reports(loop)

        def suicide(argument):
            handles.pop().cancel()
            gc.collect()
            return argument.missing

        handles.append(loop.call_soon(suicide, Thing()))
        run_once(loop)
        loop.close()
        return contexts

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("kind", KINDS)
def test_cancelling_lets_go_of_the_arguments_at_once(loop, kind):
    thing = Thing()
    gone = weakref.ref(thing)
    handles = schedule_all(loop, callback, thing)
    for other in KINDS:
        if other != kind:
            handles.pop(other).cancel()
    del thing
    assert gone() is not None
    handles[kind].cancel()
    assert gone() is None


@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("count", range(5))
@pytest.mark.parametrize("kind", KINDS)
def test_arguments_arrive_whole_however_many_and_whoever_looked(loop, kind, count, look):
    things = tuple(Thing() for _ in range(count))
    seen = []

    def note(*args):
        handle.cancel()
        seen.append((args, handle._args))

    handle = schedule_all(loop, note, *things)[kind]
    if look:
        assert handle._args == things
        assert handle._args is handle._args
    handle._run()
    assert seen == [(things, None)]


@pytest.mark.parametrize("count", range(5))
def test_arguments_can_be_exchanged(loop, count):
    seen = []
    handle = loop.call_soon(lambda *args: seen.append(args), *range(count))
    handle._args = ("another",)
    assert handle._args == ("another",)
    run_once(loop)
    assert seen == [("another",)]


def test_an_argument_s_finalizer_may_use_the_handle(loop):
    seen = []

    class Finalized:
        def __del__(self):
            seen.append((handle.cancelled(), handle._callback, handle._args))
            handle.cancel()

    handle = loop.call_later(1000, callback, Finalized())
    handle.cancel()
    assert seen == [(True, None, None)]


# What Python cannot do to them.


@pytest.mark.parametrize(
    "attack",
    [
        lambda handle: type(handle)(),
        lambda handle: type(handle)(callback, (), handle._loop),
        lambda handle: object.__new__(type(handle)),
        lambda handle: asyncio.Handle.__new__(type(handle)),
        lambda handle: asyncio.TimerHandle.__new__(type(handle)),
        copy.copy,
        copy.deepcopy,
        pickle.dumps,
        lambda handle: handle.__reduce_ex__(4),
        lambda handle: setattr(handle, "__class__", asyncio.Handle),
        lambda handle: setattr(handle, "__class__", Slotted),
        lambda handle: setattr(handle, "__class__", object),
        lambda handle: setattr(asyncio.Handle(callback, (), handle._loop), "__class__", type(handle)),
        lambda handle: types.new_class("Sub", (type(handle),)),
        lambda handle: setattr(handle, "_args", [1]),
        lambda handle: setattr(handle, "_args", 3),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_attack_is_a_type_error(oneloop, kind, attack):
    loop = oneloop.new_event_loop()
    handle = schedule_all(loop, callback)[kind]
    with pytest.raises(TypeError):
        attack(handle)
    assert handle._callback is callback
    loop.close()


@pytest.mark.parametrize(
    "name", ["_callback", "_args", "_cancelled", "_context", "_loop", "_repr", "_source_traceback"]
)
def test_an_attribute_cannot_be_deleted(oneloop, name):
    loop = oneloop.new_event_loop()
    handle = loop.call_soon(callback)
    with pytest.raises(AttributeError):
        delattr(handle, name)
    loop.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_that_somebody_assigns_makes_nothing(oneloop, kind):
    """The type is mutable, since its base is; an object without its native data must not come of it."""
    loop = oneloop.new_event_loop()
    cls = type(schedule_all(loop, callback)[kind])
    cls.__new__ = lambda cls, *_: asyncio.Handle.__new__(cls)
    try:
        with pytest.raises(TypeError):
            cls()
        with pytest.raises(TypeError):
            object.__new__(cls)
    finally:
        del cls.__new__
    loop.close()


def test_the_native_methods_refuse_other_objects(oneloop):
    loop = oneloop.new_event_loop()
    ours, theirs = loop.call_soon(callback), asyncio.Handle(callback, (), loop)
    cls = type(ours)
    for name in ("cancel", "cancelled", "_run"):
        for victim in (theirs, object(), None, cls, loop.call_later(1, callback)):
            with pytest.raises(TypeError):
                vars(cls)[name](victim)
    for name in ("_callback", "_cancelled", "_context"):
        with pytest.raises(TypeError):
            vars(cls)[name].__get__(theirs)
        with pytest.raises((TypeError, AttributeError)):
            vars(cls)[name].__set__(theirs, None)
    loop.close()


def test_asyncio_s_own_methods_may_be_called_on_ours(oneloop):
    loop = oneloop.new_event_loop()
    handle = loop.call_soon(callback)
    with pytest.raises(AttributeError):
        asyncio.Handle.__init__(handle, boom, (), loop)
    assert handle._callback is callback
    asyncio.Handle.cancel(handle)
    assert (handle.cancelled(), handle._callback, handle._args) == (True, None, None)
    asyncio.Handle._callback.__set__(handle, [handle])  # the base's own slot, which nothing of ours reads
    assert handle._callback is None
    loop.close()


def test_what_was_taken_out_of_it_is_an_error_when_it_runs(oneloop):
    loop = oneloop.new_event_loop()
    contexts = reports(loop)
    for name, value in (("_callback", None), ("_args", None), ("_callback", 3), ("_callback", boom)):
        handle = loop.call_soon(callback)
        setattr(handle, name, value)
        handle._run()
        handle.cancel()
    assert [context["exception"].split("(")[0] for context in contexts] == [
        "TypeError",
        "TypeError",
        "ZeroDivisionError",
    ]
    loop.close()


# Memory.


@pytest.mark.parametrize("kind", KINDS)
def test_a_cycle_through_a_handle_is_collected(loop_factory, kind):
    loop, thing = loop_factory(), Thing()
    gone = weakref.ref(thing)
    thing.handle = schedule_all(loop, callback, thing)[kind]
    thing.handle._source_traceback = [thing]
    handle_gone = weakref.ref(thing.handle)
    loop.close()
    del thing
    gc.collect()
    assert gone() is None
    assert handle_gone() is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_handle_is_freed_without_the_collector(oneloop, kind):
    loop, thing = oneloop.new_event_loop(), Thing()
    gone = weakref.ref(thing)
    cls = type(schedule_all(loop, callback)[kind])
    gc.collect()
    gc.disable()
    try:
        references = sys.getrefcount(cls)
        for _ in range(100):
            handle = schedule_all(loop, callback, thing)[kind]
            handle.cancel()
        run_once(loop)
        del handle, thing
        loop.close()
        assert gone() is None
        assert sys.getrefcount(cls) <= references
    finally:
        gc.enable()


def test_a_long_chain_of_handles_does_not_overflow_the_stack(oneloop):
    loop = oneloop.new_event_loop()
    last = None
    for _ in range(200_000):
        last = loop.call_later(1000, callback, last)
    loop.close()
    del last
    gc.collect()


def test_a_finalizer_may_bring_a_handle_back(oneloop):
    loop, kept = oneloop.new_event_loop(), []
    cls = type(loop.call_soon(callback))
    cls.__del__ = lambda self: kept.append(self)
    try:
        handle = loop.call_soon(callback, 1, 2)
        run_once(loop)
        del handle
        assert kept[-1]._args == (1, 2)
    finally:
        del cls.__del__
    loop.close()
    kept.clear()


# From other threads (3.14).


@pytest.mark.skipif(THREAD_SAFE_KIND is None, reason="asyncio has this kind of handle from 3.14 on")
@pytest.mark.parametrize("ask", ["cancel", "cancelled"])
def test_asking_a_running_handle_waits_for_its_end(loop, ask):
    began, may_end, seen = threading.Event(), threading.Event(), []

    def slow():
        began.set()
        may_end.wait()
        seen.append("ran")

    handle = loop.call_soon_threadsafe(slow)

    def asker():
        began.wait()
        threading.Timer(0.01, may_end.set).start()
        seen.append((ask, getattr(handle, ask)()))
        loop.call_soon_threadsafe(loop.stop)

    askers = [threading.Thread(target=asker) for _ in range(3)]
    for thread in askers:
        thread.start()
    loop.run_forever()
    for thread in askers:
        thread.join()
    assert seen == ["ran"] + [(ask, {"cancel": None, "cancelled": False}[ask])] * 3


@pytest.mark.skipif(THREAD_SAFE_KIND is None, reason="asyncio has this kind of handle from 3.14 on")
def test_a_running_handle_may_ask_and_cancel_itself(loop):
    seen = []

    def ask():
        seen.append(handle.cancelled())
        handle.cancel()
        seen.append(handle.cancelled())

    handle = loop.call_soon_threadsafe(ask)
    run_once(loop)
    assert seen == [False, True]
