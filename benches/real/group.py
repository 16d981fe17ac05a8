"""Programs of others, unchanged, on each loop: web servers, a web client, WebSockets, PostgreSQL and Redis.

The figure of a row is what one request costs the process under test, user and system time together, in slices of load
that this process puts on it; beside it stand requests per second, and for web servers what wrk says, and what a
request cost under wrk. The process under test has one processor to itself; wrk, the databases and this process share
the other.

What the programs are and what loads them is in settings.py.
"""

from __future__ import annotations

import atexit
import functools
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from benches.real import cpu, load, settings, wrk
from benches.real.services import Database
from benches.real.subject import FailedError
from benches.suite.environment import ROOT, Bench, MissingError
from benches.suite.group import AHEAD, NoFigure, Sample, Spec, Station

TITLE = "Real programs: processor time of the process under test per request"
REQUIREMENTS = ("test", "real")  # the latter holds plug-ins for the former
DEBIAN = ("postgresql", "redis-server", "util-linux", "wrk")

# wrk knows whole seconds.
SECONDS = 1

LATENCIES = {0.5, 0.99}

MICROSECONDS = 1e6
MILLISECONDS = 1e3
# After the last answer a process falls asleep, and only then is its clock up to date.
ASLEEP = 0.001
FAILURES = (FailedError, load.WrongAnswerError, wrk.FailedRequestsError, OSError)

# What it takes to make a program ready; a framework takes longer to import. And how long a slice is.
COST, FRAMEWORK = 0.5, 0.9
ROUNDS = 16


def spec(key: str, title: str, per: str = "request", *, start: float = COST) -> Spec:
    return Spec(key, title, f"µs of CPU per {per}", target=AHEAD, rounds=ROUNDS, start=start, seconds=settings.SLICE)


SPECS = (
    Spec(
        "uvicorn",
        "uvicorn, an ASGI function, a text",
        "µs of CPU per request",
        target=AHEAD,
        against={"uvloop": 1.5, "zuvloop": AHEAD},
        quick=True,
        rounds=ROUNDS,
        start=COST,
        seconds=settings.SLICE,
    ),
    spec("fastapi-plain", "uvicorn + FastAPI, a text", start=FRAMEWORK),
    spec("fastapi-json", "uvicorn + FastAPI, JSON", start=FRAMEWORK),
    spec("aiohttp-server-plain", "aiohttp's server, a text"),
    spec("aiohttp-server-json", "aiohttp's server, JSON"),
    spec("aiohttp-client", "aiohttp's client, GET"),
    spec("websockets", f"websockets' server, echo of {settings.MESSAGE} B", "message"),
    spec("asyncpg-select-1", "asyncpg, SELECT 1", "query"),
    spec("asyncpg-1000-rows", "asyncpg, 1,000 rows", "query"),
    spec("redis-single", "redis-py, GET", "command"),
    spec("redis-pipeline", f"redis-py, a pipeline of {settings.PIPELINE} GETs", "pipeline"),
)


def rows() -> Sequence[Spec]:
    return SPECS


def prepare(bench: Bench) -> None:
    script = ROOT / "scripts" / "debian-packages"
    done = subprocess.run([script, *DEBIAN], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise MissingError(done.stderr.strip().splitlines()[-1])


class Scenery:
    """A program that is warm."""

    def __init__(self, scene: settings.Scene, cores: cpu.Cores) -> None:
        self._scene = scene
        self._cores = cores

    def slice(self) -> Sample:
        figure, told, share = self._measured(self._scene.slice)
        return Sample(figure, {"requests per second, in a slice": told.requests / told.seconds, "share": share})

    def beside(self) -> Mapping[str, float]:
        """A second of the load that the group is named for; wrk knows whole ones only."""
        if self._scene.seconds is None:
            return {}
        figure, told, share = self._measured(functools.partial(self._scene.seconds, SECONDS))
        extra = {"requests per second, wrk": told.requests / told.seconds, "share of the processor, wrk": share}
        extra["µs of CPU per request, wrk"] = figure
        for latency in LATENCIES & told.latencies.keys():
            extra[f"latency, {latency:.0%}, ms, wrk"] = told.latencies[latency] * MILLISECONDS
        return extra

    def _measured(self, load: Callable[[], settings.Told]) -> tuple[float, settings.Told, float]:
        """µs per request, and the share of its processor that the process used."""
        try:
            with cpu.on(self._cores.beside):
                before = cpu.used(self._scene.pid)
                told = load()
                time.sleep(ASLEEP)
                used = cpu.used(self._scene.pid) - before
        except FAILURES as failure:
            raise NoFigure(str(failure)) from failure
        if not told.requests:
            raise NoFigure("no request was answered")
        return used / told.requests * MICROSECONDS, told, used / told.seconds


@contextmanager
def opened(row: Spec, subject: str, bench: Bench) -> Iterator[Station]:
    cores = cpu.cores()
    start = settings.Start(str(bench.python), database, ("taskset", "--cpu-list", str(cores.under_test)))
    program = settings.ALL[row.key]
    with ExitStack() as held:
        try:
            with cpu.on(cores.beside):
                scene = held.enter_context(program.setting(start, subject))
                scene.requests(program.warm_up)
        except FAILURES as failure:
            raise NoFigure(str(failure)) from failure
        yield Scenery(scene, cores)


_databases: dict[type[Database], Database] = {}
_starting = threading.Lock()


def database(kind: type[Database]) -> Database:
    """One of each serves all: it is not under test."""
    with _starting:  # programs are made ready two at a time
        if kind not in _databases:
            server = kind()
            atexit.register(server.stop)
            server.start()
            _databases[kind] = server
        return _databases[kind]
