# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Handles come and go by ways of their own: a deallocator, and a list of freed ones that are made again.

What CPython's deallocator promises has to hold there too, and what a handle was must never show in the one that is made
of it. Each test here is about one such promise; children run with the lists on and off.
"""

import asyncio
import gc
import sys
import threading
import weakref

import pytest
from helpers import children
from helpers.compare import reports
from helpers.loops import run_once

KINDS = ["soon", "threadsafe", "later", "at"]


def callback(*args):
    return args


def schedule(loop, kind, function=callback, *args, **keywords):
    return {
        "soon": lambda: loop.call_soon(function, *args, **keywords),
        "threadsafe": lambda: loop.call_soon_threadsafe(function, *args, **keywords),
        "later": lambda: loop.call_later(1000, function, *args, **keywords),
        "at": lambda: loop.call_at(1e9, function, *args, **keywords),
    }[kind]()


@pytest.fixture
def ours(oneloop):
    loop = oneloop.new_event_loop()
    yield loop
    loop.close()


def living(cls):
    """How many there are: other tests may have left some."""
    gc.collect()
    return sum(type(thing) is cls for thing in gc.get_objects())


def drop(loop, handle):
    """Lets a handle go for good: the loop holds none either."""
    handle.cancel()
    run_once(loop)


@pytest.mark.parametrize("kind", KINDS)
def test_a_handle_that_is_made_again_shows_nothing_of_what_it_was(ours, kind):
    for _ in range(3):
        handle = schedule(ours, kind, callback, 1, 2)
        assert (handle._args, handle._cancelled, handle._repr, handle._source_traceback) == ((1, 2), False, None, None)
        if kind in ("later", "at"):
            assert handle._scheduled
        with pytest.raises(AttributeError):
            asyncio.Handle._callback.__get__(handle)
        asyncio.Handle._callback.__set__(handle, [1])
        handle._repr, handle._source_traceback = "text", ["stack"]
        drop(ours, handle)
        del handle


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_used_again(oneloop, kind, monkeypatch):
    monkeypatch.setenv("ONELOOP_FREE_LISTS", "1")  # whatever is being tested without
    program = f"""
import oneloop
from test_handle_memory import drop, schedule
loop = oneloop.new_event_loop()
seen = []
for _ in range(3):
    handle = schedule(loop, {kind!r})
    seen.append(id(handle))
    drop(loop, handle)
    del handle
    filler = [bytearray(size) for size in range(100, 300)]  # takes what the allocator was given back
    seen.append(filler)
print(len({{place for place in seen if type(place) is int}}))
loop.close()
"""
    finished = children.finish(children.start(["-c", program], "oneloop"))
    assert finished.quiet, finished
    assert finished.out == "1\n"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_in_the_base_s_slots_goes_with_the_handle(ours, kind):
    class Thing:
        pass

    things = [Thing(), Thing()]
    gone = [weakref.ref(thing) for thing in things]
    handle = schedule(ours, kind)
    asyncio.Handle._callback.__set__(handle, things.pop())
    asyncio.Handle._loop.__set__(handle, things.pop())
    drop(ours, handle)
    assert all(reference() is not None for reference in gone)
    del handle
    assert all(reference() is None for reference in gone)


@pytest.mark.parametrize("kind", KINDS)
def test_weak_references_are_told_and_are_not_of_the_next_handle(ours, kind):
    told = []

    def gone(reference):
        told.append(reference())
        # Made of the same memory, perhaps, while the first is still on its way out.
        again.append(schedule(ours, kind))

    again = []
    handle = schedule(ours, kind)
    references = [weakref.ref(handle, gone), weakref.ref(handle, gone)]
    drop(ours, handle)
    del handle
    assert told == [None, None]
    assert [reference() for reference in references] == [None, None]
    assert [weakref.getweakrefcount(one) for one in again] == [0, 0]
    assert again[0] is not again[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_finalizer_runs_once_for_each_handle_and_for_those_made_of_freed_ones(ours, kind):
    seen, kept = [], []
    cls = type(schedule(ours, kind))

    def finalize(handle):
        if handle._args:  # not one of the helper's, which stops the loop
            seen.append(handle._args)
        if handle._args == ("keep",):
            kept.append(handle)

    drop(ours, schedule(ours, kind))
    cls.__del__ = finalize
    try:
        for argument in ("first", "keep", "third"):
            handle = schedule(ours, kind, callback, argument)
            if kind in ("soon", "threadsafe"):
                run_once(ours)
            else:
                # Cancelling takes the arguments away; the timer goes with its loop's memory of it.
                handle.cancel()
                handle._args = (argument,)
            del handle
        assert seen == [("first",), ("keep",), ("third",)]
        (back,) = kept
        assert back._args == ("keep",)
        assert gc.is_tracked(back)
        del back
        kept.clear()
        assert len(seen) == 3  # as of any object, a second end is not told
    finally:
        del cls.__del__


@pytest.mark.parametrize("switch", ["1", "0"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_long_chain_of_handles_goes_on_a_short_stack(oneloop, kind, switch):
    program = f"""
