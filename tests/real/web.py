"""Web servers started by their own command lines, and wrk, which loads them."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from helpers import children

from benches.real import wrk
from benches.real.services import LIMIT, Server

APPS = Path(__file__).parent / "apps"


class CommandLine(Server):
    """A Python server that is started as `python -m NAME …`; `ready` finds its port in its log."""

    def __init__(self, loop_name: str, *command: str, ready: str = r"running on http://[\d.]+:(\d+)") -> None:
        super().__init__()
        self._loop_name = loop_name
        self._command = command
        self._ready = ready

    def start(self) -> None:
        env = children.environment(self._loop_name, PYTHONUNBUFFERED="1")
        match = self.spawn(sys.executable, "-m", *self._command, ready=self._ready, env=env)
        if match.groups():
            self.port = int(match[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT)


def load(url: str, *, script: str | None = None, header: str = "") -> None:
    """Load a URL for a second, over 64 connections at a time; every answer has to be good."""
    wrk.run(url, 1, header=header, script=APPS / script if script else None)
