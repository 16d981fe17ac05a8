"""The conformance runner is trusted because each thing that it promises to detect is shown to it here.

A small suite of its own takes the place of asyncio's: a module whose tests behave differently on a stand-in loop (a
plain subclass of asyncio's, so none of this needs oneloop), and tables with one row each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).parent / "run.py"

STAND_IN = """
import asyncio
from asyncio import unix_events

class Hidden:
    def __get__(self, loop, owner):
        raise AttributeError("not on this loop")

class StandIn(unix_events._UnixSelectorEventLoop):
    backend = "epoll"
    _sock_sendfile_native = Hidden()

    def __init__(self):
        super().__init__()
        for name in ("hidden",):
            setattr(self, name, True)

    def _run_once(self):
        if type(self)._is_subject:
            self.iterations = getattr(self, "iterations", 0) + 1
        super()._run_once()

    _is_subject = True

    async def create_server(self, *args, **kwargs):
        raise NotImplementedError("create_server is not there yet")
"""

SUITE = """
import asyncio
import os
import time
import unittest.mock

def on_subject():
    return hasattr(asyncio.SelectorEventLoop, "_is_subject")

class Tests(unittest.TestCase):
{body}
"""


@dataclass
class Report:
    """What the runner said and wrote."""

    status: int
    output: str
    json: dict[str, Any]

    @property
    def module(self) -> dict[str, Any]:
        [module] = self.json["modules"]
        return dict(module)

    def failed(self) -> dict[str, str]:
        return {test: outcome["outcome"] for test, outcome in self.module["failed_tests"].items()}


@dataclass
class Suite:
    """A folder with a suite of one module, its tables and our own tests."""

    folder: Path
    exclusions: str = ""
    settings: str = "test_limit = 30"

    def run(self, body: str, *arguments: str, loop: str = "standin:StandIn") -> Report:
        package = self.folder / "suite"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").touch()
        text = textwrap.indent(textwrap.dedent(body), "    ")
        (package / "test_things.py").write_text(SUITE.replace("{body}", text))
        (self.folder / "standin.py").write_text(STAND_IN)
        (self.folder / "modules.toml").write_text(
            f'package = "suite"\n[defaults]\n{self.settings}\n[modules]\ntest_things = {{}}\n'
        )
        (self.folder / "exclusions.toml").write_text(self.exclusions)
        own = self.folder / "own"
        own.mkdir(exist_ok=True)
        (own / "test_own.py").write_text("def test_outcome(): ...\nclass TestIt:\n    def test_method(self): ...\n")
        result = self.folder / "report.json"
        result.unlink(missing_ok=True)
        command = [sys.executable, str(RUN), "--tables", str(self.folder), "--own-tests", str(own), "--loop", loop]
        command += ["--control-cache", str(self.folder / "cache"), "--json", str(result), *arguments]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        )
        output = done.stdout + done.stderr
        return Report(done.returncode, output, json.loads(result.read_text()) if result.exists() else {})


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path)


def exclude(test: str = "Tests.test_it", **fields: str) -> str:
    """One row of exclusions.toml."""
    lines = [f'{name} = "{value}"' for name, value in fields.items()]
    return "\n".join(["[[exclude]]", 'module = "test_things"', f'tests = ["{test}"]', *lines, ""])


PRIVATE = {"private": "_sock_sendfile_native", "own": "test_own.py::test_outcome"}

NEEDS_PRIVATE = """
def test_it(self):
    loop = asyncio.new_event_loop()
    self.addCleanup(loop.close)
    if on_subject():
        loop._sock_sendfile_native
"""

PASSES = """
def test_it(self):
    asyncio.new_event_loop().close()
