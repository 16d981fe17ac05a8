# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The interpreter may exit while a daemon thread is anywhere inside a loop: it does so quietly.

Before 3.14 CPython ends such a thread by unwinding its stack, at the moment when it wants the GIL back; in native
code that does not expect it the whole process aborts. Each row is one place where the thread may be at that moment.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import pytest
from helpers import children

PROCESSES = 16  # for each place: about 200 in all
AT_ONCE = 4

# What the daemon thread does, for ever; `loop` is its loop. The main thread goes on to exit once something ran.
PLACES = {
    "in an operand of call_later": """
        class Delay:
            def __radd__(self, now):
                started.set()
                time.sleep(0.0005)
                return now
        while True:
            loop.call_later(Delay(), print)
    """,
    "in a fileno method": """
        class File:
            def fileno(self):
                started.set()
                time.sleep(0.0005)
                return 0
        while True:
            loop.remove_reader(File())
    """,
    "in the finalizer of a handle's argument, nothing else": """
        class Slow:
            def __del__(self):
                started.set()
                time.sleep(0.0005)
        while True:
            loop.call_soon(print, Slow()).cancel()
    """,
    "spinning in a callback": """
        def spin():
            started.set()
            while True: pass
        loop.call_soon(spin)
        loop.run_forever()
    """,
    "in a callback that gives up the GIL": """
        def wait():
            started.set()
            while True: time.sleep(0)
        loop.call_soon(wait)
        loop.run_forever()
    """,
    "waiting for nothing": """
        loop.call_soon(started.set)
        loop.run_forever()
    """,
    "between callbacks": """
        def again():
            started.set()
            loop.call_soon(again)
        loop.call_soon(again)
        loop.run_forever()
    """,
    "between callbacks, in debug mode": """
        def again():
            started.set()
            loop.call_soon(again)
        loop.set_debug(True)
        loop.slow_callback_duration = 1e9  # on a busy machine the log would have something to say
        loop.call_soon(again)
        loop.run_forever()
    """,
    "between timers": """
        def again():
            started.set()
            loop.call_later(0.0002, again)
        loop.call_soon(again)
        loop.run_forever()
    """,
    "between events": """
        ours, theirs = socket.socketpair()
        theirs.send(b"x")
        loop.add_reader(ours, started.set)
        loop.run_forever()
    """,
    "between task steps": """
        async def spawn():
            while True:
                started.set()
                await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.0001))
        loop.run_until_complete(spawn())
    """,
    "reporting errors": """
        def again():
            started.set()
            loop.call_soon(again)
            raise ValueError
        def handler(loop, context):
            for _ in range(100): str(context)
        loop.set_exception_handler(handler)
        loop.call_soon(again)
        loop.run_forever()
    """,
    "in its own clock": """
        class Slow(loops.child_loop_class()):
            def time(self):
                for _ in range(100): pass
                return super().time()
        loop = Slow()
        def again():
            started.set()
            loop.call_later(0, again)
        loop.call_soon(again)
        loop.run_forever()
    """,
    "running and closing loops": """
        while True:
            loop.call_soon(loop.stop)
            loop.run_forever()
            loop.close()
            loop = loops.new_event_loop()
            started.set()
    """,
    "in an argument's finalizer": """
        class Slow:
            def __del__(self):
                started.set()
                for _ in range(1000): pass
        def again(_):
            loop.call_soon(again, Slow())
        again(None)
        loop.run_forever()
    """,
    "fed by the main thread": """
        def feed():
            while True: loop.call_soon_threadsafe(started.set)
        threading.Thread(target=feed, daemon=True).start()
        loop.run_forever()
    """,
}

PROGRAM = """
import asyncio, socket, threading, time
from helpers import loops
started = threading.Event()
def body():
    loop = loops.new_event_loop()
{body}
threading.Thread(target=body, daemon=True).start()
started.wait()
time.sleep(0.01)
"""


def ends(program: str) -> Iterator[children.Finished]:
    for _ in range(PROCESSES // AT_ONCE):
        started = [children.start(["-c", program], "oneloop") for _ in range(AT_ONCE)]
        yield from [children.finish(child) for child in started]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.usefixtures("oneloop")
def test_the_process_ends_quietly(place: str) -> None:
    program = PROGRAM.format(body=textwrap.indent(textwrap.dedent(PLACES[place]), "    "))
    for child in ends(program):
        assert child.quiet, child
