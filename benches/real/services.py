"""Servers in processes of their own: anything that says in its log when it is ready, a PostgreSQL and a Redis.

Each has a temporary directory, which is gone with the process when its `with` block ends. PostgreSQL and Redis come
from Debian's packages and run as an unprivileged user; they listen on a Unix socket in that directory and on a free TCP
port. Nothing of the machine's own servers is touched.

The benchmark and the tests of tests/real start theirs with it.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

S = TypeVar("S", bound="Server")

LIMIT = 20.0


def free_port() -> int:
    """A TCP port that nobody listens on now. Servers that cannot choose one themselves are given this."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def program(name: str, folders: str = "") -> str:
    """Where a program is: in the newest of these folders, or on PATH."""
    inside = Path("/").glob(f"{folders}/{name}".lstrip("/")) if folders else ()
    versions = sorted(inside, key=lambda path: [int(part) for part in path.parts if part.isdigit()])
    found = str(versions[-1]) if versions else shutil.which(name)
    assert found, f"oneloop: missing prerequisite: {name} (Debian: scripts/debian-packages installs it)"
    return found


def nobody() -> dict[str, Any]:
    """How root starts what refuses to run as root, or should not."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class Server:
    """A process with a directory, a log and a port; a `with` block starts and stops it."""

    user: Mapping[str, Any] = {}
    limit = LIMIT

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="oneloop-"))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        if self.user:
            os.chown(self.folder, self.user["user"], self.user["group"])

    def __enter__(self: S) -> S:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        raise NotImplementedError

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def run(self, *command: str) -> None:
        """Run a command to its end, for setting up."""
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, **self.user)
        assert done.returncode == 0, done.stdout + done.stderr

    def spawn(self, *command: str, ready: str, env: Mapping[str, str] | None = None) -> re.Match[str]:
        """Start the server, and return when its log says that it is ready."""
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, **self.user
            )
        return self.wait_for_log(ready)

    def wait_for_log(self, pattern: str) -> re.Match[str]:
        assert self.process
        deadline = time.monotonic() + self.limit
        while not (found := re.search(pattern, self.log())):
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log()}"
            assert time.monotonic() < deadline, f"nothing like {pattern!r} in its log:\n{self.log()}"
            time.sleep(0.01)
        return found

    def kill(self) -> None:
        """End it without a farewell."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def end(self, signum: int) -> int:
        """Ask it to end, and return its exit status."""
        assert self.process
        self.process.send_signal(signum)
        try:
            return self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it is still there {LIMIT:g} s after signal {signum}:\n{self.log()}") from None

    def stop(self) -> None:
        try:
            if self.process and self.process.poll() is None:
                self.end(signal.SIGINT)
        finally:
            if self.process:
                self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)


class Database(Server):
    """A server that runs unchanged for as long as anybody asks, and says how to reach it."""

    user = nobody()

    def address(self, kind: str) -> dict[str, Any]:
        """What its client library is told: `unix` or `tcp`."""
        raise NotImplementedError


class Postgres(Database):
    """One cluster; over TCP it asks for a password (SCRAM), over the Unix socket it does not."""

    USER = "oneloop"
    PASSWORD = "not a secret"
    BINARIES = "/usr/lib/postgresql/*/bin"

    def start(self) -> None:
        (self.folder / "password").write_text(self.PASSWORD)
        self.run(
            *(program("initdb", self.BINARIES), "--pgdata", "data", "--username", self.USER, "--pwfile", "password"),
            *("--auth-local", "trust", "--auth-host", "scram-sha-256"),
            *("--no-sync", "--no-locale", "--encoding", "UTF8"),
        )
        options = [part for name, value in self.settings().items() for part in ("-c", f"{name}={value}")]
        ready = "database system is ready to accept connections"
        self.spawn(program("postgres", self.BINARIES), "-D", "data", *options, ready=ready)

    def settings(self) -> dict[str, str]:
        """Asked for once the cluster is made, so that files may be added to it."""
        return {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "max_connections": "60",
            "shared_buffers": "16MB",
            "fsync": "off",
            "full_page_writes": "off",
        }

    def address(self, kind: str) -> dict[str, Any]:
        host = str(self.folder) if kind == "unix" else "127.0.0.1"
        password = None if kind == "unix" else self.PASSWORD
        return {"host": host, "port": self.port, "user": self.USER, "password": password, "database": "postgres"}


class Redis(Database):
    """One Redis that stores nothing."""

    def start(self) -> None:
        self.unix_path = str(self.folder / "socket")
        self.spawn(
            *(program("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.unix_path),
            *("--dir", str(self.folder), "--save", "", "--appendonly", "no", "--maxclients", "500"),
            ready="Ready to accept connections|ready to accept connections at",
        )

    def address(self, kind: str) -> dict[str, Any]:
        return {"unix_socket_path": self.unix_path} if kind == "unix" else {"host": "127.0.0.1", "port": self.port}
