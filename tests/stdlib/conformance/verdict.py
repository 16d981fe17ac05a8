"""The rules: from what happened in control and on the loop under test to what is reported.

Pure functions of two runs and the tables, so that each rule can be tested by itself and none depends on timing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from stdlib.conformance import sources
from stdlib.conformance.process import Outcome, Run, failures
from stdlib.conformance.tables import Module, Row, Tables


@dataclass
class Verdict:
    """The report on one module."""

    module: str
    passed: list[str] = field(default_factory=list)
    failed: dict[str, Outcome] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)  # test -> reason
    on_loop: int = 0  # counted tests that created a loop under test
    uncounted: dict[str, str] = field(default_factory=dict)  # test -> its outcome in control
    errors: list[str] = field(default_factory=list)  # rows that are wrong
    seconds: float = 0.0

    @property
    def counted(self) -> int:
        return len(self.passed) + len(self.failed) + len(self.excluded)


def judge(
    tables: Tables,
    module: Module,
    control: Run,
    subject: Run,
    *,
    driver: str | None,
    own_tests: Path,
    only: set[str] | None = None,
) -> Verdict:
    """Apply every rule to one module, or to `only` some of its tests."""
    verdict = Verdict(module.name, seconds=subject.seconds)
    _check_control(module, control, verdict)
    exclusions = _by_test(tables.exclusions, module, control, verdict)
    for test, expected in control.tests.items():
        if only is not None and test not in only:
            continue
        if expected.outcome != "passed":
            verdict.uncounted[test] = expected.outcome
            if test in exclusions and expected.outcome == "skipped":
                verdict.errors.append(f"{module.name}: {test} has a row, but is skipped in control as well")
            continue
        actual = subject.tests.get(test, Outcome("not run", "the test was not collected on this loop"))
        verdict.on_loop += actual.loops > 0
        _place(verdict, test, actual, exclusions.get(test))

    for name, outcome in failures(subject):
        if name not in control.fixtures:
            verdict.failed[f"<{name}>"] = outcome
    _check_rows(tables, module, control, subject, exclusions, verdict, own_tests)
    _check_loop(module, subject, driver, verdict)
    return verdict


def _check_control(module: Module, control: Run, verdict: Verdict) -> None:
    """A control that says nothing would let everything pass."""
    if not control.finished():
        verdict.errors.append(f"{module.name}: the control run did not come to its end")
    elif not any(outcome.outcome == "passed" for outcome in control.tests.values()):
        verdict.errors.append(f"{module.name}: no test passed in control")


def _place(verdict: Verdict, test: str, actual: Outcome, exclusion: Row | None) -> None:
    """One counted test goes to exactly one place."""
    passed = actual.outcome == "passed"
    if exclusion is not None:
        verdict.excluded[test] = exclusion.kind or f"{exclusion.private} ({exclusion.own})"
        if passed:
            verdict.errors.append(f"{verdict.module}: {test} is excluded, but passes")
    elif passed:
        verdict.passed.append(test)
    else:
        verdict.failed[test] = actual


def _by_test(rows: tuple[Row, ...], module: Module, control: Run, verdict: Verdict) -> dict[str, Row]:
    """The rows for this module by test; a row that names what does not exist is wrong."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.module != module.name or not row.applies():
            continue
        for pattern in row.tests:
            matched = [test for test in control.tests if row.covers(test) and _names(pattern, test)]
            if not matched:
                verdict.errors.append(f"{module.name}: the row for {pattern} matches nothing on this version")
            for test in matched:
                if test in found:
                    verdict.errors.append(f"{module.name}: {test} has two rows")
                found[test] = row
    return found


def _names(pattern: str, test: str) -> bool:
    return pattern == test or (pattern.endswith(".*") and test.rpartition(".")[0] == pattern[:-2])


def _check_rows(
    tables: Tables,
    module: Module,
    control: Run,
    subject: Run,
    exclusions: dict[str, Row],
    verdict: Verdict,
    own_tests: Path,
) -> None:
    for test, row in exclusions.items():
        problem = sources.problem_with(row, test, control.classes.get(test.rpartition(".")[0], []))
        if problem is not None:
            verdict.errors.append(f"{module.name}: {problem}")
    for row in dict.fromkeys(exclusions.values()):
        problem = sources.problem_with_own(row, own_tests)
        if problem is not None:
            verdict.errors.append(f"{module.name}: {problem}")
    if subject.loop:
        for row in dict.fromkeys(exclusions.values()):
            if row.private in subject.loop["has"]:
                verdict.errors.append(f"{row}: the loop has {row.private}, so it is no reason")
            if row.private is not None and row.private not in subject.loop["asyncio_has"]:
                verdict.errors.append(f"{row}: asyncio has no {row.private}, so it is no reason")
    verdict.errors.extend(sources.problems_with_helpers(tables, control.classes, module.name))


def _check_loop(module: Module, subject: Run, driver: str | None, verdict: Verdict) -> None:
    if subject.loop and driver is not None and subject.loop["backend"] != driver:
        verdict.errors.append(f"{module.name} ran on {subject.loop['backend']!r} instead of {driver!r}")
    if verdict.counted and not verdict.on_loop and not subject.loop:
        verdict.errors.append(f"{module.name}: the loop under test was never there")
