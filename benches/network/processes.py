"""Starting a server in a process of its own, and ending it.

A server is one of ours on some loop (serving.py), or the load generator's plain one. Either says where it is on its
first line, and serves until it is killed.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benches.suite.child import surroundings
from benches.suite.environment import ROOT
from benches.suite.group import NoFigure

# A server is there within that time, under valgrind on a busy machine too.
START = 300
CERTIFICATE = ROOT / "tests" / "certificates" / "server.pem"
AUTHORITY = ROOT / "tests" / "certificates" / "ca.pem"


@dataclass(frozen=True)
class Running:
    """A server that can be connected to."""

    process: subprocess.Popen[bytes]
    address: str


def cores() -> tuple[int, int]:
    """The server's processor, and the client's; on a machine that has only one they share it."""
    mine = sorted(os.sched_getaffinity(0))
    return (mine[0], mine[1]) if len(mine) > 1 else (mine[0], mine[0])


@contextmanager
def serving(command: Sequence[str | Path], limit: float = START) -> Iterator[Running]:
    """The server that the command is, until the end of the block."""
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            cwd=ROOT,
            env=surroundings(),
        )
        try:
            assert process.stdout is not None
            yield Running(process, address(first_line(process.stdout, limit), complaints))
        finally:
            process.kill()
            process.communicate()


def first_line(stdout: IO[bytes], limit: float = START) -> str:
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        if not selector.select(limit):
            raise NoFigure(f"the server does not start within {limit:g} s")
    # One write, so one line is there as a whole.
    return stdout.readline().decode()


def address(line: str, complaints: IO[bytes]) -> str:
    if line.startswith("ready "):
        return line.split()[1]
    told = json.loads(line) if line.strip() else {}
    if "address" not in told:
        complaints.seek(0)
        said = complaints.read().decode(errors="replace").strip().splitlines()
        raise NoFigure(str(told.get("unavailable") or f"the server died: {said[-1] if said else 'without a word'}"))
    return str(told["address"])
