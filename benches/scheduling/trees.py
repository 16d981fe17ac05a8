"""Rows: the async_tree family of pyperformance, with the shapes that its authors chose.

A tree of tasks, six branches at each node, whose leaves do nothing, wait, find most of their work done, or compute
half of the time. Each kind is awaited through `gather` or a TaskGroup, of plain or of eager tasks. The programs are
written anew after pyperformance's bm_async_tree (MIT, https://github.com/python/pyperformance); the parameters are its
own, but for the depth: five levels instead of six where they are timed, four where they are counted. One operation is
one node of the tree, leaves included.
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
from collections.abc import Awaitable, Callable

from benches.scheduling.row import Loop, expect, row
from benches.scheduling.tasks import EAGER

BRANCHES = 6
WAIT = 0.05
MEMOIZED_PERCENT = 90
COMPUTING_SHARE = 0.5
FACTORIAL_OF = 500

Leaf = Callable[[], Awaitable[None]]


def nodes(levels: int) -> int:
    """Of one tree without its root, which is the awaiting task."""
    return sum(BRANCHES**level for level in range(1, levels + 1))


COUNTED_LEVELS, TIMED_LEVELS = 4, 5


def nothing() -> Leaf:
    async def leaf() -> None:
        return

    return leaf


def waiting() -> Leaf:
    async def leaf() -> None:
        await asyncio.sleep(WAIT)

    return leaf


def memoized() -> Leaf:
    chance, known = random.Random(0), set[int]()

    async def leaf() -> None:
        data = chance.randint(1, 100)
        if data <= MEMOIZED_PERCENT:
            if data in known:
                return
            known.add(data)
        await asyncio.sleep(WAIT)

    return leaf


def mixed() -> Leaf:
    chance = random.Random(0)

    async def leaf() -> None:
        if chance.random() < COMPUTING_SHARE:
            math.factorial(FACTORIAL_OF)
        else:
            await asyncio.sleep(WAIT)

    return leaf


async def grow(loop: Loop, n: int, levels: int, leaf: Leaf, grouped: bool, eager: bool) -> None:
    grown = 0

    async def branch(level: int) -> None:
        nonlocal grown
        grown += 1
        if level == levels:
            await leaf()
        else:
            await branches(level)

    async def gathered(level: int) -> None:
        await asyncio.gather(*[branch(level + 1) for _ in range(BRANCHES)])

    async def in_group(level: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(BRANCHES):
                group.create_task(branch(level + 1))

    branches = in_group if grouped else gathered
    before = loop.get_task_factory()
    if eager and sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
    for _ in range(n // nodes(levels)):
        await branches(0)
    loop.set_task_factory(before)
    expect(grown, n)


def register(key: str, title: str, kind: Callable[[], Leaf], waits: bool, grouped: bool, eager: bool) -> None:
    @row(
        f"tree-{key}{'-group' * grouped}{'-eager' * eager}",
        f"async_tree, {title}{', TaskGroup' * grouped}{', eager' * eager}",
        n=nodes(COUNTED_LEVELS),
        timed=nodes(TIMED_LEVELS),
        at_once=nodes(TIMED_LEVELS),
        on_the_clock={"levels": TIMED_LEVELS},
        counted=not waits,
        seconds=0.12 if waits else 0.05,
        rounds=6 if waits else 12,
        lacking=EAGER * eager,
    )
    async def program(loop: Loop, n: int, levels: int = COUNTED_LEVELS) -> None:
        await grow(loop, n, levels, kind(), grouped, eager)


for eager in (False, True):
    for grouped in (False, True):
        register("none", "no work", nothing, False, grouped, eager)
        register("io", "waiting", waiting, True, grouped, eager)
        register("memo", "memoized", memoized, True, grouped, eager)
        register("mixed", "half computing", mixed, True, grouped, eager)
