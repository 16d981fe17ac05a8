"""One row on one loop, made ready: a server on its processor, a load on another, and what a request costs the server.

The load's connections stay, and between slices nothing is under way on them; a load that makes connections, or ends
its only one, is a process for each slice, which has to be longer: the kernel keeps the processor time of a process that
runs by the tick of 4 ms, and that of one that sleeps to the nanosecond. A slice is as fast as the server answers.

Where the row has a rate, another load offers so many requests a second to the same server, and the latencies count from
when each was due.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benches.network import generator
from benches.network.processes import AUTHORITY, CERTIFICATE, START, Running, cores, serving
from benches.network.rows import PLAIN, Shape
from benches.suite.group import NoFigure, Sample
from benches.suite.talking import ANSWER, Talking
from benches.suite.talking import START as READY


@dataclass(frozen=True)
class Length:
    """How long the parts are, in seconds, and what comes before some of them."""

    slice: float = 0.03
    # Of a load that is a process for each slice, which begins and ends while the server works.
    settling: float = 0.02
    by_itself: float = 0.12
    warmup: float = 0.05
    latency: float = 0.1


@dataclass(frozen=True)
class Loaded:
    """A server that is ready to be loaded, and how."""

    load: Callable[[], Mapping[str, Any]]
    at_rate: Callable[[], Mapping[str, Any]] | None
    rate: int | None

    def slice(self) -> Sample:
        told = self.load()
        if not told["server_us_per_request"]:
            raise NoFigure("the server took no time at all")
        # Without a throughput it is the client that could do no more.
        extra = {} if told["per_second"] is None else {"requests per second": told["per_second"]}
        return Sample(told["server_us_per_request"], extra)

    def beside(self) -> Mapping[str, float]:
        if self.at_rate is None:
            return {}
        told = self.at_rate()
        return {f"{name} in µs at {self.rate:,} requests a second": told[f"{name}_us"] for name in ("p50", "p99")}


@dataclass(frozen=True)
class Working:
    """A loop that is the one that asks."""

    process: Talking
    seconds: float

    def slice(self) -> Sample:
        told = self.process.ask(str(self.seconds))
        return Sample(told["value"], {"per second": told["per_second"]})

    def beside(self) -> Mapping[str, float]:
        return {}


@dataclass(frozen=True)
class Equipment:
    """What a row is measured with."""

    python: Path
    generator: Path
    length: Length = Length()

    @contextmanager
    def opened(self, shape: Shape, subject: str) -> Iterator[Loaded | Working]:
        with self.loaded(shape, subject) if shape.load else self.working(shape, subject) as station:
            yield station

    @contextmanager
    def loaded(self, shape: Shape, subject: str) -> Iterator[Loaded]:
        with ExitStack() as held:
            server = held.enter_context(self.server(shape, subject, limit=READY))
            command = [*self.load(shape, server), "--server-pid", str(server.process.pid)]
            at_rate: Callable[[], Mapping[str, Any]] | None = None
            if shape.rate and self.length.latency:
                loaded = ("--warmup", str(self.length.warmup), "--seconds", str(self.length.latency))
                slower = [*self.load(shape, server), *loaded, "--rate", str(shape.rate)]
                at_rate = lambda: generator.run(self.generator, slower, ANSWER)  # noqa: E731
            if shape.load == "echo":
                load: Callable[[], Mapping[str, Any]] = held.enter_context(
                    Talking([self.generator, *command, "--seconds", str(self.length.slice), "--slices"])
                ).ask
            else:
                command += ["--warmup", str(self.length.settling), "--seconds", str(self.length.by_itself)]
                load = lambda: generator.run(self.generator, command, ANSWER)  # noqa: E731
            yield Loaded(load, at_rate, shape.rate)

    @contextmanager
    def server(self, shape: Shape, subject: str, *before: str, limit: float = START) -> Iterator[Running]:
        """The row's server on that loop, or the plain one; `before` goes before the command."""
        core, _ = cores()
        with tempfile.TemporaryDirectory(prefix="oneloop-") as folder:
            where = ["--unix", f"{folder}/socket"] if shape.carrier == "unix" else []
            if subject == PLAIN:
                internet = "--udp" if shape.carrier == "udp" else "--tcp"
                where = where or [internet, "127.0.0.1:0"]
                command = [str(self.generator), "serve", str(shape.plain), *where]
            else:
                if shape.carrier == "tls":
                    where += ["--tls", str(CERTIFICATE)]
                command = [str(self.python), "-m", "benches.network.serving", subject, shape.program, *where]
                command += ["--size", str(shape.size)]
            with serving([*before, *command, "--core", str(core)], limit) as running:
                yield running

    def load(self, shape: Shape, server: Running) -> list[str]:
        return [*self.where(shape, server), "--core", str(cores()[1])]

    def where(self, shape: Shape, server: Running) -> Sequence[str]:
        """The command up to how long it lasts."""
        place = {"unix": "--unix", "udp": "--udp"}.get(shape.carrier, "--tcp")
        command = [shape.load, place, server.address, "--connections", str(shape.connections)]
        command += ["--size", str(shape.size)]
        if shape.carrier == "tls":
            command += ["--tls", str(AUTHORITY)]
        if shape.program == "streams-lines":
            command.append("--line")
        return command

    @contextmanager
    def working(self, shape: Shape, subject: str) -> Iterator[Working]:
        """Whom the loop asks is the plain server, on the other processor."""
        core, other = cores()
        plain: list[str | Path] = [self.generator, "serve", "accept", "--tcp", "127.0.0.1:0", "--core", str(other)]
        with serving(plain, READY) as server:
            command: list[str | Path] = [self.python, "-m", "benches.network.work", subject, shape.program]
            command += ["--address", server.address, "--core", str(core)]
            with Talking(command) as process:
                yield Working(process, self.length.slice)
