"""What a run prints, and the same as JSON."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Any

from stdlib.conformance.verdict import Verdict

COLUMNS = ("counted", "passed", "failed", "excluded", "on our loop")


def title(driver: str | None) -> str:
    return f"stdlib-{platform.python_version()}-{driver or 'default'}"


def numbers(verdict: Verdict) -> tuple[int, ...]:
    return (
        verdict.counted,
        len(verdict.passed),
        len(verdict.failed),
        len(verdict.excluded),
        verdict.on_loop,
    )


def table(verdicts: list[Verdict]) -> str:
    """One line per module and the sum."""
    width = max(len(verdict.module) for verdict in verdicts)
    lines = [" " * width + "".join(f"{name:>12}" for name in COLUMNS) + f"{'seconds':>9}"]
    for verdict in verdicts:
        cells = "".join(f"{number:12}" for number in numbers(verdict))
        lines.append(f"{verdict.module:{width}}{cells}{verdict.seconds:9.1f}")
    sums = [sum(column) for column in zip(*(numbers(verdict) for verdict in verdicts), strict=True)]
    lines.append(f"{'all':{width}}" + "".join(f"{number:12}" for number in sums))
    return "\n".join(lines)


def details(verdict: Verdict, *, verbose: bool) -> str:
    """What a reader must act on: failures, wrong rows, and tests that did not pass in control."""
    lines: list[str] = []
    for test, outcome in verdict.failed.items():
        text = outcome.detail.strip()
        shown = text if verbose else text[-1500:]
        lines.append(f"FAILED {verdict.module} {test} ({outcome.outcome})")
        lines.extend("    " + line for line in shown.splitlines())
    lines.extend(f"WRONG  {error}" for error in verdict.errors)
    odd = {test: outcome for test, outcome in verdict.uncounted.items() if outcome != "skipped"}
    lines.extend(f"not counted: {verdict.module} {test} ({outcome} in control)" for test, outcome in odd.items())
    return "\n".join(lines)


def closing_line(verdicts: list[Verdict], errors: list[str], driver: str | None) -> str:
    """`NAME: N passed, N failed, N excluded`; a wrong row is a failure."""
    passed = sum(len(verdict.passed) for verdict in verdicts)
    failed = sum(len(verdict.failed) for verdict in verdicts) + len(errors)
    excluded = sum(len(verdict.excluded) for verdict in verdicts)
    return f"{title(driver)}: {passed} passed, {failed} failed, {excluded} excluded"


def as_json(verdicts: list[Verdict], errors: list[str], driver: str | None) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "driver": driver,
        "errors": errors,
        "modules": [
            asdict(verdict)
            | dict(zip(("counted", *COLUMNS[1:]), numbers(verdict), strict=True))
            | {
                "passed_tests": verdict.passed,
                "failed_tests": {test: asdict(outcome) for test, outcome in verdict.failed.items()},
                "excluded_tests": verdict.excluded,
            }
            for verdict in verdicts
        ],
    }
