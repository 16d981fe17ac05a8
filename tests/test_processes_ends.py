# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Unusual ends of child processes: spawns that are cancelled or fail half-way, children that somebody else reaps, loops
that are closed first, forks. Nothing hangs, and nothing is left behind."""

import asyncio
import contextlib
import errno
import gc
import os
import signal
import subprocess
import threading
import time
import warnings
import weakref

import pytest
from helpers.children import run_program
from helpers.compare import like_asyncio, logged
from helpers.loops import steps
from helpers.processes import Diary, children, eventually, few_descriptors, numbers, soon, state

pytestmark = pytest.mark.usefixtures("no_child_is_left")

PIPE = subprocess.PIPE


@pytest.fixture(params=["pidfd", "thread"])
def means(request, monkeypatch):
    """How our loop sees exits; where a sandbox refuses pidfds, by a thread for each child."""
    if request.param == "thread":
        monkeypatch.setenv("ONELOOP_CHILD_WATCH", "thread")
    return request.param


@pytest.fixture
def loop(loop):
    yield loop
    # A wait may end before the transport has been told to close.
    if not loop.is_closed():
        steps(loop, 5)


def run(factory, main, **kwargs):
    with asyncio.Runner(loop_factory=factory, **kwargs) as runner:
        return runner.run(main())


@pytest.fixture
def watching_threads():
    """The threads that wait for children, by their name; those that wait for one that lives on are not counted."""
    return lambda: [
        name for task in os.listdir("/proc/self/task") if (name := _name_of(task)).startswith("oneloop-child")
    ]


def _name_of(task):
    with contextlib.suppress(FileNotFoundError), open(f"/proc/self/task/{task}/comm") as file:
        return file.read()
    return ""


def test_the_means_are_what_they_are_said_to_be(oneloop, means, watching_threads):
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        assert process._transport._is_pidfd is (means == "pidfd")
        await soon(lambda: len(watching_threads()) == (means == "thread"))
        process.stdin.close()
        assert await process.wait() == 0

    run(oneloop.new_event_loop, main)
    eventually(lambda: watching_threads() == [])


def test_exits_are_seen_and_told_by_either_means(oneloop, means):
    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        process.terminate()
        assert await process.wait() == -signal.SIGTERM
        process = await asyncio.create_subprocess_shell("cat; exit 9", stdin=PIPE, stdout=PIPE)
        assert await process.communicate(b"x" * 1_000_000) == (b"x" * 1_000_000, None)
        assert process.returncode == 9

    run(oneloop.new_event_loop, main)


# Somebody else reaps.


@contextlib.contextmanager
def nobody_waits():
    """The kernel reaps children by itself, as it does for a daemon that ignores SIGCHLD."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_the_status_of_a_child_that_nobody_knows_any_more(loop_factory):
    def scenario(factory):
        async def main():
            with logged() as lines:
                process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
                out, _ = await process.communicate(b"x")
                assert (out, process.returncode, await process.wait()) == (b"x", 255, 255)
            return [line.replace(str(process.pid), "N") for line in lines]

        with nobody_waits():
            return run(factory, main)

    (warning,) = like_asyncio(scenario, loop_factory)
    assert "will report returncode 255" in warning


def test_a_thread_that_waits_has_its_own_words(oneloop, monkeypatch):
    monkeypatch.setenv("ONELOOP_CHILD_WATCH", "thread")

    async def main():
        with logged() as lines:
            process = await asyncio.create_subprocess_exec("true")
            assert await process.wait() == 255
        assert lines == [
            f"WARNING: Unknown child process pid {process.pid}, will report returncode 255 [NoneType: None]"
        ]

    with nobody_waits():
        run(oneloop.new_event_loop, main)


def test_a_child_that_is_reaped_by_its_number_is_over(oneloop, means):
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        waiting = asyncio.ensure_future(process.wait())
        await asyncio.sleep(0)
        process.kill()
        with logged() as lines:
            # While the loop stands still.
            os.waitpid(process.pid, 0)
            assert await waiting == 255
        assert len(lines) == 1

    run(oneloop.new_event_loop, main)


