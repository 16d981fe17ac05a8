"""Run the Python checks on several CPython versions, after a first command; what test-all and CI run.

Usage: PYTHON scripts/matrix.py [--first COMMAND] [--minutes N] VERSION ... [--if-time VERSION ...]

Every VERSION is run. Those after --if-time are run in their order as long as each may be expected, by the longest
one so far, to end within N minutes of the start; those that are left out are named in the closing lines.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time

from steps import Outcome, Step, report, run_step


def checks(version: str) -> Step:
    command = (sys.executable, "scripts/interpreters", "run", version, "make", "test-python")
    return Step(f"CPython {version}", command, minutes=None)  # its own steps have limits


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the Python checks on several CPython versions.")
    parser.add_argument("--first", help="a command to run before")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="when to stop adding optional versions")
    parser.add_argument("--if-time", nargs="+", default=[], metavar="VERSION")
    parser.add_argument("versions", nargs="+", metavar="VERSION")
    options = parser.parse_args()

    end = time.monotonic() + options.minutes * 60
    outcomes: list[Outcome] = []
    if options.first:
        outcomes.append(run_step(Step(options.first, tuple(shlex.split(options.first)), minutes=None)))
    runs = [run_step(checks(version)) for version in options.versions]
    left_out: list[str] = []
    for version in options.if_time:
        if time.monotonic() + max(run.seconds for run in runs) < end:
            runs.append(run_step(checks(version)))
        else:
            left_out.append(version)
    status = report("all checks", outcomes + runs)
    if left_out:
        print(f"not run, for want of time: CPython {', '.join(left_out)} (make test-all runs every version)")
    return status


if __name__ == "__main__":
    sys.exit(main())
