# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Many child processes: as many at once as the descriptors allow, one after the other, from several threads; nothing
grows with their number."""

import asyncio
import gc
import os
import resource
import signal
import subprocess
import sys
import threading

import pytest
from helpers.children import run_program
from helpers.processes import children, eventually, numbers

pytestmark = pytest.mark.usefixtures("no_child_is_left")

PIPE = subprocess.PIPE

# Three pipes and an exit each, and some for everybody else.
BATCH = max(10, min(250, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100) // 8))


@pytest.fixture(params=["pidfd", "thread"])
def means(request, monkeypatch):
    if request.param == "thread":
        monkeypatch.setenv("ONELOOP_CHILD_WATCH", "thread")


def run(factory, main):
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


async def echo(number):
    """A child that lives until it has read its number, and says it."""
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    out, _ = await process.communicate(b"%d" % number)
    return int(out), process.returncode


@pytest.mark.parametrize("part", range(0, 2000, 500))  # so that a busy machine has time enough for each
def test_two_thousand_children(loop_factory, part):
    async def main():
        seen = []
        for start in range(part, part + 500, BATCH):
            batch = range(start, min(start + BATCH, part + 500))
            seen += await asyncio.gather(*map(echo, batch))
        assert seen == [(number, 0) for number in range(part, part + 500)]

    before = numbers()
    run(loop_factory, main)
    assert (numbers(), children()) == (before, {})


def test_a_crowd_that_dies_at_once(oneloop, means):
    async def main():
        crowd = [await asyncio.create_subprocess_exec("sleep", "1000") for _ in range(BATCH)]
        assert len(children()) == BATCH
        for process in crowd:
            process.kill()
        assert await asyncio.gather(*(process.wait() for process in crowd)) == [-signal.SIGKILL] * BATCH

    before = numbers()
    run(oneloop.new_event_loop, main)
    assert (numbers(), children()) == (before, {})


def test_children_of_several_threads(oneloop, means):
    results = []

    async def main(start):
        for number in range(start, start + 20):
            results.append((number, await echo(number)))

    def run_one(start):
        with asyncio.Runner(loop_factory=oneloop.new_event_loop) as runner:
            runner.run(main(start))

    before = numbers()
    threads = [threading.Thread(target=run_one, args=(start,)) for start in range(0, 100, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(number, (number, 0)) for number in range(100)]
    assert (numbers(), children()) == (before, {})


def test_nothing_grows_with_the_children(oneloop, means):
    def objects():
        gc.collect()
        return len(gc.get_objects())

    async def some(count):
        for number in range(count):
            assert await echo(number) == (number, 0)

    async def main():
        await some(20)
        before = objects(), len(numbers()), sys.getallocatedblocks()
        await some(150)
        after = objects(), len(numbers()), sys.getallocatedblocks()
        assert after[1] == before[1]
        # One object for every other child would be a leak; what a busy machine has in flight is less.
        assert after[0] - before[0] < 75
        assert after[2] - before[2] < 200

    run(oneloop.new_event_loop, main)
    eventually(lambda: not _watching_threads())


def _watching_threads():
    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm") as file:
                names.append(file.read())
        except FileNotFoundError:
            continue
    return [name for name in names if name.startswith("oneloop-child")]


@pytest.mark.parametrize("options", [("-X", "dev", "-W", "error")])
def test_a_program_with_children_has_nothing_to_complain_about(loop_name, options):
    finished = run_program(
        """
        import asyncio, subprocess, logging
        from helpers.loops import run

        logging.getLogger("asyncio").setLevel(logging.ERROR)

        async def main():
            process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1, stderr=-1)
            print(await process.communicate(b"x"))
            process = await asyncio.create_subprocess_shell("exit 3")
            print(await process.wait())
            process = await asyncio.create_subprocess_exec("sleep", "1000", stdout=-1)
            process.kill()
            await process.communicate()
            spawning = asyncio.create_task(asyncio.create_subprocess_exec("sleep", "1000", stdin=-1))
            await asyncio.sleep(0)
            spawning.cancel()
            await asyncio.wait([spawning])
            print(spawning.cancelled())
            try:
                await asyncio.create_subprocess_exec("/nowhere/to/be/found")
            except FileNotFoundError:
                print("not found")

        run(main(), debug=True)
        """,
        loop_name,
        options=options,
    )
    assert (finished.out, finished.err) == ("(b'x', b'')\n3\nTrue\nnot found\n", "")
