"""Every test runs twice: on asyncio's loop, which says what is right, and on oneloop's.

A test asks for `loop_factory`, `loop_class`, `loop_name` or a ready-made `loop`. What exists only on ours takes the
`oneloop` fixture (the imported package) and runs once. A missing oneloop fails its half; it is never skipped. Select
a half with `-m on_asyncio` or `-m on_oneloop`; the driver is chosen outside, with ONELOOP_DRIVER.

Each test has a time limit: first by a signal, which fails that test, and if the process no longer looks at signals by
faulthandler, which says where every thread is and ends the run.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable, Generator
from types import ModuleType

import pytest

# So that an assertion in there says what it saw.
pytest.register_assert_rewrite("helpers")

from helpers import descriptors, loops, processes  # noqa: E402

# What a busy machine takes seconds for, a slow and busy one takes many for; a hang is seen after a minute as well.
LIMIT = 60

_stderr: int | None = None


class TimeLimit(KeyboardInterrupt):
    """A test took too long. A KeyboardInterrupt, as a loop reports every other exception and goes on."""


def pytest_configure(config: pytest.Config) -> None:
    global _stderr
    _stderr = os.dup(2)
    # Python leaves a Ctrl-C alone that its parent ignores, as a shell does for what it starts in the background. A run
    # is to be the same wherever it is started: tests look at who handles the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "on_asyncio: runs on asyncio's own loop, the control")
    config.addinivalue_line("markers", "on_oneloop: runs on oneloop's loop")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "loop_name" in metafunc.fixturenames:
        halves = [pytest.param(name, marks=getattr(pytest.mark, f"on_{name}")) for name in loops.NAMES]
        metafunc.parametrize("loop_name", halves, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "oneloop" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.on_oneloop)


def pytest_collection_finish() -> None:
    if hypothesis := sys.modules.get("hypothesis"):
        # Its first use looks among the collector's objects for who holds its random numbers: so before the freeze.
        first = hypothesis.settings(max_examples=1, database=None)(lambda _: None)
        hypothesis.given(hypothesis.strategies.none())(first)()
    # What pytest holds already is not looked at again, so that a collection after every test is cheap.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    def too_long(*_: object) -> None:
        raise TimeLimit(f"the test took more than {LIMIT} s")

    assert _stderr is not None
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT)
    faulthandler.dump_traceback_later(LIMIT + 20, exit=True, file=_stderr)
    try:
        return (yield)
    except TimeLimit as limit:
        pytest.fail(str(limit))
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def loop_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def loop_factory(loop_name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    return loops.loop_factory(loop_name)


@pytest.fixture
def loop_class(loop_name: str) -> type[asyncio.AbstractEventLoop]:
    return loops.loop_class(loop_name)


@pytest.fixture(params=[False, True], ids=["plain", "debug"])
def debug(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def loop(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> Generator[asyncio.AbstractEventLoop]:
    """A loop of the half's kind, closed afterwards."""
    loop = loop_factory()
    yield loop
    assert not loop.is_running()
    loop.close()


@pytest.fixture
def clocked(loop_class: type[asyncio.AbstractEventLoop]) -> Generator[asyncio.AbstractEventLoop]:
    """A loop whose clock the test moves."""
    loop = loops.manual_clock(loop_class)()
    yield loop
    loop.close()


@pytest.fixture
def oneloop() -> ModuleType:
    """The package itself, for what only it has."""
    return importlib.import_module("oneloop")


@pytest.fixture(autouse=True)
def undisturbed_process() -> Generator[None]:
    """Whatever a test does, the process is as before: no running loop, no wake-up descriptor, Python's own Ctrl-C.

    And what it leaves to the collector, like a loop that nobody closed, is its own failure and not a later test's. Nor
    does a later test see the descriptors of a lookup that this one has given up.
    """
    yield
    gc.collect()
    descriptors.eventually_idle_pools()
    running = asyncio._get_running_loop()
    wakeup = signal.set_wakeup_fd(-1)
    interrupt = signal.getsignal(signal.SIGINT)
    asyncio._set_running_loop(None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert (running, wakeup, interrupt) == (None, -1, signal.default_int_handler)


@pytest.fixture
def no_child_is_left() -> Generator[None]:
    """Whatever a test does, its child processes are gone afterwards: leaving one is its failure, not a later test's."""
    yield
    assert processes.end_all() == {}
