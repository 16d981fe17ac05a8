"""Processes that stay alive and are asked again and again: one line in, one line of JSON out, each with a deadline.

Between two lines such a process sleeps in a read of its standard input, outside any loop. One that hangs is killed, and
one that died has its last words told.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from benches.suite.child import surroundings
from benches.suite.environment import ROOT
from benches.suite.group import NoFigure

# Of one answer, which takes milliseconds, and of the start with its warm-up. Past them the loop hangs.
ANSWER, START = 20.0, 60.0


class Talking:
    """The process; `with` waits for its first line, and kills it in the end."""

    def __init__(
        self, command: Sequence[str | Path], limit: float = START, environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = [str(part) for part in command]
        self._limit = limit
        self._environment = environment or surroundings()
        self._read = b""

    def __enter__(self) -> Talking:
        self._complaints = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            cwd=ROOT,
            env=self._environment,
        )
        try:
            self._answer(self._limit)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._complaints.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, line: str = "", limit: float = ANSWER) -> Mapping[str, Any]:
        """Its answer; NoFigure if that is a reason, or if it died, or hangs."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
        except BrokenPipeError:
            raise NoFigure(self._death()) from None
        return self._answer(limit)

    def _answer(self, limit: float) -> Mapping[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + limit
        stdout = self._process.stdout.fileno()
        while b"\n" not in self._read:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([stdout], [], [], left)[0]:
                self._process.kill()
                raise NoFigure(f"no answer within {limit:g} s")
            if not (more := os.read(stdout, 65536)):
                raise NoFigure(self._death())
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        told: Mapping[str, Any] = json.loads(line)
        if "unavailable" in told:
            raise NoFigure(str(told["unavailable"]))
        return told

    def _death(self) -> str:
        try:
            status = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "it talks no more"
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        self._complaints.seek(0)
        last = [line for line in self._complaints.read().decode(errors="replace").splitlines() if line.strip()][-1:]
        return f"failed: {''.join(last) or f'exit status {status}'}"
