"""Run the Python checks on several CPython versions, after a first command; what test-all and CI run.

Usage: PYTHON scripts/matrix.py [--first COMMAND] [--targets TARGETS] VERSION ...
"""

from __future__ import annotations

import argparse
import shlex
import sys

from steps import Outcome, Step, report, run_step


def checks(version: str, targets: str) -> Step:
    make = ("make", "--keep-going", *targets.split())
    command = (sys.executable, "scripts/interpreters", "run", version, *make)
    return Step(f"CPython {version}", command, minutes=None)  # its own steps have limits


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the Python checks on several CPython versions.")
    parser.add_argument("--first", help="a command to run before")
    parser.add_argument("--targets", default="test-python", help="what to make on each version (default test-python)")
    parser.add_argument("versions", nargs="+", metavar="VERSION")
    options = parser.parse_args()

    outcomes: list[Outcome] = []
    if options.first:
        outcomes.append(run_step(Step(options.first, tuple(shlex.split(options.first)), minutes=None)))
    outcomes += [run_step(checks(version, options.targets)) for version in options.versions]
    return report("all checks", outcomes)


if __name__ == "__main__":
    sys.exit(main())
