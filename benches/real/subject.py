"""The process under test: one program on one loop, on a processor of its own.

A server is loaded from outside; a client has a server of its own, which is not under test, and is told by its standard
input how long it is to go on. `command` may begin with whatever is to start the program: taskset, valgrind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from benches.real.programs import told
from benches.real.services import LIMIT, Server
from benches.suite.child import surroundings
from benches.suite.talking import Talking

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


def client_under_test(command: Sequence[str], loop: str, limit: float = LIMIT) -> Talking:
    """A module of benches/real/programs that answers each line with a line (see programs/client.py)."""
    return Talking(command, limit, told_to_run_on(loop))


def told_to_run_on(loop: str) -> dict[str, str]:
    return surroundings(**{told.VARIABLE: loop, "PYTHONUNBUFFERED": "1"})


def reason(said: str) -> str:
    """The line that says most: the last one that names an exception, or else the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return (named or lines or [""])[-1]
