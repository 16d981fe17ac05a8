# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""A callback that raises costs nobody else anything.

An ordinary exception is reported and the batch goes on. KeyboardInterrupt and SystemExit end the run at once; what
had not run yet is kept, in order, and runs first when the loop runs again.
"""

import asyncio
import contextlib
import signal
import socket

import pytest
from helpers.compare import reports
from helpers.loops import goes_on, run_once


class Custom(BaseException):
    """A BaseException that is neither of the two that end a run."""


def boom(error):
    raise error


@pytest.mark.parametrize(
    "error", [ValueError("x"), Custom("x"), GeneratorExit(), asyncio.CancelledError(), StopIteration(1)], ids=repr
)
def test_an_error_is_reported_and_the_batch_goes_on(loop, error):
    contexts, order = [], []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    loop.call_soon(order.append, 1)
    handle = loop.call_soon(boom, error)
    loop.call_soon(order.append, 2)
    run_once(loop)
    assert order == [1, 2]
    (context,) = contexts
    assert set(context) == {"message", "exception", "handle"}
    assert context["exception"] is error
    assert context["handle"] is handle
    assert context["message"].startswith("Exception in callback boom(")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
@pytest.mark.parametrize("at", [0, 1, 500, 999])
def test_the_rest_of_the_batch_is_kept_in_order(loop, error, at):
    contexts, order = reports(loop), []
    for number in range(1000):
        loop.call_soon(*((boom, error) if number == at else (order.append, number)))
    with pytest.raises(type(error)) as caught:
        loop.run_forever()
    assert caught.value is error
    assert order == list(range(at))
    assert not loop.is_running()
    assert asyncio._get_running_loop() is None
    # What comes now is behind what was left.
    loop.call_soon(order.append, "new")
    loop.call_soon_threadsafe(order.append, "newer")
    run_once(loop)
    assert order == [number for number in range(1000) if number != at] + ["new", "newer"]
    assert contexts == []


def test_several_of_them_come_out_one_by_one(loop):
    order = []
    loop.call_soon(order.append, 1)
    loop.call_soon(boom, KeyboardInterrupt())
    loop.call_soon(order.append, 2)
    loop.call_soon(boom, SystemExit(1))
    loop.call_soon(boom, KeyboardInterrupt())
    loop.call_soon(order.append, 3)
    for expected, so_far in ((KeyboardInterrupt, [1]), (SystemExit, [1, 2]), (KeyboardInterrupt, [1, 2])):
        with pytest.raises(expected):
            loop.run_forever()
        assert order == so_far
    run_once(loop)
    assert order == [1, 2, 3]


def test_io_and_timers_of_the_same_tick_are_kept(loop):
    order = []
    with contextlib.ExitStack() as stack:
        ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
        theirs.send(b"x")

        def readable():
            # The next poll sees it again, as nobody has read: so go away, which takes that one back.
            loop.remove_reader(ours)
            order.append("io")

        loop.add_reader(ours, readable)
        loop.call_at(loop.time() - 2, order.append, "timer 1")
        loop.call_at(loop.time() - 1, order.append, "timer 2")
        loop.call_soon(boom, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert order == []
        run_once(loop)
        assert order == ["io", "timer 1", "timer 2"]


@pytest.mark.parametrize("source", ["timer", "reader", "writer", "signal", "threadsafe"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), ValueError("x")], ids=repr)
def test_every_kind_of_callback_may_raise(loop, source, error):
    contexts = reports(loop)
    with contextlib.ExitStack() as stack:
        ours, _theirs = (stack.enter_context(end) for end in socket.socketpair())

        def raiser():
            loop.remove_reader(ours)
            loop.remove_writer(ours)
            loop.call_soon(loop.stop)
            raise error

        match source:
            case "timer":
                loop.call_later(0, raiser)
            case "reader":
                _theirs.send(b"x")
                loop.add_reader(ours, raiser)
            case "writer":
                loop.add_writer(ours, raiser)
            case "signal":
                loop.add_signal_handler(signal.SIGUSR1, raiser)
                signal.raise_signal(signal.SIGUSR1)
            case "threadsafe":
                loop.call_soon_threadsafe(raiser)
        if isinstance(error, ValueError):
            loop.run_forever()
            assert len(contexts) == 1
        else:
            with pytest.raises(type(error)):
                loop.run_forever()
            loop.run_forever()
            assert contexts == []
        loop.remove_signal_handler(signal.SIGUSR1)
    goes_on(loop)


def test_a_watcher_whose_callback_raises_stays(loop):
    contexts = reports(loop)
    with contextlib.ExitStack() as stack:
        ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
        theirs.send(b"x")
        loop.add_reader(ours, boom, ValueError())
        for times in (1, 2, 3):
            run_once(loop)
            assert len(contexts) == times
        assert loop.remove_reader(ours)


@pytest.mark.parametrize("error", [KeyboardInterrupt("k"), SystemExit(3)], ids=repr)
def test_a_task_that_raises_one_keeps_it_too(loop, error):
    async def main():
        boom(error)

    order = []
    task = loop.create_task(main())
    loop.call_soon(order.append, 1)
    with pytest.raises(type(error)):
        loop.run_until_complete(task)
    assert task.done()
    assert task.exception() is error
    assert order == []
    run_once(loop)
    assert order == [1]


def test_run_until_complete_may_be_continued(loop):
    future = loop.create_future()
    loop.call_soon(boom, KeyboardInterrupt())
    loop.call_soon(future.set_result, 42)
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(future)
    assert not future.done()
    assert loop.run_until_complete(future) == 42


def test_a_stop_of_the_interrupted_run_is_forgotten(loop):
    order = []
    loop.call_soon(loop.stop)
    loop.call_soon(boom, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    # If the stop were remembered, this run would end after its first tick.
    loop.call_soon(lambda: loop.call_soon(lambda: loop.call_soon(order.append, 1)))
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    assert order == [1]


def test_a_cancelled_rest_stays_cancelled(loop):
    order = []
    loop.call_soon(boom, KeyboardInterrupt())
    handle = loop.call_soon(order.append, 1)
    loop.call_soon(order.append, 2)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    handle.cancel()
    run_once(loop)
    assert order == [2]


def test_the_rest_may_be_closed_away(loop_factory):
    loop, order = loop_factory(), []
    loop.call_soon(boom, KeyboardInterrupt())
    loop.call_soon(order.append, 1)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.close()
    assert order == []


def test_a_batch_of_nothing_but_errors_is_reported_in_order(loop):
    contexts = []
    loop.set_exception_handler(lambda _, context: contexts.append(context["exception"]))
    errors = [ValueError(number) for number in range(500)]
    for error in errors:
        loop.call_soon(boom, error)
    run_once(loop)
    assert contexts == errors


def test_the_error_s_traceback_starts_in_the_callback(loop):
    contexts = []
    loop.set_exception_handler(lambda _, context: contexts.append(context["exception"]))
    loop.call_soon(boom, ValueError())
    run_once(loop)
    traceback = contexts[0].__traceback__
    while traceback.tb_next:
        traceback = traceback.tb_next
    assert traceback.tb_frame.f_code is boom.__code__
