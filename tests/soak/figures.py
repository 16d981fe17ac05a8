"""What is counted when all work is at rest: memory, descriptors, objects, threads, child processes."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Mapping

from helpers.processes import children

PAGE = os.sysconf("SC_PAGE_SIZE")
PATIENCE = 5.0


async def at_rest(tasks: int) -> Mapping[str, int]:
    """The figures once no more than so many tasks are there and two counts agree, or after some seconds as they are.

    A closed connection's other end, a child that was killed and a thread that has delivered need a moment.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    figures = count()
    while loop.time() < deadline:
        await asyncio.sleep(0.02)
        before, figures = figures, count()
        same = all(before[name] == figures[name] for name in ("descriptors", "threads", "children", "objects"))
        if same and len(asyncio.all_tasks()) <= tasks:
            break
    return figures


def count() -> Mapping[str, int]:
    gc.collect()
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * PAGE
    return {
        "resident": resident,
        "descriptors": len(os.listdir("/proc/self/fd")) - 1,  # without the one that lists
        "objects": len(gc.get_objects()),
        "blocks": sys.getallocatedblocks(),
        "threads": len(os.listdir("/proc/self/task")),
        "children": len(children()),
    }


def line(seconds: float, rounds: int, figures: Mapping[str, int]) -> str:
    """One window, for who watches."""
    memory = f"resident {figures['resident'] / 1024 / 1024:6.1f} MiB"
    rest = [f"{name} {figures[name]:,}" for name in ("descriptors", "objects", "blocks", "threads", "children")]
    return f"{seconds:6.1f} s  {rounds:6} rounds  " + "  ".join([memory, *rest])
