"""Web servers started by their own command lines, and wrk, which loads them."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

from helpers import children

from real.services import LIMIT, Server, program

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


def load(url: str, *, script: str | None = None, header: str = "X-Nothing: special") -> None:
    """Load a URL for a second, over 64 connections at a time; every answer has to be good."""
    options = ["-t1", "-c64", "-d1s", "--timeout", "10s", "-H", header]
    options += ["-s", str(APPS / script)] if script else []
    done = subprocess.run([program("wrk"), *options, url], capture_output=True, text=True, check=False, timeout=LIMIT)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Socket errors" not in said, said
    assert "Non-2xx or 3xx responses" not in said, said
    for wrong in re.findall(r"wrong bodies: (\d+)", said):
        assert wrong == "0", said
    requests = re.search(r"(\d+) requests in", said)
    assert requests, said
    assert int(requests[1]) > 0, said
