# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Ctrl-C and SIGTERM, as `asyncio.Runner` promises them.

The first Ctrl-C cancels the main task, and KeyboardInterrupt is raised when that is done; the second one raises at
once, wherever the program is. SIGTERM ends the process unless there is a handler. Each case is a process of its own,
run by `asyncio.Runner` with the loop's factory, and by `oneloop.run` where that is the question.
"""

import signal

import pytest
from helpers import children

HEAD = """
import asyncio, os, signal, sys, threading, time
from helpers import loops
from helpers.blocked import signal_when_blocked
from helpers.loops import new_event_loop

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

def say(*words):
    print(*words, flush=True)

"""


def run(body, loop_name, **options):
    return children.run_program(HEAD + body, loop_name, **options)


def test_the_first_one_cancels_an_idle_main_task(loop_name):
    child = run(
        """
async def main():
    signal_when_blocked(signal.SIGINT)
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        say("cancelled")
        raise
    finally:
        say("cleaned up")
try:
    loops.run(main())
except KeyboardInterrupt as error:
    say("KeyboardInterrupt", error.args, type(error.__context__).__name__)
say(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
""",
        loop_name,
    )
    assert child.quiet, child
    assert child.out.splitlines() == ["cancelled", "cleaned up", "KeyboardInterrupt () CancelledError", "True"]


def test_the_first_one_cancels_a_busy_main_task(loop_name):
    child = run(
        """
async def main():
    asyncio.get_running_loop().call_soon(interrupt)
    try:
        while True:
            await asyncio.sleep(0)
    finally:
        say("cleaned up")
try:
    loops.run(main())
except KeyboardInterrupt:
    say("KeyboardInterrupt")
""",
        loop_name,
    )
    assert child.quiet, child
    assert child.out.splitlines() == ["cleaned up", "KeyboardInterrupt"]


def test_the_second_one_raises_at_once_inside_a_callback_that_never_yields(loop_name):
    child = run(
        """
def twice():
    task = asyncio.all_tasks(runner.get_loop()).pop()
    interrupt()
    # Only one until it was heard: a second one on top of it would be one too many.
    while not task.cancelling():
        time.sleep(0)
    interrupt()

async def main():
    try:
        threading.Thread(target=twice, daemon=True).start()
        while True:
            pass
    except KeyboardInterrupt:
        say("KeyboardInterrupt inside")
        raise
runner = asyncio.Runner(loop_factory=new_event_loop)
try:
    with runner:
        runner.run(main())
except KeyboardInterrupt:
    say("KeyboardInterrupt outside")
""",
        loop_name,
    )
    assert child.quiet, child
    assert child.out.splitlines() == ["KeyboardInterrupt inside", "KeyboardInterrupt outside"]


def test_the_second_one_ends_a_main_task_that_refuses_to_be_cancelled(loop_name):
    child = run(
        """
async def main():
    signal_when_blocked(signal.SIGINT)
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            say("not now")
            if not again:
                again.append(signal_when_blocked(signal.SIGINT))
            else:
                raise
again = []
try:
    loops.run(main())
except KeyboardInterrupt:
    say("KeyboardInterrupt")
""",
        loop_name,
    )
    assert child.quiet, child
    # The second one comes out of the loop; closing the runner then cancels the task once more, which now obeys.
    assert child.out.splitlines() == ["not now", "not now", "KeyboardInterrupt"]


def test_a_main_task_that_swallows_the_cancellation_returns(loop_name):
    child = run(
        """
async def main():
    signal_when_blocked(signal.SIGINT)
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        return "swallowed"
say(loops.run(main()))
""",
        loop_name,
    )
    assert child.quiet, child
    assert child.out.splitlines() == ["swallowed"]


def test_a_main_task_may_raise_something_else_instead(loop_name):
    child = run(
        """
async def main():
    signal_when_blocked(signal.SIGINT)
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        raise ValueError("instead") from None
try:
    loops.run(main())
except ValueError as error:
    say(repr(error))
""",
        loop_name,
    )
    assert child.quiet, child
    assert child.out.splitlines() == ["ValueError('instead')"]


def test_during_the_runner_s_cleanup_it_raises_and_the_loop_is_closed(loop_name):
    child = run(
        """
async def stubborn():
    try:
        await asyncio.sleep(3600)
    finally:
        say("stubborn")
        signal_when_blocked(signal.SIGINT)
        await asyncio.sleep(3600)

async def main():
    main.task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
runner = asyncio.Runner(loop_factory=new_event_loop)
try:
    with runner:
        loop = runner.get_loop()
        runner.run(main())
        say("main is done")
except KeyboardInterrupt:
    say("KeyboardInterrupt", loop.is_closed())
main.task._log_destroy_pending = False
""",
        loop_name,
    )
    assert child.returncode == 0, child
    assert child.out.splitlines() == ["main is done", "stubborn", "KeyboardInterrupt True"]


def test_while_a_sub_task_is_waited_for(loop_name):
    child = run(
        """
async def worker(name):
    try:
        await asyncio.sleep(3600)
    finally:
        say(name)

async def main():
    signal_when_blocked(signal.SIGINT)
    async with asyncio.TaskGroup() as group:
        for name in "ab":
            group.create_task(worker(name))
try:
    loops.run(main())
except KeyboardInterrupt:
    say("KeyboardInterrupt")
""",
        loop_name,
    )
    assert child.quiet, child
    assert sorted(child.out.splitlines()) == ["KeyboardInterrupt", "a", "b"]


def test_while_the_executor_works(loop_name):
    child = run(
        """
release = threading.Event()
async def main():
    signal_when_blocked(signal.SIGINT)
    try:
        await asyncio.get_running_loop().run_in_executor(None, release.wait)
    finally:
        release.set()
try:
    loops.run(main())
except KeyboardInterrupt:
    say("KeyboardInterrupt")
""",
        loop_name,
    )
    assert child.quiet, child
    assert child.out.splitlines() == ["KeyboardInterrupt"]


def test_a_runner_may_run_again_afterwards(loop_name):
    child = run(
        """
async def interrupted():
    signal_when_blocked(signal.SIGINT)
    await asyncio.sleep(3600)

async def fine():
    await asyncio.sleep(0)
    return "fine"
with asyncio.Runner(loop_factory=new_event_loop) as runner:
    for _ in range(3):
        try:
            runner.run(interrupted())
        except KeyboardInterrupt:
            say("KeyboardInterrupt", runner.run(fine()))
""",
        loop_name,
    )
    assert child.quiet, child
    assert child.out.splitlines() == ["KeyboardInterrupt fine"] * 3


def test_the_user_s_own_handler_is_left_alone(loop_name):
    child = run(
        """
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
async def main():
    interrupt()
    await asyncio.sleep(0)
    return "undisturbed"
say(loops.run(main()), seen)
""",
        loop_name,
    )
    assert child.quiet, child
    assert child.out.splitlines() == ["undisturbed [1]"]


def test_a_runner_in_another_thread_leaves_it_alone(loop_name):
    child = run(
        """
def target():
    async def main():
        ready.set()
        await release
        say("released")
    async def outer():
        global release
        release = asyncio.get_running_loop().create_future()
        await main()
    loops.run(outer())
ready = threading.Event()
thread = threading.Thread(target=target)
thread.start()
ready.wait()
try:
    interrupt()
    time.sleep(10)
except KeyboardInterrupt:
    say("KeyboardInterrupt in the main thread")
release.get_loop().call_soon_threadsafe(release.set_result, None)
thread.join()
""",
        loop_name,
    )
    assert child.quiet, child
    assert child.out.splitlines() == ["KeyboardInterrupt in the main thread", "released"]


def test_uncaught_it_ends_the_process_as_python_says(loop_name):
    child = run(
        """
async def main():
    signal_when_blocked(signal.SIGINT)
    await asyncio.sleep(3600)
loops.run(main())
""",
        loop_name,
    )
    assert child.returncode == -signal.SIGINT, child
    assert child.err.rstrip().endswith("KeyboardInterrupt")
    assert "Traceback" in child.err


def test_run_forever_without_a_runner(loop_name):
    child = run(
        """
loop = new_event_loop()
signal_when_blocked(signal.SIGINT)
try:
    loop.run_forever()
except KeyboardInterrupt:
    say("KeyboardInterrupt", loop.is_running())
loop.close()
""",
        loop_name,
    )
    assert child.quiet, child
    assert child.out.splitlines() == ["KeyboardInterrupt False"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_another_signal_has_its_default_effect(loop_name, signum):
    child = run(
        f"""
signal.signal({int(signum)}, signal.SIG_DFL)  # nohup, say, has it ignored
loop = new_event_loop()
signal_when_blocked({int(signum)})
loop.run_forever()
""",
        loop_name,
    )
    assert child.returncode == -signum, child
    assert child.err == ""


def test_a_graceful_end_by_sigterm(loop_name):
    child = run(
        """
async def main():
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    signal_when_blocked(signal.SIGTERM)
    await done.wait()
    return "graceful"
say(loops.run(main()))
say(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
""",
        loop_name,
    )
    assert child.quiet, child
    assert child.out.splitlines() == ["graceful", "True"]


def test_timer_signals_at_any_moment_are_neither_lost_nor_fatal(oneloop):
    # The handler raises wherever it hits, around the moment at which the loop goes to sleep; each single one has to end
    # the wait. (asyncio's loop sleeps through some, and is left running by one that hits its own clean-up.)
    child = run(
        """
class Alarm(Exception):
    pass
def handler(*_):
    raise Alarm
signal.signal(signal.SIGALRM, handler)
loop = new_event_loop()
count = 0
for number in range(300):
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-6 + number % 100 * 2e-6)
        loop.run_forever()
    except Alarm:
        count += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
loop.call_soon(loop.stop)
loop.run_forever()
loop.close()
say(count)
""",
        "oneloop",
    )
    assert child.quiet, child
    assert child.out.splitlines() == ["300"]


def test_oneloop_run_keeps_the_promise_too(oneloop):
    child = run(
        """
import oneloop
async def main():
    signal_when_blocked(signal.SIGINT)
    try:
        await asyncio.sleep(3600)
    finally:
        say("cleaned up")
try:
    oneloop.run(main())
except KeyboardInterrupt:
    say("KeyboardInterrupt")
""",
        "oneloop",
    )
    assert child.quiet, child
    assert child.out.splitlines() == ["cleaned up", "KeyboardInterrupt"]
