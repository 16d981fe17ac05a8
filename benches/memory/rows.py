"""The rows of the memory group: what waits in the loop, thousands of times, and how a loop starts.

A row of things that wait is a coroutine function of `(loop, held, n)`: it makes `n` more of them, keeps in `held` what
has to stay alive, and returns once all of them wait. The program in child.py calls it twice, and takes the memory that
the second call added; so what a loop holds once, and what was there before, is not in the figure.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benches.suite.environment import ROOT

Loop = asyncio.AbstractEventLoop
Waiting = Callable[[Loop, ExitStack, int], Awaitable[None]]

CERTIFICATE = ROOT / "tests" / "certificates" / "server.pem"
PEERS = Path(__file__).resolve().parent / "peers.py"
HOURS = 36_000


@dataclass(frozen=True)
class Row:
    """One line of the table. Without `waiting` it is about starting, which child.py knows."""

    key: str
    title: str
    unit: str
    waiting: Waiting | None = None
    n: int = 0
    target: float | None = None
    quick: bool = False
    # Processes of one session. Memory does not hang on the machine's pace; time does.
    rounds: int = 1
    # About how long one takes.
    seconds: float = 0.4


ROWS: dict[str, Row] = {}


def row(
    key: str, title: str, unit: str, n: int, *, target: float | None = None, quick: bool = False
) -> Callable[[Waiting], Waiting]:
    def register(waiting: Waiting) -> Waiting:
        ROWS[key] = Row(key, title, unit, waiting, n, target, quick)
        return waiting

    return register


class Peers:
    """A process that connects, so that only the server's side of a connection is in this one."""

    def __init__(self, held: ExitStack, server: asyncio.Server, n: int, tls: bool) -> None:
        host, port = server.sockets[0].getsockname()[:2]
        command = [sys.executable, str(PEERS), host, str(port), str(n), "tls" if tls else "plain"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        held.callback(process.wait)
        if process.stdin:
            held.callback(process.stdin.close)


class Idle(asyncio.Protocol):
    """A connection that nothing is said on; it keeps its transport, as protocols do."""

    def __init__(self, connected: Callable[[], None]) -> None:
        self.connected = connected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.connected()


class Countdown:
    """Done when as many have come as are expected."""

    def __init__(self, loop: Loop, expected: int) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self.left = expected

    def __call__(self) -> None:
        self.left -= 1
        if not self.left:
            self.done.set_result(None)


async def connections(loop: Loop, held: ExitStack, n: int, context: ssl.SSLContext | None) -> None:
    come = Countdown(loop, n)
    server = await loop.create_server(lambda: Idle(come), "127.0.0.1", 0, backlog=n, ssl=context)
    held.callback(server.close)
    Peers(held, server, n, context is not None)
    await come.done


@row("idle-protocol", "idle connection, TCP, Protocol", "bytes per connection", 2000, target=1.0)
async def idle_protocols(loop: Loop, held: ExitStack, n: int) -> None:
    await connections(loop, held, n, None)


@row("idle-tls", "idle connection, TLS, Protocol", "bytes per connection", 300, target=1.0)
async def idle_tls(loop: Loop, held: ExitStack, n: int) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    await connections(loop, held, n, context)


@row("idle-streams", "idle connection, TCP, streams", "bytes per connection", 2000, target=1.0)
async def idle_streams(loop: Loop, held: ExitStack, n: int) -> None:
    """A reader that waits for its first byte."""
    come = Countdown(loop, n)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        come()
        await reader.read(1)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=n)
    held.callback(server.close)
    Peers(held, server, n, False)
    await come.done
    await asyncio.sleep(0)  # the last one waits now, too


@row("sleeping-task", "task in sleep()", "bytes per task", 20_000, target=1.0, quick=True)
async def sleeping_tasks(loop: Loop, held: ExitStack, n: int) -> None:
    tasks = [loop.create_task(asyncio.sleep(HOURS)) for _ in range(n)]
    held.callback(tasks.clear)
    await asyncio.sleep(0)


@row("pending-timer", "timer of call_later()", "bytes per timer", 50_000)
async def pending_timers(loop: Loop, held: ExitStack, n: int) -> None:
    timers = [loop.call_later(HOURS + i, int) for i in range(n)]
    held.callback(timers.clear)


for key, title, unit in (
    ("import", "import of the loop, asyncio with it", "ms of CPU"),
    ("run-empty", "run() of an empty coroutine", "µs of CPU"),
):
    ROWS[key] = Row(key, title, unit, quick=key == "run-empty", rounds=6, seconds=0.2)
