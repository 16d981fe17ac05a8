# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The calls about child processes, cancelled at each of their suspension points: no child and no descriptor is left, no
task goes on, no cancellation is swallowed, and a child whose answer was given up can still be asked, killed and waited
for."""

import asyncio
import contextlib
import os
import signal
import subprocess

import pytest
from helpers.loops import steps
from helpers.processes import Diary, children, numbers
from helpers.sweep import Swept, run, sweep_on

pytestmark = pytest.mark.usefixtures("no_child_is_left")

PIPE = subprocess.PIPE
# More than the pipe and both buffers take.
MUCH = bytes(number % 251 for number in range(400_000))


@pytest.fixture(params=["pidfd", "thread"])
def means(request, monkeypatch):
    """How our loop sees exits; asyncio's has its own way."""
    if request.param == "thread":
        monkeypatch.setenv("ONELOOP_CHILD_WATCH", "thread")


def until_closed(loop, before):
    """A wait may end before the pipes' transports were told to close."""
    for _ in range(20):
        if numbers() == before:
            return
        steps(loop, 1)


def spawning(start, end):
    """A child is started; when that is cancelled it is gone, and its protocol has heard of all or nothing."""

    def make(loop, stack, strict):
        diaries, before = [], numbers()

        def factory():
            diaries.append(Diary())
            return diaries[-1]

        def cancelled(loop):
            assert children() == {}
            until_closed(loop, before)
            for diary in diaries:
                assert diary.events[:1] in ([], [("made",)])
                if strict and diary.events:
                    assert diary.events[-1] == ("lost", None)

        def finished(result):
            assert len(children()) == 1
            run(loop, end(result))
            until_closed(loop, before)
            assert children() == {}

        return Swept(lambda: start(loop, factory), cancelled=cancelled, finished=finished)

    return make


def endpoint(*command, shell=False, **files):
    def start(loop, factory):
        spawn = loop.subprocess_shell if shell else loop.subprocess_exec
        return spawn(factory, *command, **files)

    async def end(result):
        transport, diary = result
        transport.close()
        await diary.lost
        assert diary.events[0] == ("made",)

    return spawning(start, end)


def process(**files):
    def start(loop, factory):
        return asyncio.create_subprocess_exec("sleep", "1000", **files)

    async def end(process):
        process.kill()
        assert await process.wait() == -signal.SIGKILL
        process._transport.close()

    return spawning(start, end)


def asking(call, *command, answer, help_=lambda process, iteration: None, **files):
    """A child that lives is asked; when that is cancelled it lives on, and can be asked for its end."""

    def make(loop, stack, strict):
        before = numbers()
        child = run(loop, asyncio.create_subprocess_exec(*command, **files))

        async def end():
            # Not by `kill()`, which asks after the child: before 3.12 asyncio's thread then misses how it ended.
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
            # Before some patch of 3.13 waiting goes on until the pipes are empty as well.
            for reader in filter(None, (child.stdout, child.stderr)):
                await reader.read()
            assert await child.wait() in (0, -signal.SIGKILL)
            assert child.returncode == await child.wait()
            child._transport.close()
            # From some patch of 3.13 on waiting ends earlier than what was written has gone or is given up.
            if child.stdin is not None:
                with contextlib.suppress(OSError):
                    await child.stdin.wait_closed()

        def over():
            run(loop, end())
            until_closed(loop, before)
            assert children() == {}

        def finished(result):
            assert result == answer
            over()

        return Swept(
            lambda: call(child),
            help=lambda iteration: help_(child, iteration),
            cancelled=lambda loop: over(),
            finished=finished,
        )

    return make


async def write_much(child):
    child.stdin.write(MUCH)
    await child.stdin.drain()


def kill(process, iteration):
    if iteration == 3:
        os.kill(process.pid, signal.SIGKILL)


def hang_up(process, iteration):
    """The child ends when somebody waits for it, and not before."""
    if iteration == 3:
        process.stdin.close()


CALLS = {
    "subprocess_exec": endpoint("sleep", "1000"),
    "subprocess_exec without pipes": endpoint("sleep", "1000", stdin=None, stdout=None, stderr=None),
    "subprocess_exec with one pipe": endpoint("sleep", "1000", stdin=None, stderr=subprocess.STDOUT),
    "subprocess_shell": endpoint("exec sleep 1000", shell=True),
    "create_subprocess_exec": process(stdin=PIPE, stdout=PIPE, stderr=PIPE),
    "create_subprocess_exec without pipes": process(),
    "communicate": asking(
        lambda child: child.communicate(b"hello"), "cat", answer=(b"hello", None), stdin=PIPE, stdout=PIPE
    ),
    "communicate of much": asking(
        lambda child: child.communicate(MUCH), "cat", answer=(MUCH, None), stdin=PIPE, stdout=PIPE
    ),
    "communicate without input": asking(
        lambda child: child.communicate(), "sh", "-c", "echo out; echo err >&2", answer=(b"out\n", b"err\n"),
        stdin=PIPE, stdout=PIPE, stderr=PIPE,
    ),
    "wait": asking(lambda child: child.wait(), "cat", answer=0, help_=hang_up, stdin=PIPE, stdout=PIPE),
    "wait without pipes": asking(lambda child: child.wait(), "sleep", "1000", answer=-signal.SIGKILL, help_=kill),
    "drain": asking(write_much, "sh", "-c", "cat >/dev/null", answer=None, stdin=PIPE),
    "read": asking(
        lambda child: child.stdout.read(), "sh", "-c", "read x; echo hello", answer=b"hello\n", help_=hang_up,
        stdin=PIPE, stdout=PIPE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_sweep(loop_name, loop_factory, call, monkeypatch, means):
    sweep_on(loop_name, loop_factory, monkeypatch, CALLS[call])
