"""The command line: which groups, rows and loops, in which interpreter, and where the figures go.

    benches/run [GROUP ...] [--quick] [--minutes N] [--rows A,B] [--loops A,B] [--python 3.14] [--json FILE] ...

The figures are measured by the chosen interpreter, which may live in a Debian system of its own (scripts/interpreters);
this process chooses it, and turns the file that comes back into a table, JSON and a drawing.

Exit status: 0 when the figures stand; 1 when our own loop has a row without a figure; 2 when a prerequisite is missing.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benches.suite import drawing, group, loops, measuring, plan, results, table
from benches.suite.environment import ROOT, MissingError, cache, run

# Debian's, built with profile-guided optimization; every opponent has a wheel for it.
PUBLISHED = "3.14"


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        costs = {name: plan.total(chosen(name, options), len(options.loops)) for name in options.groups}
        limits = shares(costs, options)
        say(announced(costs, limits))
        python = interpreter(options.python)
    except MissingError as missing:
        say(str(missing))
        return 2
    return max(one(name, python, limits[name], options) for name in options.groups)


def chosen(name: str, options: argparse.Namespace) -> list[group.Spec]:
    return measuring.choose(group.load(name).rows(), options.rows, options.quick, options.sessions)


def shares(costs: Mapping[str, float], options: argparse.Namespace) -> dict[str, float]:
    """How many seconds each group has. Who says how many sessions there are to be gets them."""
    if options.seconds:
        return dict.fromkeys(costs, options.seconds)
    if options.sessions and not options.minutes:
        return dict.fromkeys(costs, math.inf)
    if options.quick and not options.minutes:
        return dict.fromkeys(costs, measuring.QUICK_SECONDS)
    limit = 60 * (options.minutes or plan.MINUTES)
    return {name: limit * cost / sum(costs.values()) for name, cost in costs.items()}


def announced(costs: Mapping[str, float], limits: Mapping[str, float]) -> str:
    """What there is to wait for, before it begins."""
    expected = sum(min(cost, limits[name]) for name, cost in costs.items())
    said = f"{', '.join(costs)}: about {plan.words(expected)} of measuring, building aside"
    if any(cost > limits[name] for name, cost in costs.items()):
        said += f"; all rounds would take {plan.words(sum(costs.values()))}"
    return said


def one(name: str, python: Sequence[str], seconds: float, options: argparse.Namespace) -> int:
    """One group; what is wrong with it keeps no other from being measured."""
    try:
        found, complete = measure(name, python, seconds, options)
        show(name, found, options)
    except (MissingError, results.FormatError) as missing:
        say(str(missing))
        return 2
    if not complete:
        say(f"{name}: it ended before every row was measured")
        return 2
    ours = [row.cells[loops.OURS] for row in found.rows if loops.OURS in row.cells]
    return 1 if any(cell.estimate is None for cell in ours) else 0


def say(message: str) -> None:
    print(f"benches: {message}", file=sys.stderr, flush=True)


def interpreter(wanted: str) -> list[str]:
    """How to start a command with that interpreter: the command follows, and says python for it."""
    if "/" in wanted:
        if not (found := shutil.which(wanted)):
            raise MissingError(f"no interpreter {wanted}")
        return [found]
    prepared = run([sys.executable, ROOT / "scripts" / "interpreters", "prepare", wanted], stderr=None)
    if prepared.returncode:
        raise MissingError(f"no CPython {wanted}: see above")
    start = 'exec "$PYTHON" "$@"'
    return [sys.executable, str(ROOT / "scripts" / "interpreters"), "run", wanted, "sh", "-c", start, "sh"]


def measure(
    name: str, python: Sequence[str], seconds: float, options: argparse.Namespace
) -> tuple[results.Results, bool]:
    """What was measured, and whether that is all of it."""
    # In the cache, since that is in sight from a system of its own, too.
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        out = Path(folder, "figures.json")
        command = [
            *python,
            "-m",
            "benches.suite.measuring",
            name,
            "--out",
            str(out),
            "--loops",
            ",".join(options.loops),
        ]
        if options.rows:
            command += ["--rows", ",".join(options.rows)]
        if options.sessions:
            command += ["--sessions", str(options.sessions)]
        if not math.isinf(seconds):
            command += ["--seconds", str(seconds)]
        if options.quick:
            command.append("--quick")
        command += ["--date", today(), "--commit", commit()]
        status = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False).returncode
        if not out.exists():
            raise MissingError(f"{name}: nothing was measured")
        return results.read(out), status == 0


def show(name: str, found: results.Results, options: argparse.Namespace) -> None:
    print(table.as_markdown(found, group.load(name).TITLE), flush=True)
    single = len(options.groups) == 1
    written = options.json if single else None
    drawn = options.svg if single else None
    if options.into:
        written, drawn = written or options.into / f"{name}.json", drawn or options.into / f"{name}.svg"
    if written:
        if options.merge and written.exists():
            found = results.merge(results.read(written), found)
        results.write(found, written)
    if drawn:
        drawn.parent.mkdir(parents=True, exist_ok=True)
        drawn.write_text(drawing.as_svg(found, group.load(name).TITLE))


def today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def commit() -> str:
    """The commit that is measured; one with changes on top says so."""
    if not shutil.which("git"):
        return "unknown"
    head = run(["git", "rev-parse", "--short=10", "HEAD"], cwd=ROOT)
    if head.returncode:
        return "unknown"
    # Kept results are not what is measured: the groups of one run write theirs one after the other.
    others = ("--", ".", ":!benches/results")
    changed = run(["git", "status", "--porcelain", "--untracked-files=no", *others], cwd=ROOT).stdout.strip()
    return head.stdout.strip() + (" with changes" if changed else "")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/run", description="Measure event loops side by side.")
    known = group.present()
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(known)}; all by default")
    parser.add_argument(
        "--quick", action="store_true", help="few rows, little time for each: forty seconds for a group"
    )
    parser.add_argument("--rows", type=words, default=[], help="comma-separated; all by default")
    parser.add_argument(
        "--loops",
        type=words,
        default=list(loops.NAMES),
        help=f"of {','.join(loops.NAMES)}; {loops.AGAIN} is ours a second time",
    )
    parser.add_argument("--sessions", type=int, help="of every row, however long it takes (six by default)")
    parser.add_argument("--minutes", type=float, help=f"of all groups together; {plan.MINUTES} by default")
    parser.add_argument("--seconds", type=float, help="of each group, instead")
    parser.add_argument("--python", default=PUBLISHED, help="a version, or a path with a slash (default %(default)s)")
    parser.add_argument("--json", type=Path, help="where the figures of one group go")
    parser.add_argument("--svg", type=Path, help="where the drawing of one group goes")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="where figures and drawings of several groups go")
    parser.add_argument("--merge", action="store_true", help="keep other rows that the file of figures has already")
    options = parser.parse_args(arguments)
    options.groups = options.groups or known
    if unknown := [name for name in options.groups if name not in known]:
        parser.error(f"no group {', '.join(unknown)} among {', '.join(known)}")
    if unknown := [name for name in options.loops if name not in (*loops.NAMES, loops.AGAIN)]:
        parser.error(f"no loop {', '.join(unknown)} among {', '.join(loops.NAMES)}")
    if len(options.groups) > 1 and (options.json or options.svg or options.rows):
        parser.error("--rows, --json and --svg are for one group; several go --into a folder")
    return options


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
