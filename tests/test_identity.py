# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What other people's code checks, and the private names that it touches: the compatibility table's scheduling part."""

import asyncio
import gc
import inspect
import time
import weakref

import pytest
from helpers.compare import raised
from helpers.loops import goes_on, run_once


def test_it_is_an_abstract_event_loop_and_no_base_event_loop(oneloop):
    loop = oneloop.new_event_loop()
    assert type(loop) is oneloop.Loop
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert not isinstance(loop, asyncio.BaseEventLoop)
    loop.close()


def test_it_says_what_drives_it(oneloop):
    loop = oneloop.new_event_loop()
    assert loop.backend in ("epoll", "portable")
    assert isinstance(loop.backend, str)
    loop.close()


def test_the_running_loop_is_the_loop(loop):
    seen = []
    loop.call_soon(lambda: seen.append((asyncio.get_running_loop(), asyncio.get_event_loop())))
    run_once(loop)
    assert seen == [(loop, loop)]
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_time_is_monotonic_time(loop):
    before = time.monotonic()
    now = loop.time()
    assert isinstance(now, float)
    assert before <= now <= time.monotonic()


def test_it_says_whether_it_runs(loop):
    seen = []
    assert not loop.is_running()
    loop.call_soon(lambda: seen.append(loop.is_running()))
    run_once(loop)
    assert seen == [True]
    assert not loop.is_running()


def test_handles_are_asyncio_s_where_the_caller_sees_them(loop):
    for handle in (loop.call_soon(int), loop.call_soon_threadsafe(int)):
        assert isinstance(handle, asyncio.Handle)
        assert not isinstance(handle, asyncio.TimerHandle)
    for handle in (loop.call_later(1, int), loop.call_at(1, int)):
        assert isinstance(handle, asyncio.TimerHandle)


def test_it_can_be_subclassed_with_arguments_and_attributes_of_one_s_own(loop_class):
    class Mine(loop_class):
        def __init__(self, name):
            super().__init__()
            self.name = name

    loop = Mine("mine")
    assert loop.name == "mine"
    assert repr(loop) == "<Mine running=False closed=False debug=False>"
    goes_on(loop)
    loop.close()


@pytest.mark.parametrize("where", ["subclass", "instance"])
def test_an_overridden_method_is_honoured_by_the_others(loop_class, where):
    """asyncio's own methods call each other through self, and people build on it."""
    seen = []

    class Mine(loop_class):
        pass

    def override(loop, name):
        base = getattr(loop, name)

        def replacement(*args, **kwargs):
            seen.append(name)
            return base(*args, **kwargs)

        return replacement

    loop = Mine()
    for name in ("call_exception_handler", "create_task", "run_forever"):
        if where == "instance":
            setattr(loop, name, override(loop, name))
        else:
            setattr(Mine, name, _counting(name, seen))

    async def fail_later():
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)

    loop.set_exception_handler(lambda *_: None)
    loop.run_until_complete(fail_later())
    loop.close()
    assert {"call_exception_handler", "create_task", "run_forever"} <= set(seen)


def _counting(name, seen):
    def method(self, *args, **kwargs):
        seen.append(name)
        return getattr(super(type(self), self), name)(*args, **kwargs)

    return method


def test_tasks_call_the_overridden_call_soon(loop_class):
    seen = []

    class Mine(loop_class):
        def call_soon(self, callback, *args, context=None):
            seen.append(callback)
            return super().call_soon(callback, *args, context=context)

    async def main():
        for _ in range(5):
            await asyncio.sleep(0)

    loop = Mine()
    loop.run_until_complete(main())
    loop.close()
    assert len(seen) >= 6


def test_call_later_calls_the_overridden_call_at(loop_class):
    seen = []

    class Mine(loop_class):
        def call_at(self, when, callback, *args, context=None):
            seen.append(when)
            return super().call_at(when, callback, *args, context=context)

    loop = Mine()
    handle = loop.call_later(5, int)
    assert seen == [handle.when()]
    loop.close()


# Private names that popular code touches.


def test_it_has_a_dict_and_weak_references(loop_factory):
    loop = loop_factory()
    loop.anything = 1
    assert vars(loop)["anything"] == 1
    reference = weakref.ref(loop)
    assert reference() is loop
    weakref.WeakKeyDictionary()[loop] = 1
    loop.close()
    del loop
    gc.collect()
    assert reference() is None


def test_it_is_hashable_and_equal_only_to_itself(loop_factory):
    loop, other = loop_factory(), loop_factory()
    assert {loop: 1}[loop] == 1
    assert loop != other
    loop.close()
    other.close()


def test_check_closed(loop):
    assert loop._check_closed() is None
    loop.close()
    assert raised(loop._check_closed) == ("RuntimeError", "Event loop is closed")


def test_thread_id_and_default_executor(loop):
    import threading

    seen = []
    assert loop._thread_id is None
    assert loop._default_executor is None
    loop.call_soon(lambda: seen.append(loop._thread_id))
    run_once(loop)
    assert seen == [threading.get_ident()]


