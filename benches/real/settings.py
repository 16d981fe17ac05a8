"""The rows: which program is under test, what loads it or what it loads, and how one stretch of that is measured.

A row is used by the benchmark, which measures seconds of it on a processor of its own, and by the tests, which see that
it works. Both get a `Scene`: fresh processes, of which one is under test, after its answers have been verified.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

from benches.real import load, wrk
from benches.real.services import LIMIT, Database, Postgres, Redis
from benches.real.subject import ServerUnderTest, client_under_test

PROGRAMS = "benches.real.programs"
CONNECTIONS = 64
BODY = "Hello, World!"
DOCUMENT = {"message": "Hello, World!", "numbers": list(range(20))}
MESSAGE = 1000
PIPELINE = 100
# Seconds of one slice.
SLICE = 0.04


@dataclass(frozen=True)
class Told:
    """What a stretch of load was; latencies in seconds, by the share of the requests that took no longer."""

    requests: int
    seconds: float
    latencies: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Scene:
    """A process under test that is ready, and ways to give it work: a number of requests, or a slice of time of them;
    and some whole seconds under wrk, if that can speak with it."""

    pid: int
    requests: Callable[[int], Told]
    slice: Callable[[], Told]
    seconds: Callable[[int], Told] | None = None


@dataclass(frozen=True)
class Start:
    """How processes are started: the interpreter, where a database is had, what a command under test begins with
    (taskset, valgrind), and how patient to be."""

    python: str
    database: Callable[..., Database]
    prefix: Sequence[str] = ()
    limit: float = LIMIT

    def under_test(self, *module: str) -> list[str]:
        return [*self.prefix, self.python, "-m", *module]

    def beside(self, *module: str) -> list[str]:
        return [self.python, "-m", *module]


Setting = Callable[[Start, str], AbstractContextManager[Scene]]


@contextmanager
def http_server(command: Sequence[str], path: str, body: str, start: Start, loop: str) -> Iterator[Scene]:
    """An HTTP server under connections of our own, which stay; wrk, which has its own, finds these closed."""
    with ExitStack() as own, ServerUnderTest(start.under_test(*command), loop, start.limit) as server:
        talk = load.http(server.port, path, body.encode())  # asks once, and sees that this is the answer
        opened: list[load.Load] = []

        def connections() -> load.Load:
            if not opened:
                opened.append(own.enter_context(load.Load(server.port, talk, CONNECTIONS)))
            return opened[0]

        def seconds(amount: int) -> Told:
            own.close()
            opened.clear()
            told = wrk.run(f"http://127.0.0.1:{server.port}{path}", amount, connections=CONNECTIONS)
            return Told(told.requests, told.seconds, told.latencies)

        yield Scene(
            server.pid,
            lambda count: from_load(connections().run(requests=count)),
            lambda: from_load(connections().run(seconds=SLICE)),
            seconds,
        )


@contextmanager
def websocket_server(start: Start, loop: str) -> Iterator[Scene]:
    """A WebSocket server under our own load, since wrk knows no WebSockets."""
    with (
        ServerUnderTest(start.under_test(f"{PROGRAMS}.websockets_server"), loop, start.limit) as server,
        load.Load(server.port, load.websocket(MESSAGE), CONNECTIONS) as connections,
    ):
        yield Scene(
            server.pid,
            lambda count: from_load(connections.run(requests=count)),
            lambda: from_load(connections.run(seconds=SLICE)),
        )


def from_load(told: load.Told) -> Told:
    return Told(told.requests, told.seconds, {share: told.latency(share) for share in (0.5, 0.99)})


@contextmanager
def client(start: Start, loop: str, *command: str) -> Iterator[Scene]:
    with client_under_test(start.under_test(*command), loop, start.limit) as under_test:

        def run(unit: str, amount: float) -> Told:
            told = under_test.ask(f"{unit} {amount}", start.limit)
            return Told(int(told["requests"]), told["seconds"])

        yield Scene(under_test.pid, partial(run, "requests"), partial(run, "seconds", SLICE))


@contextmanager
def http_client(start: Start, loop: str) -> Iterator[Scene]:
    with (
        ServerUnderTest(start.beside(f"{PROGRAMS}.http_peer", BODY), "asyncio") as peer,
        client(start, loop, f"{PROGRAMS}.aiohttp_client", f"http://127.0.0.1:{peer.port}/plain", BODY) as scene,
    ):
        yield scene


@contextmanager
def postgres_client(rows: int, start: Start, loop: str) -> Iterator[Scene]:
    address = json.dumps(start.database(Postgres).address("tcp"))
    with client(start, loop, f"{PROGRAMS}.asyncpg_client", str(rows), address) as scene:
        yield scene


@contextmanager
def redis_client(commands: int, start: Start, loop: str) -> Iterator[Scene]:
    address = json.dumps(start.database(Redis).address("tcp"))
    with client(start, loop, f"{PROGRAMS}.redis_client", str(commands), address) as scene:
        yield scene


def uvicorn(app: str, path: str, body: str) -> Setting:
    """uvicorn as its own command line starts it, with the parser of its `standard` extra."""
    loop = f"{PROGRAMS}.told:new_event_loop"
    options = ("--loop", loop, "--http", "httptools", "--no-access-log", "--port", "0")
    return partial(http_server, ("uvicorn", f"{PROGRAMS}.{app}:app", *options), path, body)


@dataclass(frozen=True)
class Program:
    """How it is set up, and after how many requests it is warm: the interpreter has specialised what it runs by then,
    and every connection has been used."""

    setting: Setting
    warm_up: int = 1000


AIOHTTP = (f"{PROGRAMS}.aiohttp_server",)
ALL = {
    "uvicorn": Program(uvicorn("asgi_app", "/", BODY)),
    "fastapi-plain": Program(uvicorn("fastapi_app", "/plain", BODY)),
    "fastapi-json": Program(uvicorn("fastapi_app", "/json", json.dumps(DOCUMENT, separators=(",", ":")))),
    "aiohttp-server-plain": Program(partial(http_server, AIOHTTP, "/plain", BODY)),
    "aiohttp-server-json": Program(partial(http_server, AIOHTTP, "/json", json.dumps(DOCUMENT))),
    "aiohttp-client": Program(http_client),
    "websockets": Program(websocket_server),
    "asyncpg-select-1": Program(partial(postgres_client, 1)),
    "asyncpg-1000-rows": Program(partial(postgres_client, 1000), warm_up=100),
    "redis-single": Program(partial(redis_client, 1)),
    "redis-pipeline": Program(partial(redis_client, PIPELINE), warm_up=50),
}
