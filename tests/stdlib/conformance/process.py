"""Runs one module's tests in processes of their own, and always comes back with an answer for each test.

A test that exceeds its limit, or during which the process dies, is recorded as such, and the tests after it go on in a
fresh process: one crash does not hide the others. A whole module has a limit too, which bounds all of this; its time
counts from the first test on. Starting a process and its exit have limits of their own, since how long an interpreter
takes for them on a busy machine says nothing about a test.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stdlib.conformance.tables import Module, Tables

CHILD = Path(__file__).resolve().parent.parent / "child.py"
START_LIMIT = 60.0
EXIT_LIMIT = 30.0
ABORT_LIMIT = 5.0


@dataclass
class Outcome:
    """What became of one test."""

    outcome: str  # passed, failed, error, skipped, expected failure, unexpected success, hang, crash, not run
    detail: str = ""
    loops: int = 0


@dataclass
class Run:
    """What became of one module."""

    tests: dict[str, Outcome] = field(default_factory=dict)  # in the order of collection
    classes: dict[str, list[list[str]]] = field(default_factory=dict)
    file: str = ""
    fixtures: dict[str, Outcome] = field(default_factory=dict)  # setUpClass and the like, when they fail
    loop: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def finished(self) -> bool:
        """Whether every test has an answer of its own."""
        lost = ("hang", "crash", "not run")
        answers = (*self.tests.values(), *self.fixtures.values())
        return not any(outcome.outcome in lost for outcome in answers)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Run:
        run = cls(**data)
        run.tests = {name: Outcome(**value) for name, value in data["tests"].items()}
        run.fixtures = {name: Outcome(**value) for name, value in data["fixtures"].items()}
        return run


def run_module(
    tables: Tables, module: Module, *, loop: str | None, driver: str | None, only: set[str] | None = None
) -> Run:
    """Run a module on asyncio's loop (`loop` is None) or on the loop named `module:Class`."""
    config = {
        "module": f"{tables.package}.{module.name}",
        "loop": loop,
        "privates": tables.privates(),
        "paths": [str(tables.folder)],
        "tests": sorted(only) if only is not None else None,
    }
    run = Run()
    started = time.monotonic()
    limits = _Limits(module.test_limit, module.module_limit)
    pending = only
    while True:
        child = _Child(run, config | {"tests": sorted(pending) if pending is not None else None}, driver)
        finished = child.follow(limits)
        wanted = [test for test in run.tests if only is None or test in only]
        left = {test for test in wanted if run.tests[test].outcome == "not run"}
        if finished or not left or child.failed_outside_tests or limits.module_is_over():
            break
        pending = left
    run.tests = {test: outcome for test, outcome in run.tests.items() if only is None or test in only}
    run.seconds = time.monotonic() - started
    return run


@dataclass
class _Limits:
    """Until when the next event has to come."""

    test: float
    module: float
    _deadline: float = math.inf

    def tests_begin(self) -> None:
        """A process has collected its tests: the module's time counts from the first time on."""
        self._deadline = min(self._deadline, time.monotonic() + self.module)

    def of_next(self, limit: float) -> float:
        return min(time.monotonic() + limit, self._deadline)

    def module_is_over(self) -> bool:
        return time.monotonic() >= self._deadline


