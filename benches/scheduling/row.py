"""What a row of the scheduling group is: a small program that any event loop can run, and how often it is run.

A program is a coroutine function of `(loop, n)` which performs `n` operations and checks that all of them happened.
It knows neither who measures nor how loops are made: the same one is counted under callgrind (benches/instructions)
and timed by the clock (child.py).

Callbacks are as cheap as they can be (a C method that counts its calls) wherever an operation does not need Python
code, so that the figure is the loop's and not the callback's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

Loop = asyncio.AbstractEventLoop
Program = Callable[..., Awaitable[None]]
P = TypeVar("P", bound=Program)

BATCH = 1000


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    key: str
    title: str
    program: Program
    # How many operations are counted, and how many are a tenth of a second of asyncio's time, a part of which is the
    # warm-up where it is timed: multiples of what the program does at once.
    n: int
    timed: int
    at_once: int = BATCH
    # At least this ratio to the best other loop; None: not behind it.
    target: float | None = None
    # What the program is told besides where a real clock runs: nobody waits there for deadlines far away.
    on_the_clock: Mapping[str, Any] = field(default_factory=dict)
    # Under callgrind the clock stands while a loop waits for a deadline, so a row that does cannot be counted.
    counted: bool = True
    # About how long a slice takes on a machine that does nothing else; at least as long as `at_once` does.
    seconds: float = 0.02
    # How many rounds of slices a session has where nothing else ends it.
    rounds: int = 20
    # On one processor, so that every slice has the same one; not where the row is about threads beside each other.
    pinned: bool = True
    # Why the interpreter cannot run it, if so.
    lacking: str = ""
    quick: bool = False


ROWS: dict[str, Row] = {}


def row(key: str, title: str, *, n: int, timed: int, **more: Any) -> Callable[[P], P]:
    def register(program: P) -> P:
        if key in ROWS:
            raise ValueError(f"two rows are called {key}")
        ROWS[key] = Row(key, title, program, n, timed, **more)
        return program

    return register


def expect(happened: int, wanted: int) -> None:
    """A loop that lost an operation, or ran one twice, has no figure."""
    if happened != wanted:
        raise RuntimeError(f"{happened} operations ran where {wanted} were asked for")
