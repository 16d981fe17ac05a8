"""Inside a module's process: collect its tests, run the ones asked for, stream what happens.

Each event is one JSON line on a pipe of its own, written before the next thing starts, so that the parent knows which
test ran when the process hangs or dies. The module is imported only after the substitution is in place.
"""

from __future__ import annotations

import faulthandler
import importlib
import inspect
import json
import os
import sys
import traceback
import types
import unittest
import warnings
from collections.abc import Iterator
from typing import Any

from stdlib.conformance.substitution import Substitution, substitute


class Stream:
    """Where events go. A forked child of a test shares the descriptor, and must stay silent."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self._fd = fd
        self._pid = os.getpid()

    def send(self, event: str, **fields: Any) -> None:
        if os.getpid() == self._pid:
            line = json.dumps({"event": event, **fields}) + "\n"
            os.write(self._fd, line.encode())


class StreamingResult(unittest.TestResult):
    """Turns unittest's calls into one `start` and one `result` event per test."""

    def __init__(self, stream: Stream, substitution: Substitution | None) -> None:
        super().__init__()
        self._out = stream
        self._substitution = substitution
        self._outcome = "passed"
        self._detail = ""
        self._running = ""

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self._outcome, self._detail = "passed", ""
        self._running = test_id(test)
        self._out.send("start", id=self._running)
        if self._substitution is not None:
            self._substitution.begin_test()

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().stopTest(test)
        if not self._running:
            return  # see addSkip
        loops = 0 if self._substitution is None else self._substitution.loops
        self._out.send("result", id=self._running, outcome=self._outcome, detail=self._detail, loops=loops)
        self._running = ""

    def _note(self, test: Any, outcome: str, detail: str) -> None:
        if not isinstance(test, unittest.TestCase):  # a class or module fixture: `setUpClass (module.Class)`
            self._out.send("fixture", name=str(test), outcome=outcome, detail=detail)
        elif self._outcome in ("passed", "skipped"):  # the first failure tells most; a skipped subtest hides none
            self._outcome, self._detail = outcome, detail

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        self._note(test, "error", formatted(err))

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self._note(test, "failed", formatted(err))

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        if isinstance(test, unittest.TestCase) and test_id(test) != self._running:
            # One subtest that skips itself is no skip of the test. 3.12.1 starts no test that is not to run.
            if not self._running:
                self._out.send("result", id=test_id(test), outcome="skipped", detail=reason, loops=0)
            return
        self._note(test, "skipped", reason)

    def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self._note(test, "expected failure", formatted(err))

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
        self._note(test, "unexpected success", "")

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self._note(test, "failed" if issubclass(err[0], test.failureException) else "error", formatted(err))


def formatted(err: Any) -> str:
    """The traceback, cut in the middle if a test compares megabytes."""
    text = "".join(traceback.format_exception(*err))
    return text if len(text) < 6000 else text[:2000] + "\n…\n" + text[-4000:]


def test_id(test: unittest.TestCase) -> str:
    return f"{type(test).__qualname__}.{test._testMethodName}"


def flatten(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def lineage(cls: type) -> list[list[str]]:
    """The class and its bases as (file, qualified name): where the parent may look for the source of a method."""
    places = []
    for base in cls.__mro__:
        file = getattr(sys.modules.get(base.__module__), "__file__", None)
        if file is not None and base.__module__.split(".")[0] != "unittest":
            places.append([file, base.__qualname__])
    return places


def collect(module: types.ModuleType) -> list[unittest.TestCase]:
    tests = list(flatten(unittest.defaultTestLoader.loadTestsFromModule(module)))
    ids = [test_id(test) for test in tests]
    if len(set(ids)) != len(ids):
        raise RuntimeError(f"{module.__name__} has two tests of one name")
    return tests


def main(config_path: str, fd: int) -> None:
    """Run what the configuration file asks for; its keys are written by `process.py`."""
    faulthandler.enable()
    with open(config_path, encoding="utf-8") as file:
        config = json.load(file)
    stream = Stream(fd)
    sys.path[1:1] = config["paths"]

    substitution = None
    if config["loop"] is not None:
        substitution = substitute(config, stream.send)
    try:
        module = importlib.import_module(config["module"])
        if substitution is not None:
            substitution.adapt_module(module)
        tests = collect(module)
    except unittest.SkipTest as skip:
        stream.send("module skipped", reason=str(skip))
        stream.send("done")
        return
    classes = {type(test).__qualname__: lineage(type(test)) for test in tests}
    stream.send("collected", tests=[test_id(test) for test in tests], classes=classes, file=inspect.getfile(module))

    wanted = config["tests"]
    suite = unittest.TestSuite(test for test in tests if wanted is None or test_id(test) in wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        suite.run(StreamingResult(stream, substitution))
    stream.send("done")
