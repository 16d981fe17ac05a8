"""Programs of others, unchanged, on each loop: web servers, a web client, WebSockets, PostgreSQL and Redis.

The figure of a row is what one request costs the process under test, user and system time together, between two marks;
beside it stand requests per second and, where the load tells them, latencies. The process under test has one processor
to itself; wrk, the databases and this process share the other.

What the programs are and what loads them is in settings.py.
"""

from __future__ import annotations

import atexit
import functools
import subprocess
from collections.abc import Sequence

from benches.real import cpu, load, settings, wrk
from benches.real.services import Database
from benches.real.subject import FailedError
from benches.suite.environment import ROOT, Bench, MissingError
from benches.suite.group import AHEAD, NoFigure, Sample, Spec
from benches.suite.pairs import FEWER

TITLE = "Real programs: processor time of the process under test per request"
REQUIREMENTS = ("test", "real")  # the latter holds plug-ins for the former
DEBIAN = ("postgresql", "redis-server", "util-linux", "wrk")

# wrk knows whole seconds. At thousands of requests a second one is enough: what varies is the process, not the second.
SECONDS = 1

LATENCIES = {0.5, 0.99}

MICROSECONDS = 1e6
MILLISECONDS = 1e3

# What a sample takes: the start, the load, the end. A framework takes longer to import.
COST, FRAMEWORK = SECONDS + 0.4, SECONDS + 0.9


def spec(key: str, title: str, per: str = "request", *, seconds: float = COST) -> Spec:
    return Spec(key, title, f"µs of CPU per {per}", target=AHEAD, pairs=FEWER, seconds=seconds)


SPECS = (
    Spec(
        "uvicorn",
        "uvicorn, an ASGI function, a text",
        "µs of CPU per request",
        target=AHEAD,
        against={"uvloop": 1.5, "zuvloop": AHEAD},
        quick=True,
        seconds=COST,
    ),
    spec("fastapi-plain", "uvicorn + FastAPI, a text", seconds=FRAMEWORK),
    spec("fastapi-json", "uvicorn + FastAPI, JSON", seconds=FRAMEWORK),
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


def measure(row: Spec, subject: str, bench: Bench) -> Sample:
    cores = cpu.cores()
    start = settings.Start(str(bench.python), database, ("taskset", "--cpu-list", str(cores.under_test)))
    program = settings.ALL[row.key]
    try:
        with cpu.on(cores.beside), program.setting(start, subject) as scene:
            scene.requests(program.warm_up)
            before = cpu.used(scene.pid)
            told = scene.seconds(SECONDS)
            used = cpu.used(scene.pid) - before
    except (FailedError, load.WrongAnswerError, wrk.FailedRequestsError, OSError) as failure:
        raise NoFigure(str(failure)) from failure
    beside = {"requests per second": told.requests / told.seconds, "share of the processor": used / told.seconds}
    for share in LATENCIES & told.latencies.keys():
        beside[f"latency, {share:.0%}, ms"] = told.latencies[share] * MILLISECONDS
    return Sample(used / told.requests * MICROSECONDS, beside)


@functools.cache
def database(kind: type[Database]) -> Database:
    """One of each serves all samples: it is not under test."""
    server = kind()
    atexit.register(server.stop)
    server.start()
    return server