class _Child:
    """One process, from start to end."""

    def __init__(self, run: Run, config: dict[str, Any], driver: str | None) -> None:
        self._run = run
        self._config = config
        self._driver = driver
        self._current: str | None = None
        self._last: str | None = None
        self._collected = False
        self._done = False
        self.failed_outside_tests = False

    def follow(self, limits: _Limits) -> bool:
        """Start, listen and wait; true if the process reported its end itself."""
        with tempfile.TemporaryDirectory(prefix="oneloop-stdlib-") as folder:
            log_path = Path(folder, "output")
            config_path = Path(folder, "config.json")
            config_path.write_text(json.dumps(self._config), encoding="utf-8")
            work = Path(folder, "work")
            work.mkdir()
            reader, writer = os.pipe()
            with log_path.open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, str(CHILD), str(config_path), str(writer)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=[writer],
                    cwd=work,
                    env=_environment(self._driver),
                    start_new_session=True,  # a hung test may have children: the group is killed as one
                )
            os.close(writer)
            try:
                hung = not self._listen(reader, limits)
                self._end(process, hung)
            finally:
                os.close(reader)
                _kill_group(process)
            output = log_path.read_text(encoding="utf-8", errors="replace")
        self._settle(process.returncode, hung, output)
        return self._done

    def _listen(self, reader: int, limits: _Limits) -> bool:
        """Take events until the pipe closes or the child is done; false if a limit passed."""
        os.set_blocking(reader, False)
        buffer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(reader, selectors.EVENT_READ)
            limit = limits.of_next(START_LIMIT)
            while True:
                if not selector.select(max(0.0, limit - time.monotonic())):
                    if time.monotonic() >= limit:
                        return False
                    continue
                try:
                    data = os.read(reader, 1 << 16)
                except BlockingIOError:
                    continue
                if not data:
                    return True
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    self._take(event.pop("event"), event)
                    if self._done:
                        return True
                if self._collected:
                    limits.tests_begin()
                    limit = limits.of_next(limits.test)

    def _take(self, name: str, event: dict[str, Any]) -> None:
        run = self._run
        if name == "loop":
            run.loop = event
        elif name == "collected":
            self._collected = True
            run.classes, run.file = event["classes"], event["file"]
            for test in event["tests"]:
                run.tests.setdefault(test, Outcome("not run"))
        elif name == "start":
            self._current = event["id"]
        elif name == "result":
            test = event.pop("id")
            run.tests[test] = Outcome(**event)
            self._current, self._last = None, test
        elif name == "fixture":
            self._take_fixture(event)
        elif name == "module skipped":
            run.fixtures["module"] = Outcome("skipped", event["reason"])
        elif name == "done":
            self._done = True

    def _take_fixture(self, event: dict[str, str]) -> None:
        """`setUpClass (package.module.Class)` decides over all tests of the class; a teardown stands for itself."""
        where, _, place = event["name"].partition(" ")
        outcome = Outcome(event["outcome"], event["detail"])
        if where == "setUpClass":
            class_name = place.strip("()").removeprefix(self._config["module"] + ".")
            for test, known in self._run.tests.items():
                if test.rpartition(".")[0] == class_name and known.outcome == "not run":
                    self._run.tests[test] = outcome
        elif where == "setUpModule":
            for test in self._run.tests:
                self._run.tests[test] = outcome
        else:
            self._run.fixtures[event["name"]] = outcome

    def _end(self, process: subprocess.Popen[bytes], hung: bool) -> None:
        """Wait for the exit; a hung process is asked for its stacks first (faulthandler answers to SIGABRT)."""
        if hung:
            process.send_signal(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(ABORT_LIMIT if hung else EXIT_LIMIT)

    def _settle(self, code: int | None, hung: bool, output: str) -> None:
        """Give the test that was running, or the process itself, its outcome."""
        tail = output[-4000:]
        what = Outcome("hang" if hung else "crash", f"{_describe(code)}\n{tail}")
        if self._current is not None:
            self._run.tests[self._current] = what
            return
        if self._done and code == 0:
            return
        if not self._run.tests or self._last is None:
            self.failed_outside_tests = True  # nothing ran: a fresh process would not do better
            self._run.fixtures["process"] = what
        else:
            self._run.fixtures[f"process after {self._last}"] = what


def _environment(driver: str | None) -> dict[str, str]:
    """The tests decide about debug mode and warnings themselves; nothing of the caller's may."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env.pop("ONELOOP_DRIVER", None)
    if driver is not None:
        env["ONELOOP_DRIVER"] = driver
    for name in ("PYTHONPATH", "PYTHONHOME"):
        if name in os.environ:
            env[name] = os.environ[name]
    return env


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _describe(code: int | None) -> str:
    if code is None:
        return "killed"
    if code == -signal.SIGKILL:
        return "died of SIGKILL, which the runner sends to a process that does not end"
    if code < 0:
        return f"died of {signal.Signals(-code).name}"
    return f"exit status {code}"


def failures(run: Run) -> Iterator[tuple[str, Outcome]]:
    """What went wrong outside the tests themselves."""
    for name, outcome in run.fixtures.items():
        if outcome.outcome != "skipped":
            yield name, outcome