"""


def test_passing_suite_counts_tests_and_the_loops_they_made(suite: Suite) -> None:
    report = suite.run(
        """
        def test_with_loop(self):
            for _ in range(2):
                asyncio.new_event_loop().close()

        def test_without_loop(self):
            pass

        def test_control_fails(self):
            self.assertTrue(on_subject())

        @unittest.skip("on both")
        def test_skipped(self):
            pass
        """
    )
    assert report.status == 0, report.output
    assert report.module["counted"] == 2
    assert report.module["on_loop"] == 1
    assert report.module["uncounted"] == {"Tests.test_control_fails": "failed", "Tests.test_skipped": "skipped"}
    assert report.output.splitlines()[-1].endswith("-default: 2 passed, 0 failed, 0 excluded")


def test_every_name_of_the_default_loop_leads_to_the_loop_under_test(suite: Suite) -> None:
    report = suite.run(
        """
        def check(self, loop):
            self.assertIsInstance(loop, asyncio.SelectorEventLoop)
            if hasattr(asyncio, "EventLoop"):
                self.assertIsInstance(loop, asyncio.EventLoop)
            if on_subject():
                self.assertEqual(type(loop).__name__, "StandIn")
            loop.close()

        def test_class(self):
            self.check(asyncio.SelectorEventLoop())

        def test_class_with_selector(self):
            import selectors
            self.check(asyncio.SelectorEventLoop(selectors.SelectSelector()))

        def test_subclass(self):
            class Derived(asyncio.SelectorEventLoop):
                pass
            loop = Derived()
            self.assertIsInstance(loop, asyncio.SelectorEventLoop)
            self.assertIs(type(loop), Derived)
            loop.close()

        def test_factory(self):
            self.check(asyncio.new_event_loop())

        def test_policy(self):
            self.check(asyncio.get_event_loop_policy().new_event_loop())

        def test_runner(self):
            async def main():
                return asyncio.get_running_loop()
            with asyncio.Runner() as runner:
                loop = runner.run(main())
                self.assertIsInstance(loop, asyncio.SelectorEventLoop)
                self.assertEqual(hasattr(loop, "hidden"), on_subject())

        def test_other_loops_are_no_instance(self):
            self.assertNotIsInstance(object(), asyncio.SelectorEventLoop)
        """
    )
    assert report.status == 0, report.output
    assert report.module["counted"] == 7
    assert report.module["on_loop"] == 6


def test_failure_is_detected(suite: Suite) -> None:
    report = suite.run(
        """
        def test_fails(self):
            self.assertFalse(on_subject())

        def test_fails_in_subtest(self):
            for number in range(3):
                with self.subTest(number=number):
                    self.assertFalse(on_subject() and number == 1)
        """
    )
    assert report.status == 1
    assert report.failed() == {"Tests.test_fails": "failed", "Tests.test_fails_in_subtest": "failed"}
    assert report.output.splitlines()[-1].endswith(": 0 passed, 2 failed, 0 excluded")


def test_hang_is_detected_and_the_tests_after_it_run(suite: Suite) -> None:
    suite.settings = "test_limit = 2"
    report = suite.run(
        """
        def test_a(self):
            while on_subject():
                time.sleep(1)

        def test_b(self):
            pass
        """
    )
    assert report.status == 1
    assert report.failed() == {"Tests.test_a": "hang"}
    assert "in test_a" in report.module["failed_tests"]["Tests.test_a"]["detail"]
    assert report.module["passed_tests"] == ["Tests.test_b"]


def test_hang_that_ignores_the_abort_signal_ends_too(suite: Suite) -> None:
    suite.settings = "test_limit = 2"
    report = suite.run(
        """
        def test_a(self):
            if on_subject():
                import faulthandler, signal
                faulthandler.disable()
                signal.signal(signal.SIGABRT, signal.SIG_IGN)
                while True:
                    time.sleep(1)
        """
    )
    assert report.failed() == {"Tests.test_a": "hang"}


def test_module_limit_ends_the_module(suite: Suite) -> None:
    suite.settings = "test_limit = 30\nmodule_limit = 3"
    report = suite.run(
        """
        def test_a(self):
            while on_subject():
                time.sleep(1)

        def test_b(self):
            pass
        """
    )
    assert report.failed() == {"Tests.test_a": "hang", "Tests.test_b": "not run"}


def test_slow_start_is_no_hang(suite: Suite) -> None:
    """On a busy machine an interpreter may take longer to start than a test may."""
    suite.settings = "test_limit = 2\nmodule_limit = 2"
    report = suite.run("time.sleep(2.5)\n" + PASSES.strip())
    assert report.status == 0, report.output
    assert report.module["passed_tests"] == ["Tests.test_it"]


def test_crash_is_detected_and_the_tests_after_it_run(suite: Suite) -> None:
    report = suite.run(
        """
        def test_a(self):
            if on_subject():
                os.kill(os.getpid(), 11)

        def test_b(self):
            pass

        def test_c(self):
            if on_subject():
                os._exit(0)

        def test_d(self):
            pass
        """
    )
    assert report.status == 1
    assert report.failed() == {"Tests.test_a": "crash", "Tests.test_c": "crash"}
    assert "SIGSEGV" in report.module["failed_tests"]["Tests.test_a"]["detail"]
    assert report.module["passed_tests"] == ["Tests.test_b", "Tests.test_d"]


def test_crash_at_exit_is_detected(suite: Suite) -> None:
    report = suite.run(
        """
        def test_a(self):
            if on_subject():
                import atexit
                atexit.register(os.abort)
        """
    )
    assert report.status == 1
    assert report.failed() == {"<process after Tests.test_a>": "crash"}


def test_skip_that_happens_only_on_the_subject_is_a_failure(suite: Suite) -> None:
    report = suite.run(
        """
        def test_a(self):
            if on_subject():
                self.skipTest("not for me")
        """
    )
    assert report.status == 1
    assert report.failed() == {"Tests.test_a": "skipped"}


def test_module_that_skips_itself_only_on_the_subject_is_a_failure(suite: Suite) -> None:
    report = suite.run(
        """
        if on_subject():
            raise unittest.SkipTest("not for me")

        def test_a(self):
            pass
        """
    )
    assert report.status == 1
    assert report.failed() == {"Tests.test_a": "not run"}


def test_class_setup_that_fails_only_on_the_subject_fails_its_tests(suite: Suite) -> None:
    report = suite.run(
        """
        @classmethod
        def setUpClass(cls):
            assert not on_subject()

        def test_a(self):
            pass
        """
    )
    assert report.status == 1
    assert report.failed() == {"Tests.test_a": "error"}


def test_valid_exclusion_takes_the_test_out(suite: Suite) -> None:
    suite.exclusions = exclude(**PRIVATE)
    report = suite.run(NEEDS_PRIVATE)
    assert report.status == 0, report.output
    assert list(report.module["excluded_tests"]) == ["Tests.test_it"]
    assert report.module["counted"] == 1
    assert report.output.splitlines()[-1].endswith(": 0 passed, 0 failed, 1 excluded")


def test_identifier_may_stand_in_a_helper_or_in_setup(suite: Suite) -> None:
    body = """
    def setUp(self):
        if on_subject():
            self.loop._sock_sendfile_native

    def helper(self):
        self.assertIsNotNone(self.loop)

    loop = object()

    def test_it(self):
        self.helper()
    """
    suite.exclusions = exclude(**PRIVATE, via="setUp")
    report = suite.run(body)
    assert report.status == 0, report.output
    assert list(report.module["excluded_tests"]) == ["Tests.test_it"]
    suite.exclusions = exclude(private="_sock_sendfile_native", own="test_own.py::TestIt::test_method", via="helper")
    assert "_sock_sendfile_native does not stand in helper" in suite.run(body).output


def test_excluded_test_that_passes_is_an_error(suite: Suite) -> None:
    suite.exclusions = exclude(**PRIVATE)
    report = suite.run(NEEDS_PRIVATE.replace("if on_subject()", "if False"))
    assert report.status == 1
    assert "Tests.test_it is excluded, but passes" in report.output
    assert report.output.splitlines()[-1].endswith(": 0 passed, 1 failed, 1 excluded")


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({**PRIVATE, "private": "_bogus"}, "_bogus does not stand in Tests.test_it"),
        ({**PRIVATE, "via": "bogus"}, "Tests.test_it has no helper bogus"),
        ({**PRIVATE, "via": "on_subject"}, "_sock_sendfile_native does not stand in on_subject"),
        ({**PRIVATE, "own": "test_own.py::test_bogus"}, "test_own.py::test_bogus does not exist"),
        ({**PRIVATE, "own": "test_bogus.py::test_outcome"}, "no such file"),
        ({**PRIVATE, "own": "test_own.py::TestIt"}, "is no test"),
        ({**PRIVATE, "private": "public"}, "neither a private name nor"),
        ({**PRIVATE, "versions": "3.13"}, "is no version clause"),
        ({**PRIVATE, "kind": "policy identity"}, "a row has a kind"),
        ({"kind": "inconvenient"}, "a row has a kind"),
        ({"private": "_sock_sendfile_native"}, "names a private identifier and our own test"),
        ({**PRIVATE, "test": "Tests.test_gone"}, "the row for Tests.test_gone matches nothing"),
        ({**PRIVATE, "test": "Tests.*"}, "is no Class.test"),
        ({**PRIVATE, "test": "*"}, "is no Class.test"),
        ({"test": "Gone.*", "kind": "duplicate selector variant"}, "the row for Gone.* matches nothing"),
        ({**PRIVATE, "surprise": "yes"}, "unknown keys ['surprise']"),
    ],
)
def test_bogus_row_is_an_error(suite: Suite, fields: dict[str, str], complaint: str) -> None:
    suite.exclusions = exclude(**fields)
    report = suite.run(NEEDS_PRIVATE)
    assert report.status == 1
    assert complaint in report.output


def test_identifier_that_the_loop_has_is_no_reason(suite: Suite) -> None:
    suite.exclusions = exclude(private="_ready", own="test_own.py::test_outcome")
    report = suite.run(NEEDS_PRIVATE.replace("_sock_sendfile_native", "_ready.bogus"))
    assert report.status == 1
    assert "the loop has _ready, so it is no reason" in report.output


def test_identifier_that_is_not_asyncios_is_no_reason(suite: Suite) -> None:
    suite.exclusions = exclude(private="_bogus", own="test_own.py::test_outcome")
    report = suite.run(NEEDS_PRIVATE.replace("_sock_sendfile_native", "_bogus"))
    assert report.status == 1
    assert "asyncio has no _bogus, so it is no reason" in report.output


@pytest.mark.parametrize(
    ("name", "wrong"), [("asyncio.base_events.logger", False), ("asyncio.base_events.loger", True)]
)
def test_patched_attribute_of_an_internal_module_is_a_reason_if_it_is_there(
    suite: Suite, name: str, wrong: bool
) -> None:
    suite.exclusions = exclude(private=name, own="test_own.py::test_outcome")
    report = suite.run(
        f"""
        @unittest.mock.patch("{name}", create=True)
        def test_it(self, logger):
            self.assertFalse(on_subject())
        """
    )
    assert report.status == wrong, report.output
    assert (f"asyncio has no {name}" in report.output) == wrong


def test_row_for_another_version_is_left_alone(suite: Suite) -> None:
    suite.exclusions = exclude(test="Tests.test_gone", **PRIVATE, versions=">=3.11, <3.11")
    assert suite.run(PASSES).status == 0


def test_row_for_a_test_that_control_skips_is_an_error(suite: Suite) -> None:
    suite.exclusions = exclude(**PRIVATE)
    report = suite.run("@unittest.skip('on both')\n" + NEEDS_PRIVATE.strip())
    assert "is skipped in control as well" in report.output


CALLS_SERVER = """
def test_it(self):
    loop = asyncio.new_event_loop()
    self.addCleanup(loop.close)
    server = loop.run_until_complete(loop.create_server(asyncio.Protocol, "127.0.0.1", 0))
    server.close()
