"""The command: which loops and rows, in which interpreter, and what to print.

Exit status: 0 when the figures stand; 1 when `--check` found a row that does not repeat, or when
our own loop has a row without a figure; 2 when a prerequisite is missing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence

from benches.instructions import equipment, measure, report
from benches.scheduling.rows import ROWS
from benches.suite import environment, loops
from benches.suite.command import interpreter

# pyenv's, if it is there: valgrind is the machine's own then.
DEFAULT_PYTHON = "3.13"
COUNTED = [row.key for row in ROWS.values() if row.counted]

# How far two runs may be apart, relative to the smaller one.
TOLERANCE = 0.01


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse(arguments)
    try:
        if not options.here:
            # Again, by the interpreter that is measured, which prepares an environment of its own.
            command = [*interpreter(options.python), "-m", __spec__.name, "--here", *arguments]
            env = {**os.environ, "PYTHONPATH": str(environment.ROOT)}
            return subprocess.run(command, cwd=environment.ROOT, env=env, check=False).returncode
        tools = equipment.tools()
        bench = environment.prepare(options.loops)
    except environment.MissingError as missing:
        print(f"bench-instructions: {missing}", file=sys.stderr)
        return 2
    return count(tools, bench, options)


def count(tools: equipment.Tools, bench: environment.Bench, options: argparse.Namespace) -> int:
    if bench.interpreter["optimized"] is False:
        say("this interpreter was built without profile-guided optimization: compare within one run only")

    runs = [figures(bench, tools, options) for _ in range(2 if options.check else 1)]
    first = runs[0]
    print(report.as_json(first, bench, tools) if options.json else report.as_table(first, bench, tools))

    status = 0
    if any(cell.instructions is None for cell in first if cell.loop == loops.OURS):
        status = 1
    if options.check:
        apart = report.differences(*runs)
        print("\n" + report.as_check(apart, TOLERANCE), file=sys.stderr if options.json else sys.stdout)
        if any(one.relative > TOLERANCE for one in apart):
            status = 1
    return status


def figures(bench: environment.Bench, tools: equipment.Tools, options: argparse.Namespace) -> list[measure.Cell]:
    """One whole run: every row on every loop that could be installed."""
    started = time.monotonic()
    cells = measure.every_cell(bench, tools, options.rows, options.loops, options.jobs, say)
    say(f"counted {len(cells)} cells in {time.monotonic() - started:.0f} s")
    return cells


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run",
        description="User-space instructions per operation, counted by callgrind, of event loops side by side.",
    )
    which = "comma-separated: %(default)s"
    parser.add_argument("--loops", type=Choice(loops.NAMES), default=list(loops.NAMES), help=which)
    parser.add_argument("--rows", type=Choice(COUNTED), default=COUNTED, help=which)
    parser.add_argument(
        "--python",
        default=DEFAULT_PYTHON,
        help="to measure in: a version, or a path with a slash (default %(default)s)",
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--jobs", type=int, default=environment.processors(), help="processes at once: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON, with the instructions of each shared object")
    parser.add_argument(
        "--check", action="store_true", help=f"run twice and fail if a row differs by over {TOLERANCE * 100:.0f} %%"
    )
    return parser.parse_args(arguments)


class Choice:
    """A comma-separated choice among known names, in the order in which they are known."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = list(known)

    def __call__(self, text: str) -> list[str]:
        wanted = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in wanted if name not in self._known]
        if unknown or not wanted:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'} is not among {', '.join(self._known)}")
        return [name for name in self._known if name in wanted]


if __name__ == "__main__":
    sys.exit(main())