def test_anyio_finds_the_root_task(loop):
    """It looks for the callback that run_until_complete adds, by identity, in the task's own callbacks."""
    found = []

    async def main():
        callbacks = [callback for callback, _ in asyncio.current_task()._callbacks]
        found.append(asyncio.base_events._run_until_complete_cb in callbacks)

    task = loop.create_task(main())
    loop.run_until_complete(task)
    assert found == [True]
    # And it is taken away again.
    other = loop.create_future()
    loop.call_soon(loop.stop)
    assert raised(lambda: loop.run_until_complete(other))[0] == "RuntimeError"
    assert not other._callbacks
    other.cancel()


def test_a_task_s_private_names(loop):
    async def main():
        await asyncio.sleep(0)
        await future

    future = loop.create_future()
    task = loop.create_task(main())
    assert task._log_destroy_pending is True
    assert task._fut_waiter is None
    assert task._must_cancel is False
    for _ in range(3):
        run_once(loop)
    assert task._fut_waiter is future
    task._log_destroy_pending = False
    task.cancel()
    for _ in range(3):
        run_once(loop)
    assert task.cancelled()


def test_a_handle_s_private_names(loop):
    handle = loop.call_soon(int, "7")
    assert (handle._callback, handle._args, handle._cancelled) == (int, ("7",), False)
    timer = loop.call_later(5, int, "8")
    assert (timer._callback, timer._args, timer._when) == (int, ("8",), timer.when())
    timer.cancel()
    assert (timer._callback, timer._args, timer._cancelled) == (None, None, True)


# The whole surface.


def _required(method):
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


METHODS = sorted(
    name
    for name, method in vars(asyncio.AbstractEventLoop).items()
    if callable(method) and not name.startswith("_") and name not in ("run_forever", "run_until_complete", "close")
)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_there(loop, name):
    """Called with nonsense, it may raise anything but NotImplementedError."""
    method = getattr(type(loop), name)
    assert method is not getattr(asyncio.AbstractEventLoop, name)

    async def call():
        result = getattr(loop, name)(*(None for _ in _required(getattr(asyncio.AbstractEventLoop, name))))
        if asyncio.iscoroutine(result):
            await asyncio.wait_for(result, 5)
        elif asyncio.isfuture(result):
            result.cancel()

    loop.set_exception_handler(lambda *_: None)
    kind, message = raised(lambda: loop.run_until_complete(call())) or (None, "")
    assert kind not in ("TimeoutError", "NotImplementedError"), message
    if loop._default_executor is not None:
        loop.run_until_complete(loop.shutdown_default_executor())


SCHEDULING = {
    *[
        "run_forever",
        "run_until_complete",
        "stop",
        "is_running",
        "is_closed",
        "close",
        "shutdown_asyncgens",
        "shutdown_default_executor",
    ],
    *["call_soon", "call_soon_threadsafe", "call_later", "call_at", "time", "create_future", "create_task"],
    *["set_task_factory", "get_task_factory", "run_in_executor", "set_default_executor"],
    *["add_reader", "remove_reader", "add_writer", "remove_writer", "add_signal_handler", "remove_signal_handler"],
    *["get_exception_handler", "set_exception_handler", "default_exception_handler", "call_exception_handler"],
    *["get_debug", "set_debug"],
}


def test_what_is_there_takes_asyncio_s_parameters(oneloop):
    """By name, kind and default: what can be called on asyncio's loop can be called on ours in the same way."""
    for name in sorted(SCHEDULING):
        theirs = inspect.signature(getattr(asyncio.SelectorEventLoop, name))
        try:
            ours = inspect.signature(getattr(oneloop.Loop, name))
        except ValueError:  # a native method need not have a signature
            continue
        positional, keyword = _names(theirs)
        ours_positional, ours_keyword = _names(ours)
        assert ours_positional[: len(positional)] == positional, name
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in ours.parameters.values())
        assert takes_any or keyword <= ours_keyword, name


def _names(signature):
    """The names of the positional parameters in order, and of those that are keywords only; without self."""
    positional = [p.name for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY and p.name != "self"]
    return positional, {p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}


def test_arguments_by_keyword(loop):
    """Every parameter that asyncio's methods have a name for can be given by it."""
    loop.call_later(delay=0, callback=int)
    loop.call_at(when=0, callback=int)
    loop.call_soon(callback=int)
    loop.call_soon_threadsafe(callback=int)
    loop.set_task_factory(factory=None)
    loop.set_exception_handler(handler=None)
    loop.set_debug(enabled=False)
    loop.run_until_complete(loop.run_in_executor(executor=None, func=int))

    async def main():
        return 1

    assert loop.run_until_complete(future=main()) == 1
    loop.run_until_complete(loop.shutdown_default_executor())


def test_everything_public_is_documented(oneloop):
    for name in SCHEDULING:
        assert inspect.getdoc(getattr(oneloop.Loop, name)), name
    for name in oneloop.__all__:
        if not name.startswith("_"):
            assert inspect.getdoc(getattr(oneloop, name)), name
