"""The command line: choose modules, run them side by side, print the report."""

from __future__ import annotations

import argparse
import fnmatch
import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stdlib.conformance import control, report, tables
from stdlib.conformance.process import run_module
from stdlib.conformance.tables import Module, Tables
from stdlib.conformance.verdict import Verdict, judge

HERE = Path(__file__).resolve().parent.parent


def main(arguments: list[str] | None = None) -> int:
    """Run; the result is the exit status."""
    options = _parse(arguments)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell starts its background jobs so, and whoever inherits it hears no interrupt: tests of it would hang.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        data = tables.read(options.tables)
    except tables.TableError as error:
        print(f"WRONG  {error}")
        return 1
    chosen, problems = _choose(data, options.modules)
    if not chosen:
        print("WRONG  no module to run")
        return 1

    def one(module: Module) -> Verdict:
        expected = control.control_run(data, module, options.control_cache)
        only = None
        if options.tests is not None:
            only = {test for test in expected.tests if fnmatch.fnmatch(test, options.tests)}
        actual = run_module(data, module, loop=options.loop, driver=options.driver, only=only)
        return judge(data, module, expected, actual, driver=options.driver, own_tests=options.own_tests, only=only)

    with ThreadPoolExecutor(options.jobs) as pool:  # the longest first, so that none is left over at the end
        results = pool.map(one, sorted(chosen, key=lambda module: -module.weight))
        verdicts = sorted(results, key=lambda verdict: verdict.module)

    for verdict in verdicts:
        text = report.details(verdict, verbose=options.verbose)
        if text:
            print(text)
    wrong = problems + [error for verdict in verdicts for error in verdict.errors]
    errors = list(dict.fromkeys(wrong))
    for problem in problems:
        print(f"WRONG  {problem}")
    print(report.table(verdicts))
    if options.json is not None:
        options.json.write_text(
            json.dumps(report.as_json(verdicts, errors, options.driver), indent=1), encoding="utf-8"
        )
    print(report.closing_line(verdicts, errors, options.driver))
    return 1 if errors or any(verdict.failed for verdict in verdicts) else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/stdlib/run.py", description="asyncio's own tests on oneloop")
    parser.add_argument("--driver", choices=("epoll", "portable"), help="which I/O driver (default: oneloop's choice)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="how many modules at once (default 2)")
    parser.add_argument("--modules", nargs="+", metavar="NAME", help="only these (default: all of modules.toml)")
    parser.add_argument("--tests", metavar="GLOB", help="only tests like this, as Class.test; for working on one test")
    parser.add_argument("--control-cache", type=Path, default=control.default_cache(), metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON too")
    parser.add_argument("--verbose", action="store_true", help="whole tracebacks")
    parser.add_argument("--loop", default="oneloop:Loop", metavar="MODULE:CLASS", help="the class under test")
    parser.add_argument("--tables", type=Path, default=HERE, metavar="DIR", help="where the data files are")
    parser.add_argument("--own-tests", type=Path, default=HERE.parent, metavar="DIR", help="where our own tests are")
    return parser.parse_args(arguments)


def _choose(data: Tables, names: list[str] | None) -> tuple[list[Module], list[str]]:
    """The modules to run. One that this version should have and does not is a problem, not a silent gap."""
    problems = []
    if names is not None:
        known = {module.name for module in data.modules}
        problems += [f"{name} is not in modules.toml" for name in names if name not in known]
    chosen = []
    sys.path.insert(1, str(data.folder))
    for module in data.modules:
        if not module.is_for_here() or (names is not None and module.name not in names):
            continue
        if control.exists(data, module):
            chosen.append(module)
        elif module.expected():
            problems.append(f"{module.name} should exist on this version; is the interpreter's test package installed?")
    return chosen, problems
