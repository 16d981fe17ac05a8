"""One sample: a fresh server on its processor, a fresh load on another, and what the server paid for each request.

A row is measured as fast as the server answers. Where it has a rate, a second load follows on the same server, which
offers so many requests a second, and whose latencies count from when each was due.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benches.network import generator
from benches.network.processes import AUTHORITY, CERTIFICATE, Running, cores, serving
from benches.network.rows import PLAIN, Shape
from benches.suite import child
from benches.suite.group import NoFigure, Sample


@dataclass(frozen=True)
class Length:
    """How long the parts of a sample are, in seconds."""

    warmup: float = 0.05
    measured: float = 0.15
    latency: float = 0.1


# For a run that is to say something within a minute: no latencies.
QUICK = Length(warmup=0.05, measured=0.12, latency=0)


@dataclass(frozen=True)
class Equipment:
    """What a sample is taken with."""

    python: Path
    generator: Path
    length: Length = Length()

    def sample(self, shape: Shape, subject: str) -> Sample:
        return self.loaded(shape, subject) if shape.load else self.working(shape, subject)

    def loaded(self, shape: Shape, subject: str) -> Sample:
        with self.server(shape, subject) as server:
            pid = ["--server-pid", str(server.process.pid)]
            closed = generator.run(self.generator, self.load(shape, server, self.length.measured, *pid))
            value = closed["server_us_per_request"]
            extra = {}
            if closed["per_second"] is not None:  # else it is the client that could do no more
                extra["requests per second"] = closed["per_second"]
            if shape.rate and self.length.latency:
                rate = ["--rate", str(shape.rate)]
                fixed = generator.run(self.generator, self.load(shape, server, self.length.latency, *rate))
                for name in ("p50", "p99"):
                    extra[f"{name} in µs at {shape.rate:,} requests a second"] = fixed[f"{name}_us"]
        if not value:
            raise NoFigure("the server took no time at all")
        return Sample(value, extra)

    @contextmanager
    def server(self, shape: Shape, subject: str, *before: str) -> Iterator[Running]:
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
            with serving([*before, *command, "--core", str(core)]) as running:
                yield running

    def load(self, shape: Shape, server: Running, seconds: float, *more: str) -> Sequence[str]:
        return [
            *self.where(shape, server),
            *("--warmup", str(self.length.warmup), "--seconds", str(seconds), "--core", str(cores()[1])),
            *more,
        ]

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

    def working(self, shape: Shape, subject: str) -> Sample:
        """The loop is the one that asks; whom it asks is the plain server, on the other processor."""
        core, other = cores()
        with serving([self.generator, "serve", "accept", "--tcp", "127.0.0.1:0", "--core", str(other)]) as server:
            command = [str(self.python), "-m", "benches.network.work", subject, shape.program]
            command += ["--address", server.address, "--seconds", str(self.length.measured), "--core", str(core)]
            told = child.answer(command)
        return Sample(told["value"], {"per second": told["per_second"]})
