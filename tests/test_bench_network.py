"""The network benchmark works: every server does what its rows need, under the load generator, on both loops.

Figures are not looked at, but that there are any. That a wrong answer, a stall and a busy client are noticed is what
the generator's own tests in benches/load are about.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from benches.instructions.measure import by_object
from benches.network import counts, generator, group
from benches.network.measure import Equipment, Length
from benches.network.rows import BY_KEY, PLAIN, ROWS, Row
from benches.suite.group import NoFigure

ONE_OF_EACH = {(row.shape.program, row.shape.carrier): row for row in reversed(ROWS) if row.shape.load}
LIMITS = [row for row in ONE_OF_EACH.values() if row.spec.limits]
SHORT = Length(settling=0.02, slice=0.05, by_itself=0.05, warmup=0.02, latency=0.05)


@pytest.fixture(scope="session")
def equipment() -> Equipment:
    return Equipment(Path(sys.executable), generator.build("dev"), SHORT)


def answered(equipment: Equipment, row: Row, subject: str) -> object:
    """What part of the requests that were sent has been answered: more than there are connections, so all are used."""
    shape = replace(row.shape, connections=min(row.shape.connections, 8))
    few = 8 if shape.load.startswith("bulk") else 64
    with equipment.server(shape, subject) as server:
        amount = ["--warmup-requests", str(few), "--requests", str(few)]
        command = equipment.where(shape, server)
        told = generator.run(equipment.generator, [*command, *amount, "--server-pid", str(server.process.pid)])
    assert told["server_us_per_request"] is not None
    return told["requests"] / few


@pytest.mark.parametrize("row", ONE_OF_EACH.values(), ids=lambda row: f"{row.shape.program}-{row.shape.carrier}")
def test_a_server_answers_on_every_loop(row: Row, loop_name: str, equipment: Equipment) -> None:
    assert answered(equipment, row, loop_name) == 1


@pytest.mark.parametrize("row", LIMITS, ids=lambda row: row.spec.key)
def test_the_plain_server_answers_where_it_is_the_limit(row: Row, equipment: Equipment) -> None:
    assert answered(equipment, row, PLAIN) == 1


@pytest.mark.parametrize("key", ["connect", "spawn", "getaddrinfo"])
def test_a_loop_works_by_itself(key: str, loop_name: str, equipment: Equipment) -> None:
    with equipment.opened(BY_KEY[key].shape, loop_name) as station:
        for _ in range(2):
            sample = station.slice()
            assert sample.value > 0
            assert sample.extra["per second"] > 0
        assert station.beside() == {}


@pytest.mark.parametrize("key", ["echo-streams-lines-tcp-10-1k", "bulk-up-unix", "tls-handshake"])
def test_slices_have_the_figures_of_their_row(key: str, loop_name: str, equipment: Equipment) -> None:
    shape = BY_KEY[key].shape
    with equipment.opened(shape, loop_name) as station:
        for _ in range(3):
            sample = station.slice()
            assert sample.value > 0
            assert sample.extra.keys() <= {"requests per second"}
        latencies = {"p50 in µs at 10,000 requests a second", "p99 in µs at 10,000 requests a second"}
        assert station.beside().keys() == (latencies if shape.rate else set())


def test_a_loop_that_cannot_serve_has_a_reason(equipment: Equipment) -> None:
    with pytest.raises(NoFigure, match="ModuleNotFoundError: No module named 'no_such_loop'"):
        equipment.opened(BY_KEY["echo-protocol-tcp-1-1k"].shape, "no_such_loop").__enter__()


@contextmanager
def garbling() -> Generator[str]:
    """A server that turns a bit in what it sends back."""

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            while data := client.recv(4096):
                client.sendall(data[:-1] + bytes([data[-1] ^ 1]))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield "{}:{}".format(*listener.getsockname())
        thread.join()


def test_a_wrong_answer_is_no_figure(equipment: Equipment) -> None:
    with garbling() as address, pytest.raises(NoFigure, match="the answer is wrong"):
        generator.run(equipment.generator, ["echo", "--tcp", address, "--size", "1000", "--requests", "9"])


def test_the_group_has_what_the_issue_asks_for() -> None:
    shapes = [row.shape for row in ROWS]
    assert {shape.connections for shape in shapes} >= {1, 10, 100, 1000}
    assert {shape.size for shape in shapes} >= {100, 1000, 10_000, 64 * 1024, 100_000}
    assert len(BY_KEY) == len(ROWS) == len(group.rows())
    # Every row that carries something is of a kind that the tests above have run.
    assert {(shape.program, shape.carrier) for shape in shapes if shape.load} == set(ONE_OF_EACH)


def test_a_short_run_has_each_style() -> None:
    quick = [spec for spec in group.rows() if spec.quick]
    assert {spec.key.rsplit("-", 3)[0] for spec in quick} == {"echo-protocol", "echo-streams-read", "echo-sock"}


def test_counts_are_the_difference_of_two_loads() -> None:
    dump = "ob=/lib/a.so\nfn=f\n1 10\ncalls=1 5\n2 900\nob=b\n+3 5\n* 7\n"
    assert by_object(dump) == {"a.so": 10, "b": 12}
    short, long = Counter(send=450, open=3), Counter(send=1250, open=3)
    assert counts.per_request(short, long) == {"send": 1.0}