@pytest.mark.parametrize("how", ["poll", "wait"])
def test_what_its_popen_knows_is_the_status(oneloop, means, how):
    async def main():
        process = await asyncio.create_subprocess_shell("read line; exit 3", stdin=PIPE)
        popen = process._transport.get_extra_info("subprocess")
        process.stdin.write(b"\n")
        with logged() as lines:
            if how == "wait":
                assert popen.wait() == 3
            else:
                eventually(lambda: popen.poll() == 3)
            assert process.returncode is None
            assert await process.wait() == 3
        assert lines == []

    run(oneloop.new_event_loop, main)


def test_a_reaped_child_is_not_signalled(oneloop, means, monkeypatch):
    """Its number may be somebody else's by then."""

    async def main():
        process = await asyncio.create_subprocess_shell("read line", stdin=PIPE)
        popen = process._transport.get_extra_info("subprocess")
        process.stdin.write(b"\n")
        popen.wait()
        monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("nobody is to be signalled"))
        for signal_it in (process.kill, process.terminate, lambda: process.send_signal(signal.SIGUSR1)):
            signal_it()
        assert await process.wait() == 0

    run(oneloop.new_event_loop, main)


def test_a_child_keeps_its_number_until_its_exit_is_told(oneloop, means):
    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        process.kill()
        # While the loop stands still: nobody else reaps it, so signalling it is safe.
        eventually(lambda: state(process.pid) == "Z")
        time.sleep(0.01)
        assert process.returncode is None
        assert os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG).si_pid == process.pid
        process.kill()
        assert await process.wait() == -signal.SIGKILL

    run(oneloop.new_event_loop, main)


# Spawns that do not get far.


