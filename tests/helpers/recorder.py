"""Protocols that write down what their transport does to them, and do what the test wants in the middle of it.

`trace` has one entry for each callback, in order. Adjacent `data` entries are one: how a stream is cut is nobody's
promise. `on` maps the name of a callback to what is called in it, after it was written down; it may raise, and what it
returns is what the callback returns (that matters for `eof` only).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from helpers.compare import plain

Reaction = Callable[[Any], Any]


class _Records:
    def __init__(self, name: str | None = None, trace: list[Any] | None = None, **on: Reaction) -> None:
        self.name = name
        self.trace: list[Any] = [] if trace is None else trace
        self.on: dict[str, Reaction] = on
        self.transport: Any = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name or ''}>"

    def note(self, what: str, *details: object) -> Any:
        entry: tuple[Any, ...] = (what, *details) if self.name is None else (self.name, what, *details)
        last: tuple[Any, ...] = self.trace[-1] if self.trace else ()
        if what == "data" and last[:-1] == entry[:-1]:
            self.trace[-1] = (*entry[:-1], last[-1] + entry[-1])
        else:
            self.trace.append(entry)
        return self.on[what](self.transport) if what in self.on else None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.note("made")

    def eof_received(self) -> Any:
        return self.note("eof")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.note("lost", exc and f"{type(exc).__name__}: {plain(exc)}")

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    @property
    def data(self) -> bytes:
        """All that was received."""
        return b"".join(entry[-1] for entry in self.trace if "data" in entry[:2])

    @property
    def names(self) -> list[str]:
        """The callbacks' names alone."""
        return [entry[0] if self.name is None else entry[1] for entry in self.trace]


class Recorder(_Records, asyncio.Protocol):
    """A protocol that is given bytes."""

    def data_received(self, data: bytes) -> None:
        self.note("data", data)


class BufferedRecorder(_Records, asyncio.BufferedProtocol):
    """A protocol that lends its buffer; `get_buffer` is not in the trace, as it may be asked in vain."""

    buffer: bytearray | memoryview = bytearray(65536)

    def get_buffer(self, sizehint: int) -> Any:
        if "get_buffer" in self.on:
            return self.on["get_buffer"](self.transport)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.note("data", bytes(self.buffer[:nbytes]))
