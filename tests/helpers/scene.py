"""One stream transport over a connection whose other end the test holds: step the loop and look.

What a scene shows (callbacks, reports, results) has no address, no number and no class name of a transport in it, so
that it can be compared with what asyncio's own transport shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from helpers.compare import Factory, plain
from helpers.loops import run_once, steps
from helpers.peers import connected_pair, drain
from helpers.recorder import Recorder


def anonymous(text: object) -> str:
    """`plain`, and transports and sockets without their class and number."""
    return re.sub(r"<\w+Transport\b", "<TRANSPORT", re.sub(r"fd=\d+", "fd=N", plain(text)))


def until(loop: asyncio.AbstractEventLoop, condition: Callable[[], object], limit: float = 10.0) -> None:
    """Run the loop until something holds: for what comes through the network or from another process."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("what the test waits for did not happen")
        run_once(loop)


class Stage:
    """A loop with a recording protocol on its transport, and what its exception handler was told."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any) -> None:
        self.loop, self.protocol = loop, protocol
        self.transport: Any = None
        self.reports: list[dict[str, str]] = []
        loop.set_exception_handler(self._report)

    def words(self, text: object) -> str:
        """A text without what differs from one implementation to the other."""
        return anonymous(text)

    def _report(self, _: object, context: dict[str, Any]) -> None:
        texts = {key: value if isinstance(value, str) else repr(value) for key, value in context.items()}
        self.reports.append({key: self.words(text) for key, text in sorted(texts.items())})

    @property
    def trace(self) -> list[Any]:
        return list(self.protocol.trace)

    def step(self, count: int = 1) -> None:
        steps(self.loop, count)

    def until(self, condition: Callable[[], object]) -> None:
        until(self.loop, condition)

    def call(self, function: Callable[..., object], *args: object) -> Any:
        """Call it in a callback of the loop; what it returns, or what it raised."""
        results: list[object] = []

        def callback() -> None:
            try:
                results.append(function(*args))
            except Exception as exc:
                results.append((type(exc).__name__, self.words(exc)))

        self.loop.call_soon(callback)
        run_once(self.loop)
        return results[0]

    def size(self) -> int:
        return int(self.transport.get_write_buffer_size())

    def state(self) -> tuple[int, bool, bool]:
        """What waits, whether it reads, whether it closes."""
        return self.size(), self.transport.is_reading(), self.transport.is_closing()


class Scene(Stage):
    """A transport of `loop`, its recording protocol and the socket at the other end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ours: socket.socket, peer: socket.socket, protocol: Any):
        super().__init__(loop, protocol)
        self.peer = peer
        self.transport, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=ours))

    def flush(self) -> bytes:
        """Receive at the peer until the transport has sent all it has."""
        received = bytearray()

        def sent() -> bool:
            received.extend(drain(self.peer))
            return self.size() == 0

        self.until(sent)
        return bytes(received + drain(self.peer))


@contextlib.contextmanager
def scene(
    factory: Factory,
    kind: str = "socketpair",
    protocol: Any = None,
    *,
    debug: bool = False,
    send_buffer: int | None = None,
) -> Iterator[Scene]:
    """A scene on a loop of its own. `send_buffer` sets how much the kernel takes (at the transport's side)."""
    protocol = protocol or Recorder()
    with contextlib.closing(factory()) as loop:
        loop.set_debug(debug)
        ours, peer = connected_pair(kind)
        with peer:
            if send_buffer is not None:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
            made = Scene(loop, ours, peer, protocol)
            try:
                yield made
            finally:
                # asyncio's transport may fail to be aborted once it is lost.
                if "lost" not in protocol.names:
                    made.transport.abort()
                steps(loop, 2)