"""


def test_method_that_is_missing_is_a_failure(suite: Suite) -> None:
    report = suite.run(CALLS_SERVER)
    assert report.failed() == {"Tests.test_it": "error"}


def test_wrong_driver_is_an_error(suite: Suite) -> None:
    assert suite.run(PASSES, "--driver", "epoll").status == 0
    report = suite.run(PASSES, "--driver", "portable")
    assert report.status == 1
    assert "ran on 'epoll' instead of 'portable'" in report.output


def test_loop_that_cannot_be_made_fails_everything(suite: Suite) -> None:
    report = suite.run(PASSES, loop="standin:Bogus")
    assert report.status == 1
    assert report.failed() == {"Tests.test_it": "not run", "<process>": "crash"}


def test_control_is_remembered_until_the_module_changes(suite: Suite) -> None:
    body = PASSES + "    open('{}', 'a').write('s' if on_subject() else 'c')\n"
    trace = suite.folder / "trace"
    body = body.replace("{}", str(trace))
    suite.run(body)
    suite.run(body)
    assert trace.read_text() == "css"
    suite.run(body + "    # changed\n")
    assert trace.read_text() == "csscs"


def test_control_that_does_not_end_is_an_error_and_not_remembered(suite: Suite) -> None:
    body = """
    def test_a(self):
        if not on_subject():
            os.abort()
    """
    for _ in range(2):
        report = suite.run(body)
        assert report.status == 1
        assert "the control run did not come to its end" in report.output
    assert not (suite.folder / "cache").exists()


def test_control_in_which_nothing_passes_is_an_error(suite: Suite) -> None:
    report = suite.run("@unittest.skip('on both')\ndef test_a(self): ...")
    assert report.status == 1
    assert "no test passed in control" in report.output


def test_unknown_module_is_an_error(suite: Suite) -> None:
    report = suite.run(PASSES, "--modules", "test_things", "test_bogus")
    assert report.status == 1
    assert "test_bogus is not in modules.toml" in report.output
