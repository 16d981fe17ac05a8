"""The process under test: one program on one loop, on a processor of its own.

A server is loaded from outside; a client has a server of its own, which is not under test, and is told by its standard
input how long it is to go on. `command` may begin with whatever is to start the program: taskset, valgrind.
"""

from __future__ import annotations

import json
import re
import select
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

from benches.real.programs import told
from benches.real.services import LIMIT, Server
from benches.suite.child import surroundings

# Where each server says that it listens.
LISTENS = r"running on http://[\d.]+:(\d+)"


class FailedError(Exception):
    """The program under test did not do what it was asked, and why."""


class ServerUnderTest(Server):
    """It says in its log where it listens. It is ended without a farewell: its leaving is not what is measured."""

    def __init__(self, command: Sequence[str], loop: str, limit: float = LIMIT) -> None:
        super().__init__()
        self.limit = limit
        self._command = command
        self._loop = loop

    def start(self) -> None:
        try:
            self.port = int(self.spawn(*self._command, ready=LISTENS, env=told_to_run_on(self._loop))[1])
        except AssertionError as failure:
            raise FailedError(reason(str(failure))) from failure

    def stop(self) -> None:
        if self.process:
            self.kill()
        super().stop()

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid


class ClientUnderTest:
    """A module of benches/real/programs that answers each line with a line (see programs/client.py)."""

    def __init__(self, command: Sequence[str], loop: str, limit: float = LIMIT) -> None:
        self._command = command
        self._loop = loop
        self._limit = limit

    def __enter__(self) -> ClientUnderTest:
        self._stderr = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            env=told_to_run_on(self._loop),
        )
        try:
            self._line()  # it says that it is connected
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._stderr.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, amount: float, unit: str) -> Mapping[str, float]:
        """Let it go on for that many `seconds`, or `requests` in all, and say how often and how long it did."""
        assert self._process.stdin
        self._process.stdin.write(f"{unit} {amount}\n")
        self._process.stdin.flush()
        answer: Mapping[str, float] = json.loads(self._line())
        return answer

    def _line(self) -> str:
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], self._limit)[0]:
            raise FailedError(f"no answer within {self._limit:g} s")
        if line := self._process.stdout.readline():
            return line
        self._process.wait()
        self._stderr.seek(0)
        raise FailedError(reason(self._stderr.read()) or f"exit status {self._process.returncode}")


def told_to_run_on(loop: str) -> dict[str, str]:
    return surroundings(**{told.VARIABLE: loop, "PYTHONUNBUFFERED": "1"})


def reason(said: str) -> str:
    """The line that says most: the last one that names an exception, or else the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return (named or lines or [""])[-1]
