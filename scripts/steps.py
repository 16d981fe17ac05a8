"""Run a list of named commands, all of them, and say at the end which failed and how long each took.

A failing lint must not hide a failing test, so every step runs; only a step that others build on
(`needed`) ends the list, and those that it kept from running are named and count as failed. A step that hangs is
ended after its time limit, with a SIGABRT first: Python's tests answer it with a traceback of every thread.
The closing line is `N passed, N failed`; the exit status is 0 only if every step passed.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Step:
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    needed: bool = False
    minutes: float | None = 15


@dataclass(frozen=True)
class Outcome:
    step: Step
    verdict: str
    seconds: float

    @property
    def passed(self) -> bool:
        return self.verdict == "passed"


def run_step(step: Step) -> Outcome:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not to die before the step has been ended
    settings = [f"{name}={shlex.quote(value)}" for name, value in step.environment.items()]
    print(f"\n==> {step.name}: {' '.join([*settings, shlex.join(step.command)])}", flush=True)
    start = time.monotonic()
    try:
        # A group of its own, so that nothing which the step started outlives it.
        process = subprocess.Popen(
            step.command,
            cwd=ROOT,
            env={**os.environ, **step.environment},
            stdin=subprocess.DEVNULL,
            process_group=0,
        )
    except OSError as error:
        return Outcome(step, f"failed: {error}", 0)
    try:
        status = process.wait(step.minutes and step.minutes * 60)
        verdict = "passed" if status == 0 else f"failed with status {status}"
    except subprocess.TimeoutExpired:
        end(process, signal.SIGABRT)
        verdict = f"failed: still running after {step.minutes:g} minutes"
    except BaseException:
        end(process, signal.SIGINT)
        raise
    return Outcome(step, verdict, time.monotonic() - start)


def end(process: subprocess.Popen[bytes], first: signal.Signals) -> None:
    """Ask a step's processes to end, and see to it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, first)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_steps(title: str, steps: Iterable[Step]) -> int:
    outcomes: list[Outcome] = []
    missing: Step | None = None
    for step in steps:
        if missing:
            outcomes.append(Outcome(step, f"not run: it needs '{missing.name}'", 0))
            continue
        outcomes.append(run_step(step))
        if step.needed and not outcomes[-1].passed:
            missing = step
    return report(title, outcomes)


def report(title: str, outcomes: list[Outcome]) -> int:
    width = max(len(outcome.step.name) for outcome in outcomes)
    print(f"\n{title}:")
    for outcome in outcomes:
        print(f"  {outcome.step.name:{width}}  {outcome.seconds:7.1f} s  {outcome.verdict}")
    failed = sum(not outcome.passed for outcome in outcomes)
    print(f"{len(outcomes) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit("steps.py is used by check.py and matrix.py")
