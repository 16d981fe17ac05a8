"""A datagram transport whose other end the test holds: a protocol that writes down what happens to it, and a scene to
step the loop in.

What a scene shows (callbacks, reports, results) has no number and no class name of a transport in it, so that it can be
compared with what asyncio's own transport shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import sys
from asyncio import selector_events
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from helpers.compare import Factory, plain
from helpers.loops import steps
from helpers.scene import Stage

# Of the queueing kinds a sender has to wait when a receiver does not receive.
CONNECTED = ("udp", "udp6", "abstract", "path")
QUEUEING = ("abstract", "path")

# What a datagram that waits counts beside its bytes.
HEADER = 8 if sys.version_info >= (3, 13) else 0
# asyncio of some patch releases does not count it back when the datagram is sent: then a protocol that was paused may
# never be told to go on, and what waits seems never to be gone.
FORGETS_HEADERS = HEADER > 0 and not hasattr(vars(selector_events)["_SelectorDatagramTransport"], "_header_size")

_numbers = itertools.count()

Reaction = Callable[[Any], Any]


def abstract_name() -> str:
    """A name that no other process and no other test uses."""
    return f"\0oneloop-datagrams-{os.getpid()}-{next(_numbers)}"


def needs_sound_sizes(factory: Factory) -> None:
    """Leave the control out where it cannot count."""
    if FORGETS_HEADERS and factory is asyncio.SelectorEventLoop:
        pytest.skip("asyncio of this patch release forgets the headers of what it has sent")


class DatagramRecorder(asyncio.DatagramProtocol):
    """Writes every callback into `trace`, and then does what `on` says for it."""

    def __init__(self, trace: list[Any] | None = None, **on: Reaction) -> None:
        self.trace: list[Any] = [] if trace is None else trace
        self.on = on
        self.transport: Any = None

    def __repr__(self) -> str:
        return "<DatagramRecorder>"

    def note(self, what: str, *details: object) -> None:
        self.trace.append((what, *details))
        if what in self.on:
            self.on[what](self.transport)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.note("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.note("received", data, addr)

    def error_received(self, exc: Exception) -> None:
        self.note("error", type(exc).__name__, getattr(exc, "errno", None), plain(exc))

    def connection_lost(self, exc: BaseException | None) -> None:
        self.note("lost", exc and f"{type(exc).__name__}: {plain(exc)}")

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    @property
    def names(self) -> list[str]:
        """The callbacks' names alone."""
        return [entry[0] for entry in self.trace]

    @property
    def data(self) -> list[bytes]:
        """The datagrams that came."""
        return [entry[1] for entry in self.trace if entry[0] == "received"]


def bound_pair(
    kind: str, stack: contextlib.ExitStack, *, connected: bool = True
) -> tuple[socket.socket, socket.socket]:
    """Two bound datagram sockets, neither of them blocking; the first may be connected to the second."""
    family = {"udp": socket.AF_INET, "udp6": socket.AF_INET6}.get(kind, socket.AF_UNIX)
    ends = [stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in range(2)]
    for end in ends:
        match kind:
            case "udp":
                end.bind(("127.0.0.1", 0))
            case "udp6":
                end.bind(("::1", 0))
            case "abstract":
                end.bind(abstract_name())
            case "path":
                path = f"/tmp/oneloop-datagrams-{os.getpid()}-{next(_numbers)}"
                stack.callback(os.unlink, path)
                end.bind(path)
            case _:
                raise ValueError(kind)
        end.setblocking(False)
    if connected:
        ends[0].connect(ends[1].getsockname())
    return ends[0], ends[1]


def receive(end: socket.socket, limit: int = 1 << 30) -> list[bytes]:
    """All datagrams that can be received at once."""
    received: list[bytes] = []
    with contextlib.suppress(BlockingIOError):
        while len(received) < limit:
            received.append(end.recv(1 << 20))
    return received


def fill(end: socket.socket, *address: Any, size: int = 1) -> int:
    """Send until there is no more room; how many datagrams that were."""
    for count in itertools.count():
        try:
            end.sendto(bytes(size), *address) if address else end.send(bytes(size))
        except BlockingIOError:
            return count
    raise AssertionError


class DatagramScene(Stage):
    """A transport of `loop`, its recording protocol and the socket at the other end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ours: socket.socket, peer: socket.socket, protocol: Any):
        super().__init__(loop, protocol)
        self.peer = peer
        self.address = peer.getsockname()
        self.transport, _ = loop.run_until_complete(loop.create_datagram_endpoint(lambda: protocol, sock=ours))

    def waits(self) -> bool:
        """Whether it waits for room."""
        return "write=<polling" in repr(self.transport)


@contextlib.contextmanager
def datagram_scene(
    factory: Factory,
    kind: str = "udp",
    protocol: Any = None,
    *,
    connected: bool = True,
    debug: bool = False,
    send_buffer: int | None = None,
) -> Iterator[DatagramScene]:
    """A scene on a loop of its own. `send_buffer` sets how much the kernel takes at the transport's side."""
    protocol = protocol or DatagramRecorder()
    with contextlib.ExitStack() as stack:
        loop = stack.enter_context(contextlib.closing(factory()))
        loop.set_debug(debug)
        ours, peer = bound_pair(kind, stack, connected=connected)
        if send_buffer is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        made = DatagramScene(loop, ours, peer, protocol)
        try:
            yield made
        finally:
            if "lost" not in protocol.names:
                made.transport.abort()
            steps(loop, 2)
