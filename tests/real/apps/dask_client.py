# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""A client of a Dask cluster with two workers, `alone` and `nursed` (by a nanny). It prints what it saw, as JSON.

It asks every process for its loop, computes, has the workers fetch from each other, and kills one worker after the
other while there is work: first the one that its nanny starts again, then the one that nobody does.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import time

from dask.distributed import Client, get_worker
from helpers import loops

SIZE = 8 * 1024 * 1024
TASKS = 100


async def loop():
    """Whose loop runs here, in which process."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0], os.getpid()


def square(number):
    return number * number


def slow_square(number):
    time.sleep(0.01)
    return number * number


def make(byte):
    return bytes([byte]) * SIZE


def digest(data):
    return hashlib.sha256(data).hexdigest(), get_worker().name


def by_name(client, function):
    """What each worker answers; one that dies meanwhile has no answer."""
    answers = client.run(function, on_error="ignore")
    names = {address: worker["name"] for address, worker in client.scheduler_info()["workers"].items()}
    return {names[address]: answer for address, answer in answers.items() if address in names}


def computed(client):
    """A sum over many tasks, and one over a tree of them."""
    squares = client.map(square, range(200))
    leaves = client.map(square, range(64), pure=False)
    while len(leaves) > 1:
        leaves = [client.submit(sum, pair) for pair in zip(leaves[::2], leaves[1::2], strict=True)]
    return client.submit(sum, squares).result(), leaves[0].result()


def moved(client):
    """8 MiB made on each worker and read on the other one."""
    here, there = (client.submit(make, byte, workers=name) for byte, name in ((1, "alone"), (2, "nursed")))
    return [client.submit(digest, data, workers=name).result() for data, name in ((here, "nursed"), (there, "alone"))]


def killed(client, pid, first):
    """The sum of what is computed while a worker is killed, and again of what it had."""
    numbers = range(first, first + TASKS)
    kept = client.map(square, numbers)
    client.gather(kept)
    running = client.map(slow_square, numbers)
    running[0].result()
    os.kill(pid, signal.SIGKILL)
    return sum(client.gather(running)), sum(client.gather(kept))


def restarted(client, before):
    """What the nanny's new worker says of itself."""
    for _ in range(1000):
        workers = by_name(client, loop)
        if "nursed" in workers and workers["nursed"][1] != before:
            return workers["nursed"][0]
        time.sleep(0.02)
    raise TimeoutError("the nanny has not started another worker")


def main(address):
    if os.environ[loops.CHILD_VARIABLE] == "oneloop":
        import oneloop.dask  # noqa: F401
    with Client(address, timeout=15, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=15)
        workers = by_name(client, loop)
        seen = {
            "client": client.sync(loop)[0],
            "scheduler": client.run_on_scheduler(loop)[0],
            "nannies": [whose for whose, _ in client.run(loop, nanny=True).values()],
            "workers": {name: whose for name, (whose, _) in workers.items()},
            "computed": computed(client),
            "moved": moved(client),
            "one killed": killed(client, workers["nursed"][1], 1000),
            "restarted": restarted(client, workers["nursed"][1]),
            "other killed": killed(client, workers["alone"][1], 2000),
            "left": list(by_name(client, loop)),
        }
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