def test_a_spawn_can_be_cancelled_at_every_step(oneloop, means):
    """Afterwards the child is gone, whatever had been connected by then."""
    loop = oneloop.new_event_loop()
    steps(loop, 1)
    before, at_once = numbers(), 0
    for count in range(12):
        spawning = loop.create_task(
            asyncio.create_subprocess_exec("sleep", "1000", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        )
        steps(loop, count)
        if spawning.done():
            break
        at_once += 1
        spawning.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(spawning)
        assert children() == {}
        steps(loop, 3)
        assert numbers() == before
    process = spawning.result()
    process.kill()
    loop.run_until_complete(process.wait())
    assert at_once > 2
    loop.close()


def test_a_cancelled_spawns_protocol_hears_of_all_or_nothing(loop):
    diaries = []

    def factory():
        diaries.append(Diary())
        return diaries[-1]

    for count in range(12):
        spawning = loop.create_task(loop.subprocess_exec(factory, "sleep", "1000"))
        steps(loop, count)
        if spawning.done():
            break
        spawning.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(spawning)
        steps(loop, 5)
    transport, diary = spawning.result()
    transport.close()
    loop.run_until_complete(diary.lost)
    for diary in diaries:
        assert diary.events[:1] == [("made",)]
        assert diary.events[-1:] == [("lost", None)]
        assert len(diary.events) == 6


@pytest.mark.parametrize("fd", [0, 1, 2])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "no room"), asyncio.CancelledError()], ids=["oserror", "cancel"]
)
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_pipe_that_cannot_be_connected_ends_the_child(oneloop, means, fd, error, late):
    class Broken(oneloop.Loop):
        calls = 0

        async def _connect(self, connect, factory, pipe):
            self.calls += 1
            if self.calls == fd + 1:
                if late:
                    await connect(factory, pipe)
                raise error
            return await connect(factory, pipe)

        async def connect_read_pipe(self, factory, pipe):
            return await self._connect(super().connect_read_pipe, factory, pipe)

        async def connect_write_pipe(self, factory, pipe):
            return await self._connect(super().connect_write_pipe, factory, pipe)

    async def main():
        before = numbers()
        with pytest.raises(type(error)):
            await asyncio.create_subprocess_exec("sleep", "1000", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        assert children() == {}
        await soon(lambda: numbers() == before)

    run(Broken, main)


def test_a_child_whose_exit_cannot_be_watched_is_killed(oneloop):
    class Blind(oneloop.Loop):
        def _watch_child(self, pid, callback):
            raise OSError(errno.ENFILE, "no descriptors left")

    async def main():
        before = numbers()
        with pytest.raises(OSError, match="no descriptors left"):
            await asyncio.create_subprocess_exec("sleep", "1000", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        assert (children(), numbers()) == ({}, before)

    run(Blind, main)


def test_however_few_descriptors_are_left_nothing_is_lost(oneloop, means):
    async def main():
        # What is opened but once is open by then.
        await (await asyncio.create_subprocess_exec("true")).wait()
        outcomes = []
        for left in range(14):
            with few_descriptors(left):
                before = numbers_without_opening()
                outcomes.append(await run_cat())
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert numbers_without_opening() == before
            assert children() == {}
        assert outcomes == sorted(outcomes)
        assert set(outcomes) == {"EMFILE", "it ran"}

    run(oneloop.new_event_loop, main)


async def run_cat():
    try:
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    except OSError as error:
        return errno.errorcode[error.errno]
    out, err = await process.communicate(b"x")
    assert (out, err, process.returncode) == (b"x", b"", 0)
    return "it ran"


def numbers_without_opening():
    return {number for number in range(256) if _is_open(number)}


def _is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


# Loops that are closed first.


def start_and_close(factory, **kwargs):
    """A child whose loop was closed, which nobody refers to any more; its number and what was warned of."""
    loop = factory()
    process = loop.run_until_complete(asyncio.create_subprocess_exec("sleep", "1000", **kwargs))
    pid = process.pid
    loop.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del process, loop
        gc.collect()
    return pid, [(warning.category, str(warning.message)) for warning in caught]


def test_a_closed_loops_child_is_killed_when_nobody_refers_to_it(oneloop, means):
    before = numbers()
    pid, caught = start_and_close(oneloop.new_event_loop, stdin=PIPE, stdout=PIPE)
    assert all(category is ResourceWarning for category, _ in caught)
    said = [text for _, text in caught]
    assert sum(text.startswith("unclosed transport <SubprocessTransport") for text in said) == 1
    assert sum(text.startswith("unclosed transport") for text in said) == 3
    assert f"subprocess {pid} is still running" in said
    eventually(lambda: state(pid) in ("Z", None))
    # The subprocess module has taken it over, and reaps it when the next child is made.
    subprocess.run(["true"], check=True)
    assert children() == {}
    eventually(lambda: numbers() == before)


def test_closing_a_transport_of_a_closed_loop_kills_the_child(oneloop, means):
    loop = oneloop.new_event_loop()
    transport, _ = loop.run_until_complete(
        loop.subprocess_exec(Diary, "sleep", "1000", stdin=None, stdout=None, stderr=None)
    )
    loop.close()
    transport.close()
    assert transport.get_extra_info("subprocess").wait() == -signal.SIGKILL
    assert transport.get_returncode() is None


def test_a_loop_with_children_is_closed_without_a_trace(oneloop, means):
    before = numbers()
    loop = oneloop.new_event_loop()
    process = loop.run_until_complete(asyncio.create_subprocess_exec("sleep", "1000"))
    assert len(numbers()) > len(before)
    loop.close()
    assert numbers() == before
    process._transport.close()
    process._transport.get_extra_info("subprocess").wait()


def test_a_loop_that_is_dropped_with_children_is_collected(oneloop, means):
    def drop():
        loop = oneloop.new_event_loop()
        process = loop.run_until_complete(asyncio.create_subprocess_exec("sleep", "1000", stdin=PIPE))
        return weakref.ref(loop), weakref.ref(process), process.pid

    loop, process, pid = drop()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
    assert {warning.category for warning in caught} == {ResourceWarning}
    # The record holds what it warns about.
    caught.clear()
    gc.collect()
    assert (loop(), process()) == (None, None)
    eventually(lambda: state(pid) in ("Z", None))
    subprocess.run(["true"], check=True)


def test_a_program_that_ends_with_a_running_child(loop_name):
    finished = run_program(
        """
        import asyncio
        from helpers.loops import run

        async def main():
            # Where it is left running, it shall not keep our pipes.
            process = await asyncio.create_subprocess_exec("sleep", "1000", stdin=-3, stdout=-3, stderr=-3)
            print(process.pid)

        run(main())
        """,
        loop_name,
    )
    assert finished.returncode == 0
    pid = int(finished.out)
    if loop_name == "oneloop":
        eventually(lambda: state(pid) in ("Z", None))
    else:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


# Forks, threads, time limits.


def test_a_process_that_has_children_can_fork(loop_name):
    finished = run_program(
        """
        import asyncio, os, signal, sys
        from helpers.loops import run

        async def main():
            process = await asyncio.create_subprocess_shell("cat; exit 7", stdin=-1, stdout=-1)
            pid = os.fork()
            if pid == 0:
                # What multiprocessing's children do: they leave without cleaning up.
                os._exit(0 if process.returncode is None else 1)
            os.waitpid(pid, 0)
            print(await process.communicate(b"x"), process.returncode)

        run(main())
        """,
        loop_name,
    )
    assert (finished.out, finished.err) == ("(b'x', None) 7\n", "")


def test_a_forked_child_goes_on_without_its_parents_children():
    finished = run_program(
        """
        import asyncio, logging, os, sys
        from helpers.loops import new_event_loop

        logging.basicConfig()
        loop = new_event_loop()
        process = loop.run_until_complete(asyncio.create_subprocess_shell("read line; exit 7", stdin=-1))
        pid = os.fork()
        if pid == 0:
            async def child():
                own = await asyncio.create_subprocess_shell("exit 8")
                assert await own.wait() == 8
                # Nobody here knows how it ended, and it is not killed either.
                assert await process.wait() == 255
            loop.run_until_complete(child())
            process._transport.close()
            loop.close()
            os._exit(0)
        process.stdin.write(b"\\n")
        print(loop.run_until_complete(process.wait()), os.waitpid(pid, 0)[1])
        loop.close()
        """,
        "oneloop",
    )
    assert finished.out == "7 0\n"
    assert finished.err.count("will report returncode 255") == 1


def test_a_time_limit_on_a_child(loop):
    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "1000", stdin=PIPE, stdout=PIPE)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.communicate(b"x"), 0.02)
        assert process.returncode is None
        process.kill()
        assert await process.wait() == -signal.SIGKILL

    loop.run_until_complete(main())


