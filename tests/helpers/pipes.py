# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""A transport at one end of a pipe of some kind, and the other end in the test's hand."""

import contextlib
import os
import socket
import tty

from helpers.recorder import Recorder
from helpers.scene import Stage

# More than any pipe here holds, in the kernel and out of it.
LARGE = 300_000


def pipe():
    reader, writer = os.pipe()
    return open(reader, "rb", 0), open(writer, "wb", 0)


def named(directory):
    path = directory / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    return open(reader, "rb", 0), open(path, "wb", 0)


def terminal():
    master, slave = os.openpty()
    tty.setraw(slave)
    return open(master, "rb", 0), open(slave, "wb", 0)


def pair():
    return socket.socketpair()


KINDS = {"pipe": pipe, "fifo": named, "terminal": terminal, "socket": pair}


class Pipe(Stage):
    """A transport of the loop at one end of a pipe; the other is the test's, and does not block."""

    def __init__(self, factory, direction, ends, protocol=None, debug=False):
        super().__init__(factory(), protocol or Recorder())
        self.loop.set_debug(debug)
        reader, writer = ends
        self.ours, self.theirs = (reader, writer) if direction == "read" else (writer, reader)
        os.set_blocking(self.theirs.fileno(), False)
        connect = getattr(self.loop, f"connect_{direction}_pipe")
        self.transport, _ = self.loop.run_until_complete(connect(lambda: self.protocol, self.ours))

    def drain(self):
        received = bytearray()
        # There is nothing, or the other side of a terminal was closed.
        with contextlib.suppress(OSError):
            while data := os.read(self.theirs.fileno(), 1 << 20):
                received += data
        return bytes(received)


@contextlib.contextmanager
def piped(factory, direction, kind="pipe", protocol=None, directory=None, debug=False):
    made = Pipe(factory, direction, KINDS[kind](directory) if kind == "fifo" else KINDS[kind](), protocol, debug)
    with made.theirs:
        yield made
        if "lost" not in made.protocol.names:
            made.transport.close() if direction == "read" else made.transport.abort()
        made.step(2)
    made.loop.close()
    if directory is not None:
        (directory / "fifo").unlink()
