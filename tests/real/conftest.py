"""What the tests of other people's programs share: servers that outlive a test, and loops that leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import resource
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from helpers.descriptors import eventually_idle_pools, open_descriptors

from benches.real.services import Postgres, Redis
from real.services import PostgresOverTls

Factory = Callable[[], asyncio.AbstractEventLoop]
Run = Callable[[Coroutine[Any, Any, Any]], Any]

DESCRIPTORS = 2500


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of our own; tests leave no table behind."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_over_tls() -> Iterator[PostgresOverTls]:
    """One that talks TLS only, and only to those who show a certificate."""
    with PostgresOverTls() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A Redis of our own; each test finds it empty."""
    with Redis() as server:
        yield server


@pytest.fixture
def loop_factory(loop_factory: Factory) -> Iterator[Factory]:
    """Loops that leave nothing behind: what nobody handled is a failure, and so is a descriptor that stays open."""
    reported: list[str] = []

    def watched() -> asyncio.AbstractEventLoop:
        loop = loop_factory()
        loop.set_exception_handler(lambda _, context: reported.append(str(context)))
        return loop

    eventually_idle_pools()
    before = open_descriptors()
    yield watched
    gc.collect()
    assert reported == []
    # A lookup that was given up has sockets for a moment longer.
    eventually_idle_pools()
    assert {number: name for number, name in open_descriptors().items() if before.get(number) != name} == {}


@pytest.fixture
def run(loop_factory: Factory) -> Run:
    """Run a coroutine on a new loop."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(main)

    return run


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """A soft limit that is high enough for both ends of a thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        pytest.fail(f"oneloop: missing prerequisite: {DESCRIPTORS} descriptors (the hard limit is {hard}: ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, DESCRIPTORS), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
