"""What is counted before and after, and what two counts say.

It knows neither loops nor operations. A count allocates as little as it can of what it counts, and says what differs by
name and number.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import gc
import socket
import sys
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class _Mallinfo2(ctypes.Structure):
    """What glibc says of its heap (`mallinfo2(3)`)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def _mallinfo() -> Any:
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)  # glibc since 2.33
    if function:
        function.restype = _Mallinfo2
    return function


_MALLINFO = _mallinfo()


def heap() -> int:
    """The bytes that malloc has given out: Rust's objects, and CPython's large ones. Zero where it does not say."""
    if _MALLINFO is None:
        return 0
    told = _MALLINFO()
    return int(told.uordblks) + int(told.hblkhd)


# Objects that the whole process uses, for instance in its caches, and at any time.
COMMON: Mapping[str, object] = {
    **{repr(what): what for what in (None, True, False, (), b"", "", 0, 1, 1000)},
    **{kind.__name__: kind for kind in (asyncio.Handle, asyncio.TimerHandle, asyncio.Future, asyncio.Task)},
    **{kind.__name__: kind for kind in (asyncio.CancelledError, socket.socket, contextvars.Context)},
}
SOME = 30


@dataclass(frozen=True)
class Count:
    """All figures at one time, in few and large blocks, since it is there when the next one is taken."""

    shared: Mapping[str, int]
    kept: tuple[array[int], array[int], array[int]]
    types: Mapping[str, int]
    blocks: int
    heap: int

    def references(self) -> dict[tuple[int, int], int]:
        """The reference counts of what the collector knows, by address and type."""
        addresses, kinds, counts = self.kept
        return dict(zip(zip(addresses, kinds, strict=True), counts, strict=True))


def take(shared: Mapping[str, object]) -> Count:
    """Count, with the collector having done what it can. `shared` are objects whose references are counted exactly."""
    # 3.11's cache of methods keeps every name that was looked up on a type, also one that was made for the occasion.
    getattr(sys, "_clear_type_cache", int)()
    for _ in range(3):
        gc.collect()
    blocks, bytes_ = sys.getallocatedblocks(), heap()
    references = {name: sys.getrefcount(what) for name, what in {**COMMON, **shared}.items()}
    objects = gc.get_objects()
    kept = (
        array("Q", map(id, objects)),
        array("Q", map(id, map(type, objects))),
        array("q", map(sys.getrefcount, objects)),
    )
    types: Counter[str] = Counter()
    for kind, count in Counter(map(type, objects)).items():
        types[f"{kind.__module__}.{kind.__qualname__}"] += count
    return Count(references, kept, types, blocks, bytes_)


def differences(before: Count, after: Count, operations: int) -> list[str]:
    """What has grown, or been given away. Of what others use too, only what grows with the operations counts."""
    some = max(operations // 10, SOME)
    told = [
        f"reference count of {name}: {count} -> {now}"
        for name, count in before.shared.items()
        if (now := after.shared[name]) != count and (name not in COMMON or abs(now - count) >= some)
    ]
    now_by_place = after.references()
    for place, count in before.references().items():
        if abs(now_by_place.get(place, count) - count) >= some:
            told.append(f"reference count of {described(place[0])}: {count} -> {now_by_place[place]}")
    for name in sorted({*before.types, *after.types}):
        if (was := before.types.get(name, 0)) < (now := after.types.get(name, 0)):
            told.append(f"objects of {name}: {was} -> {now}")
    if after.blocks > before.blocks:
        told.append(f"blocks: {before.blocks} -> {after.blocks}")
    # Less than a byte for each operation, or than the blocks that an allocator keeps in hand, is nobody's.
    if after.heap - before.heap > max(operations, 16_384):
        told.append(f"bytes of malloc: {before.heap} -> {after.heap}")
    return told


def described(address: int) -> str:
    """What is at this address, if it is there still."""
    what = next((one for one in gc.get_objects() if id(one) == address), None)
    return f"a {type(what).__name__}, {what!r:.80}"