import asyncio, threading, oneloop
from test_handle_memory import callback, schedule

def nest():
    loop = oneloop.new_event_loop()
    last = None
    for _ in range(20_000):
        # Neither a tuple nor a bound method in between, which have guards of their own.
        new = schedule(loop, {kind!r}, last if last is not None else callback)
        if {kind!r} in ("later", "at"):
            new.cancel()
        asyncio.Handle._callback.__set__(new, last)
        last = new
    loop.close()
    del new
    del last

threading.stack_size(256 * 1024)
thread = threading.Thread(target=nest)
thread.start()
thread.join()
print("done")
"""
    finished = children.finish(children.start(["-c", program], "oneloop", ONELOOP_FREE_LISTS=switch))
    assert finished.quiet, finished
    assert finished.out == "done\n"


def test_a_burst_of_handles_gives_its_memory_back(ours):
    cls = type(ours.call_soon(callback))
    run_once(ours)
    before = living(cls)
    blocks = sys.getallocatedblocks()
    for _ in range(100_000):
        ours.call_soon(callback)
    run_once(ours)
    assert living(cls) <= before
    assert sys.getallocatedblocks() - blocks < 5_000


@pytest.mark.parametrize("kind", KINDS)
def test_type_references_are_as_many_as_handles(ours, kind):
    cls = type(schedule(ours, kind))
    run_once(ours)
    gc.collect()
    before = sys.getrefcount(cls)
    handles = [schedule(ours, kind) for _ in range(100)]
    assert sys.getrefcount(cls) == before + 100
    for handle in handles:
        handle.cancel()
    run_once(ours)
    del handle, handles
    assert sys.getrefcount(cls) == before


def test_threads_that_free_handles_at_once(oneloop):
    """Each makes, nests and frees handles of its own, with switches of threads in between."""
    loops = [oneloop.new_event_loop() for _ in range(4)]
    before, failures = sys.getswitchinterval(), []
    sys.setswitchinterval(1e-6)

    class Slow:
        def __del__(self):
            sum(range(100))

    def work(loop):
        try:
            for number in range(300):
                last = Slow()
                for _ in range(70):
                    last = loop.call_later(1000, callback, last, Slow())
                    last.cancel()
                    last._args = (last._args, Slow(), number)
                assert last._args[2] == number
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(loop,)) for loop in loops]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
        for loop in loops:
            loop.close()
    assert not failures


@pytest.mark.parametrize("environment", [{}, {"ONELOOP_FREE_LISTS": "0"}, {"PYTHONMALLOC": "debug"}], ids=str)
def test_handles_that_outlive_the_interpreter(oneloop, environment):
    program = """
import atexit, builtins, sys, oneloop
loop = oneloop.new_event_loop()
class Late:
    def __init__(self, loop):
        self.loop, self.write = loop, sys.stdout.write
        self.handles = [loop.call_soon(print), loop.call_later(1000, print), loop.call_soon_threadsafe(print)]
    def __del__(self):
        # After the list was emptied for good: some more come and go.
        for _ in range(100):
            self.loop.call_later(1000, id).cancel()
        self.write("late\\n")
