# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Random sequences of operations on a child process end as on asyncio's loop, and every wait can be given up anywhere.

The child is a shell that obeys lines. A sequence only does what has one outcome: a child is killed when all that it was
told to say has arrived, for instance. Then what arrived, the return code and who was told of what are asyncio's.
"""

import asyncio
import random
import subprocess

import pytest
from helpers.compare import like_asyncio
from helpers.loops import steps
from helpers.processes import Diary, children, numbers, soon

pytestmark = pytest.mark.usefixtures("no_child_is_left")

OBEY = """
while read op n; do
    case $op in
        out) head -c $n /dev/zero;;
        err) head -c $n /dev/zero >&2;;
        hush) exec >&-;;
        leave) exit $n;;
    esac
done
exit 99
"""


class Sequence:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.expected = {1: 0, 2: 0}
        self.paused = set()
        self.hushed = False
        self.over = False

    async def run(self):
        loop = asyncio.get_running_loop()
        self.transport, self.diary = await loop.subprocess_exec(Diary, "sh", "-c", OBEY)
        self.stdin = self.transport.get_pipe_transport(0)
        operations = [self.say, self.say, self.say, self.pause, self.resume, self.pass_time, self.give_up_a_wait]
        for _ in range(self.random.randrange(1, 15)):
            await self.random.choice(operations)()
        await self.random.choice([self.hush, self.pass_time])()
        await self.random.choice([self.leave, self.hang_up, self.kill, self.close])()
        self.resume_all()
        await self.diary.lost
        self.transport.close()
        told = [event if event[0] != "pipe lost" else event[:2] for event in self.diary.events]
        return {
            "arrived": {fd: (len(data), set(data) <= {0}) for fd, data in self.diary.output.items()},
            "returncode": (self.transport.get_returncode(), await self.transport._wait()),
            "told": (told[0], sorted(told, key=repr), told[-1]),
            "later": [type(await self.outcome(call)) for call in (self.transport.kill, self.transport.close)],
        }

    async def outcome(self, call):
        try:
            return call()
        except Exception as error:
            return error

    def tell(self, line):
        self.stdin.write(line.encode() + b"\n")

    async def say(self):
        fd = self.random.choice([1, 2])
        count = self.random.choice([1, 10, 5000, 70_000, 300_000])
        self.expected[fd] += count
        self.tell(f"{'out' if fd == 1 else 'err'} {count}")

    async def pause(self):
        fd = self.random.choice([1, 2])
        self.paused.add(fd)
        self.transport.get_pipe_transport(fd).pause_reading()

    async def resume(self):
        fd = self.random.choice([1, 2])
        self.paused.discard(fd)
        self.transport.get_pipe_transport(fd).resume_reading()

    def resume_all(self):
        for fd in self.paused:
            self.transport.get_pipe_transport(fd).resume_reading()
        self.paused.clear()

    async def pass_time(self):
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(self.random.choice([0, 0, 0.001]))

    async def give_up_a_wait(self):
        waiting = asyncio.ensure_future(self.transport._wait())
        await self.pass_time()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()

    async def everything_said(self):
        self.resume_all()
        await soon(lambda: self.expected == {fd: len(data) for fd, data in self.diary.output.items()})

    async def hush(self):
        await self.everything_said()
        self.tell("hush")
        await soon(lambda: ("pipe lost", 1, "NoneType") in self.diary.events)

    async def leave(self):
        self.tell("leave 7")

    async def hang_up(self):
        self.stdin.close()

    async def kill(self):
        await self.everything_said()
        self.random.choice([self.transport.kill, self.transport.get_extra_info("subprocess").kill])()

    async def close(self):
        await self.everything_said()
        self.transport.close()


@pytest.mark.parametrize("seed", range(30))
def test_a_random_sequence(oneloop, seed):
    def scenario(factory):
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(Sequence(seed).run())

    like_asyncio(scenario, oneloop.new_event_loop)


@pytest.mark.parametrize("operation", ["communicate", "wait", "drain", "read"])
def test_whatever_waits_for_a_child_can_be_cancelled_at_every_step(loop, operation):
    """Nobody is hurt: the child lives on, and everything is still there to be asked for."""

    async def operate(process):
        if operation == "communicate":
            await process.communicate(bytes(1 << 20))
        elif operation == "wait":
            await process.wait()
        elif operation == "drain":
            process.stdin.write(bytes(1 << 20))
            await process.stdin.drain()
        else:
            await process.stdout.read()

    steps(loop, 1)
    before = numbers()
    for count in range(8):
        create = asyncio.create_subprocess_exec(
            "sh", "-c", "exec sleep 1000", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        process = loop.run_until_complete(create)
        task = loop.create_task(operate(process))
        steps(loop, count)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        assert process.returncode is None
        waiting = loop.create_task(process.wait())
        steps(loop, count)
        process._transport.close()
        assert loop.run_until_complete(waiting) == -9
        steps(loop, 5)
    assert (numbers(), children()) == (before, {})
