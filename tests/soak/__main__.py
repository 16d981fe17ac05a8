"""The soak's command line (see the package): windows of all work at once, a line for each, and the verdict."""

from __future__ import annotations

import argparse
import asyncio
import collections
import concurrent.futures
import ctypes
import itertools
import os
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from helpers import loops

from soak import figures, machinery, network
from soak.judge import FEWEST, judge
from soak.stage import Held, Stage

Round = Callable[[Any], Awaitable[None]]

THREADS = 4
UNHURRIED = 60.0  # how long a window's last rounds may take to end


class Leaks:
    """Work that leaks on purpose, so that the soak is seen to fail."""

    def __init__(self) -> None:
        self.kept: list[object] = []
        self.malloc = ctypes.CDLL(None).malloc
        self.malloc.argtypes, self.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p

    async def objects(self, _: object) -> None:
        self.kept += [[number] for number in range(50)]
        await asyncio.sleep(0.01)

    async def descriptors(self, _: object) -> None:
        self.kept.append(os.open(os.devnull, os.O_RDONLY))
        await asyncio.sleep(0.05)

    async def memory(self, _: object) -> None:
        """What no count of objects sees."""
        size = 1 << 21
        ctypes.memset(self.malloc(size), 1, size)
        await asyncio.sleep(0.01)


async def window(rounds: Mapping[str, Round], seconds: float) -> collections.Counter[str]:
    """Let every kind of work go round for a while, each at least once; answer how often."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    done: collections.Counter[str] = collections.Counter()

    async def repeat(name: str, once: Round, stage: Stage) -> None:
        while True:
            await once(stage)
            done[name] += 1
            if loop.time() >= end:
                return
            await asyncio.sleep(0)

    async with asyncio.timeout(seconds + UNHURRIED), Stage() as stage, asyncio.TaskGroup() as group:
        for name, once in rounds.items():
            group.create_task(repeat(name, once, stage), name=name)
    return done


async def full_pool() -> None:
    """Give the loop a default executor that has all of its threads, so that none is counted as it comes."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(THREADS))
    together = threading.Barrier(THREADS)
    await asyncio.gather(*(loop.run_in_executor(None, together.wait) for _ in range(THREADS)))


async def soak(options: argparse.Namespace, wrong: list[str]) -> list[Mapping[str, int]]:
    """The figures of each window, until the time is over or something is wrong."""
    loop = asyncio.get_running_loop()

    def report(_: object, context: Mapping[str, Any]) -> None:
        if not isinstance(context.get("exception"), machinery.ExpectedError):
            wrong.append(f"reported: {dict(context)}")

    loop.set_exception_handler(report)
    await full_pool()
    start, total, seen = loop.time(), collections.Counter[str](), list[Mapping[str, int]]()
    before = len(asyncio.all_tasks())
    async with Held() as held:
        rounds: dict[str, Round] = {once.__name__: once for once in (*network.ROUNDS, *machinery.ROUNDS)}
        rounds["held"] = held.use
        rounds = {name: rounds[name] for name in options.only or rounds}
        if options.leak:
            rounds["leak"] = getattr(Leaks(), options.leak)
        held_tasks = len(held.streams)  # each has a server's task
        for number in itertools.count(1):
            done = await window(rounds, max(0.1, start + number * options.window - loop.time()))
            total += done
            seen.append(await figures.at_rest(before + held_tasks))
            print(figures.line(loop.time() - start, done.total(), seen[-1]), flush=True)
            if wrong or (loop.time() - start >= options.seconds and len(seen) >= FEWEST):
                break
    await figures.at_rest(before)
    print("rounds: " + ", ".join(f"{name} {count:,}" for name, count in total.most_common()))
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description="Run everything at once and see that nothing grows.")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long (default 300)")
    parser.add_argument(
        "--window", type=float, help="how long between two counts (default 10, or as short as it takes)"
    )
    parser.add_argument("--loop", choices=loops.NAMES, default="oneloop", help="on which loop")
    kinds = [once.__name__ for once in (*network.ROUNDS, *machinery.ROUNDS)]
    parser.add_argument("--only", nargs="+", choices=kinds, help="no other work than this, to find whose growth it is")
    parser.add_argument("--leak", choices=("objects", "descriptors", "memory"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.window = options.window or min(10.0, options.seconds / FEWEST)

    wrong: list[str] = []
    warnings.simplefilter("error")  # from a finalizer too: then it is unraisable
    sys.unraisablehook = lambda unraisable: wrong.append(f"unraisable: {unraisable.exc_value!r}")
    with asyncio.Runner(loop_factory=loops.loop_factory(options.loop)) as runner:
        windows = runner.run(soak(options, wrong))
    for line in wrong:
        print(line)
    if wrong:
        return 1
    growths = judge(windows)
    for growth in growths:
        print(growth)
    return 0 if all(growth.flat for growth in growths) else 1


if __name__ == "__main__":
    sys.exit(main())