def test_a_child_that_stops_and_goes_on_has_not_exited(oneloop, means):
    async def main():
        process = await asyncio.create_subprocess_shell("kill -STOP $$; exit 4")
        await soon(lambda: state(process.pid) == "T")
        for _ in range(5):
            await asyncio.sleep(0.001)
        assert process.returncode is None
        process.send_signal(signal.SIGCONT)
        assert await process.wait() == 4

    run(oneloop.new_event_loop, main)


def test_a_child_is_watched_by_its_own_loop_only(oneloop):
    loop, errors = oneloop.new_event_loop(), []

    def other():
        try:
            loop._watch_child(os.getpid(), print)
        except RuntimeError as error:
            errors.append(str(error))

    def start_other():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    loop.call_soon(start_other)
    steps(loop, 1)
    loop.close()
    assert errors == ["Non-thread-safe operation invoked on an event loop other than the current one"]
    with pytest.raises(RuntimeError, match="closed"):
        loop._watch_child(os.getpid(), print)


@pytest.mark.parametrize("pid", [-1, 0, 1 << 31, 1 << 40, "1", None])
def test_what_is_no_process_is_refused(oneloop, pid):
    loop = oneloop.new_event_loop()
    with pytest.raises((TypeError, ValueError, OverflowError, OSError)):
        loop._watch_child(pid, print)
    loop.close()
