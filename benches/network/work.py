"""The measured process where the loop under measurement is the one that asks: it puts a load on itself.

    PYTHON -m benches.network.work LOOP PROGRAM [--address HOST:PORT] [--core N]

It says that it is ready once it is warm. Then each line of its input is a number of seconds to work for, and its answer
a line of JSON: this process's CPU time for each operation, in µs, and how many of them it did in a second. Child
processes have their time to themselves: it is not in the figure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from benches.suite import loops

Loop = asyncio.AbstractEventLoop
# One operation, again and again; the address is for those that need one.
Program = Callable[[Loop, tuple[str, int]], Awaitable[object]]

WARMUP = 0.15


@dataclass(frozen=True)
class Work:
    program: Program
    # How many at once: what has to wait for somebody else shall not wait alone.
    at_once: int = 1


class Closed(asyncio.Protocol):
    """A connection that the server closes."""

    def __init__(self, lost: asyncio.Future[None]) -> None:
        self.lost = lost

    def connection_lost(self, error: Exception | None) -> None:
        if error is None:
            self.lost.set_result(None)
        else:
            self.lost.set_exception(error)


async def connect(loop: Loop, address: tuple[str, int]) -> None:
    """A connection made, to a server that closes it at once."""
    lost: asyncio.Future[None] = loop.create_future()
    await loop.create_connection(lambda: Closed(lost), *address)
    await lost


async def spawn(loop: Loop, address: tuple[str, int]) -> None:
    process = await asyncio.create_subprocess_exec("/bin/true")
    if status := await process.wait():
        raise RuntimeError(f"the child ended with status {status}")


async def getaddrinfo(loop: Loop, address: tuple[str, int]) -> None:
    if not await loop.getaddrinfo("127.0.0.1", 80):
        raise RuntimeError("a literal has no address")


WORK = {"connect": Work(connect, at_once=16), "spawn": Work(spawn, at_once=2), "getaddrinfo": Work(getaddrinfo)}


async def measure(work: Work, address: tuple[str, int], seconds: float) -> dict[str, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    done = await during(work, address, seconds)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"value": cpu / done * 1e6, "per_second": done / wall}


async def during(work: Work, address: tuple[str, int], seconds: float) -> int:
    """How often it was done within that time. The time is looked at, not waited for: some work never suspends."""
    loop, done = asyncio.get_running_loop(), 0
    end = time.perf_counter() + seconds

    async def again() -> None:
        nonlocal done
        while True:
            await work.program(loop, address)
            done += 1
            if time.perf_counter() >= end:
                return

    await asyncio.gather(*(again() for _ in range(work.at_once)))
    return done


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    host, _, port = options.address.rpartition(":")
    work, address = WORK[options.program], (host, int(port or 0))
    try:
        loop = loops.factory(options.loop)()
        loop.run_until_complete(measure(work, address, WARMUP))
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            print(json.dumps(loop.run_until_complete(measure(work, address, float(line)))), flush=True)
    except Exception as error:  # a loop that lacks something is a cell of the table, not a crash
        print(json.dumps({"unavailable": f"{type(error).__name__}: {error}"}), flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches.network.work", description="One client on one loop.")
    parser.add_argument("loop")
    parser.add_argument("program", choices=WORK)
    parser.add_argument("--address", default="")
    parser.add_argument("--core", type=int)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
