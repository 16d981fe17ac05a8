"""The command line: each kind of operation, rounds of it, and what has grown (see the package)."""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from helpers import loops

from counts import ledger, operations

MILLION = 1_000_000
# Round by round until one leaves everything as it was. What a leak leaves, it leaves in every one.
ROUNDS = 4


def check(name: str, asked: int, loop_name: str) -> list[str]:
    """Do so many operations of this kind, and say what is left of them."""
    work, share = {**operations.OPERATIONS, **operations.LEAKS}[name]
    n = max(int(asked * share), 3)
    loop = loops.loop_factory(loop_name)()
    loop.set_exception_handler(lambda *_: None)
    shared = operations.Shared(loop)
    told: list[str] = []

    def round_of(count: int) -> ledger.Count:
        loop.run_until_complete(work(loop, count, shared))
        for _ in range(5):
            loops.run_once(loop)
        return ledger.take(shared.watched())

    try:
        round_of(max(n // 10, 3))
        before = round_of(max(n // 10, 3))
        for _ in range(ROUNDS):
            told = []  # or what is said of the last round would be found in this one
            after = round_of(n)
            if not (told := ledger.differences(before, after, n)):
                break
            before = after
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    return told


def apart(name: str, options: argparse.Namespace) -> bool:
    """The same in a process of its own, where nothing else moves; whether all was as before."""
    began = time.monotonic()
    told = subprocess.run(
        [
            sys.executable,
            "-m",
            "counts",
            "--here",
            name,
            "--operations",
            str(options.operations),
            "--loop",
            options.loop,
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    verdict = "as before" if told.returncode == 0 else "GROWN" if told.returncode == 1 else "FAILED"
    print(f"{name:32} {time.monotonic() - began:7.1f} s  {verdict}\n{told.stdout}".rstrip(), flush=True)
    return told.returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m counts", description="What is left after many operations.")
    parser.add_argument("--operations", type=int, default=MILLION, help="of each kind, or a share (%(default)s)")
    parser.add_argument("--loop", choices=loops.NAMES, default="oneloop")
    parser.add_argument("--only", help="comma-separated kinds")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes at once: %(default)s")
    parser.add_argument("--here", help="one kind, in this process")
    options = parser.parse_args(arguments)
    if options.here:
        warnings.simplefilter("ignore")
        told = check(options.here, options.operations, options.loop)
        print("".join(f"  {line}\n" for line in told), end="")
        return 1 if told else 0
    names = options.only.split(",") if options.only else list(operations.OPERATIONS)
    with ThreadPoolExecutor(options.jobs) as pool:
        well = all(list(pool.map(lambda name: apart(name, options), names)))
    print(f"counts: {len(names)} kinds, " + ("nothing has grown" if well else "FAILED"))
    return 0 if well else 1


if __name__ == "__main__":
    asyncio.set_event_loop(None)
    sys.exit(main())