builtins.late = Late(oneloop.new_event_loop())
atexit.register(lambda: [loop.call_later(1, id).cancel() for _ in range(10)])
cycle = [loop.call_soon(id)]
cycle.append(cycle)
builtins.loop, builtins.sys = loop, sys
"""
    finished = children.finish(children.start(["-W", "ignore", "-c", program], "oneloop", **environment))
    assert finished.quiet, finished
    assert finished.out == "late\n"


def test_a_callback_that_raises_leaves_its_handle_to_be_told_of_and_freed(ours):
    told = reports(ours)
    cls = type(ours.call_soon(callback))
    run_once(ours)
    before = living(cls)
    ours.call_soon(lambda: 1 / 0)
    run_once(ours)
    assert len(told) == 1
    told.clear()
    assert living(cls) <= before


# Few arguments need no tuple, until somebody looks.


@pytest.mark.parametrize("arguments", [(), (1,), ((1, 2),), (None,), (1, 2)], ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_the_arguments_are_a_tuple_to_look_at_and_the_same_each_time(ours, kind, arguments):
    handle = schedule(ours, kind, callback, *arguments)
    assert handle._args == arguments
    assert handle._args is handle._args
    handle.cancel()
    assert handle._args is None


@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("arguments", [(), (1,), ((1, 2),), (None,), (1, 2)], ids=repr)
def test_what_was_looked_at_runs_as_what_was_not(ours, arguments, look):
    seen = []
    handle = ours.call_soon(lambda *given: seen.append(given), *arguments)
    if look:
        assert handle._args == arguments
    run_once(ours)
    handle._run()
    assert seen == [arguments, arguments]


# The loop's methods are called by CPython's shortest way.


def test_a_loop_has_no_dictionary_until_somebody_uses_it(oneloop):
    loop = oneloop.Loop()

    def has_dictionary():
        in_slots = {id(loop._listeners), id(loop._socket_files)}
        return any(type(thing) is dict and id(thing) not in in_slots for thing in gc.get_referents(loop))

    # 3.11 makes one with the object, and has its shorter way for objects with a dictionary.
    is_made_early = sys.version_info < (3, 12)
    assert has_dictionary() == is_made_early
    loop.call_later(0, loop.stop)
    loop.run_forever()
    run_once(loop)
    assert has_dictionary() == is_made_early
    assert not is_made_early or vars(loop) == {}
    loop.note = 1
    assert has_dictionary()
    assert vars(loop) == {"note": 1}
    loop.__init__()
    assert vars(loop) == {"note": 1}
    loop.close()


@pytest.mark.parametrize("slots", [None, (), ("more",)], ids=repr)
def test_a_loop_in_a_cycle_through_its_dictionary_is_collected(oneloop, slots):
    """As an attribute of its own, of a subclass with slots or without."""
    namespace = {} if slots is None else {"__slots__": slots}
    loop = type("Loop", (oneloop.Loop,), namespace)()
    loop.itself = loop
    assert vars(loop) == {"itself": loop}
    gone = weakref.ref(loop)
    loop.close()
    del loop
    gc.collect()
    assert gone() is None


def test_a_loop_s_dictionary_may_be_another(oneloop):
    loop = oneloop.Loop()
    loop.__dict__ = {"time": lambda: 7.0}
    assert loop.call_later(1, callback).when() == 8
    loop.__dict__.clear()
    assert loop.call_later(1, callback).when() > 8
    assert loop.__dict__ is vars(loop)
    loop.close()


def test_native_methods_are_of_the_loop_s_own_class(oneloop):
    for name in ("call_soon", "call_later", "call_at", "call_soon_threadsafe", "create_future", "time"):
        assert vars(oneloop.Loop)[name].__objclass__ is oneloop.Loop
        assert vars(oneloop._core.Loop)[name].__objclass__ is oneloop._core.Loop
    # What a class between the two overrides stays overridden.
    assert "close" in vars(oneloop.Loop)
    assert type(vars(oneloop.Loop)["close"]) is type(callback)
    with pytest.raises(TypeError):
        oneloop.Loop.call_soon(object(), callback)
