# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Random programs of callbacks, timers, cancellations and descriptors run in the same order as on asyncio's loop.

A program is a tree of operations drawn from a seed: each callback records that it ran and performs its own operations.
The clock is the program's own and moves only when the program says so, so that a timer is due at the same point on both
loops.
"""

import asyncio
import contextlib
import os
import random

import pytest

import oneloop

ITERATIONS = 60
LIMIT = 400


class Program:
    """One random program on one loop; `trace` is what it did."""

    def __init__(self, loop, seed):
        self.loop = loop
        self.random = random.Random(seed)
        self.now = 1000.0
        self.trace = []
        self.handles = []
        self.readers = {}
        loop.time = lambda: self.now

    def run(self):
        self.pipes = [os.pipe() for _ in range(2)]
        for reader, _ in self.pipes:
            os.set_blocking(reader, False)
        try:
            for _ in range(4):
                self.operate()
            self.loop.call_soon(self.tick, ITERATIONS)
            for _ in range(20):
                try:
                    self.loop.run_forever()
                except KeyboardInterrupt as exc:
                    self.trace.append(("interrupted", *exc.args))
                else:
                    self.trace.append("stopped")
            return self.trace
        finally:
            self.loop.close()
            for pipe in self.pipes:
                for fd in pipe:
                    os.close(fd)

    def tick(self, left):
        """Keeps the loop from waiting, and ends the run."""
        self.trace.append(("tick", left))
        if left:
            self.loop.call_soon(self.tick, left - 1)
        else:
            self.loop.call_soon(self.tick, 0)
            self.loop.stop()

    def operate(self):
        choices = {
            self.soon: 5,
            self.threadsafe: 3,
            self.later: 6,
            self.at_once: 1,
            self.cancel: 4,
            self.advance: 4,
            self.watch: 2,
            self.unwatch: 1,
            self.write: 2,
            self.stop: 1,
            self.fail: 1,
            self.interrupt: 1,
        }
        self.random.choices(list(choices), list(choices.values()))[0]()

    def callback(self):
        """A new callback, numbered in the order of its making."""
        if len(self.handles) >= LIMIT:
            return lambda: None
        number = len(self.handles)
        count = self.random.choice((1, 2, 3, 4))

        def call():
            self.trace.append((number, self.now))
            for _ in range(count):
                self.operate()

        return call

    def soon(self):
        self.handles.append(self.loop.call_soon(self.callback()))

    def threadsafe(self):
        self.handles.append(self.loop.call_soon_threadsafe(self.callback()))

    def later(self):
        # No two deadlines are equal: such timers run in the order of their making here, in any order on asyncio's loop.
        delay = self.random.choice((0.0, 0.0, 1.0, 1.0, 2.0, 3.5, -1.0, float("inf"))) + len(self.handles) / 2**20
        self.handles.append(self.loop.call_later(delay, self.callback()))

    def at_once(self):
        self.handles.append(self.loop.call_at(self.now + len(self.handles) / 2**20, self.callback()))

    def cancel(self):
        if self.handles:
            self.random.choice(self.handles).cancel()

    def advance(self):
        self.now += self.random.choice((0.5, 1.0, 2.0))

    def watch(self):
        reader, _ = self.random.choice(self.pipes)
        call = self.callback()

        def readable():
            # What an interrupt left over is delivered again, to a pipe that is empty by then.
            with contextlib.suppress(BlockingIOError):
                self.trace.append(("readable", os.read(reader, 100)))
            call()

        self.loop.add_reader(reader, readable)

    def unwatch(self):
        reader, _ = self.random.choice(self.pipes)
        self.trace.append(("unwatched", self.loop.remove_reader(reader)))

    def write(self):
        _, writer = self.random.choice(self.pipes)
        os.write(writer, b"x")

    def stop(self):
        self.trace.append("stop")
        self.loop.stop()

    def fail(self):
        self.handles.append(self.loop.call_soon(self.raising, ValueError("reported")))

    def interrupt(self):
        self.handles.append(self.loop.call_soon(self.raising, KeyboardInterrupt(len(self.handles))))

    def raising(self, exc):
        self.trace.append(("raises", type(exc).__name__))
        raise exc


def trace(factory, seed):
    loop = factory()
    loop.set_exception_handler(lambda loop, context: program.trace.append(context["message"].split(" at ")[0]))
    program = Program(loop, seed)
    return program.run()


@pytest.mark.parametrize("chunk", range(10))
def test_random_programs_run_as_on_asyncio(chunk):
    for seed in range(chunk * 30, chunk * 30 + 30):
        ours = trace(oneloop.new_event_loop, seed)
        theirs = trace(asyncio.SelectorEventLoop, seed)
        assert ours == theirs, f"seed {seed}"
        assert len(ours) > ITERATIONS, f"seed {seed}"
