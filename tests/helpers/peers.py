"""Two connected sockets of every kind of stream, and what a test does with the end that it holds itself."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import tempfile

KINDS = ("tcp", "tcp6", "unix", "abstract", "socketpair")

_numbers = itertools.count()


def abstract_name() -> str:
    """A name that no other process and no other test uses."""
    return f"\0oneloop-test-{os.getpid()}-{next(_numbers)}"


def _through(listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    with listener:
        client = socket.socket(listener.family, listener.type)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
    return client, server


def connected_pair(kind: str) -> tuple[socket.socket, socket.socket]:
    """Two ends of one connection, the client's first, neither of them blocking."""
    match kind:
        case "tcp":
            ends = _through(socket.create_server(("127.0.0.1", 0)))
        case "tcp6":
            ends = _through(socket.create_server(("::1", 0), family=socket.AF_INET6))
        case "unix" | "abstract":
            with tempfile.TemporaryDirectory() as directory:
                listener = socket.socket(socket.AF_UNIX)
                listener.bind(os.path.join(directory, "socket") if kind == "unix" else abstract_name())
                listener.listen()
                ends = _through(listener)
        case "socketpair":
            ends = socket.socketpair()
        case _:
            raise ValueError(kind)
    for end in ends:
        end.setblocking(False)
    return ends


def drain(end: socket.socket, limit: int = 1 << 30) -> bytes:
    """All that can be received at once."""
    received = bytearray()
    with contextlib.suppress(BlockingIOError):
        while len(received) < limit and (data := end.recv(min(1 << 20, limit - len(received)))):
            received += data
    return bytes(received)


def fill(end: socket.socket, piece: int = 65536) -> int:
    """Send until the kernel takes no more; return how much it took."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += end.send(bytes(piece))
    return sent
