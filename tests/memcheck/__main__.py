"""The command line: every program under valgrind, what memcheck says of each, and the verdict (see the package)."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from memcheck import judge, programs

TESTS = Path(__file__).resolve().parent.parent
# Of one program, which takes seconds to a minute: past it something hangs.
LIMIT = 600
# Made by Python code, and by PyO3: they have no payload of ours.
NOT_RAW = {"_DatagramTransportBase"}


@dataclass(frozen=True)
class Outcome:
    """What became of one program."""

    name: str
    seconds: float
    failure: str
    complaints: tuple[judge.Complaint, ...]
    touched: frozenset[str] = frozenset()
    natives: frozenset[str] = frozenset()


def check(name: str) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        command = [
            "valgrind",
            "--tool=memcheck",
            "--num-callers=60",
            "--leak-check=full",
            "--show-leak-kinds=definite",
            "--errors-for-leak-kinds=definite",
            f"--child-silent-after-fork={'no' if name in programs.FORKING else 'yes'}",
            "--trace-children=no",
            "--xml=yes",
            f"--xml-file={folder}/%p.xml",
            f"--log-file={log}",
            *(sys.executable, "-m", "memcheck.child", name),
        ]
        began = time.monotonic()
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=TESTS, env=surroundings(), stdout=pipe, stderr=pipe, text=True) as process:
            try:
                stdout, stderr = process.communicate(timeout=LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                return Outcome(name, LIMIT, f"still running after {LIMIT} s", ())
        seconds = time.monotonic() - began
        try:
            found = tuple(one for one in judge.of_program(Path(folder), process.pid) if judge.counts(one))
        except Exception as error:
            return Outcome(name, seconds, f"no report ({error}): {last(stderr)}", ())
        try:
            told = json.loads(stdout.splitlines()[-1])
        except (IndexError, ValueError):
            return Outcome(name, seconds, f"exit status {process.returncode}: {stderr[-4000:]}", found)
        if process.returncode:
            return Outcome(name, seconds, f"exit status {process.returncode}: {last(stderr)}", found)
        return Outcome(name, seconds, "", found, frozenset(told["touched"]), frozenset(told["natives"]))


def surroundings() -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or name.startswith("ONELOOP_")
    }
    return {**kept, "LANG": "C.UTF-8", "PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0", "PYTHONPATH": str(TESTS)}


def last(text: str) -> str:
    return "".join(text.strip().splitlines()[-1:])


def report(outcome: Outcome, on_purpose: bool) -> bool:
    """Say what became of a program, and whether that is well."""
    well = bool(outcome.complaints) if on_purpose else not outcome.complaints and not outcome.failure
    what = f"{len(outcome.complaints)} complaints" + (", as it has to be" if on_purpose and well else "")
    print(f"{outcome.name:40} {outcome.seconds:6.1f} s  {what}", flush=True)
    if outcome.failure and not on_purpose:
        print(f"  failed: {outcome.failure}")
    if not on_purpose:
        for complaint in outcome.complaints:
            print(f"  {complaint}")
    elif not well:
        print(f"  memcheck has not seen what it does wrong on purpose: this check is blind. {outcome.failure}")
    return well


def main(arguments: Sequence[str] | None = None) -> int:
    everything = {**programs.PROGRAMS, **programs.ON_PURPOSE}
    parser = argparse.ArgumentParser(prog="python -m memcheck", description="Native types under valgrind's memcheck.")
    parser.add_argument("--only", help="comma-separated names of programs; the types are not counted then")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="programs at once: %(default)s")
    options = parser.parse_args(arguments)
    names = options.only.split(",") if options.only else list(everything)
    if unknown := [name for name in names if name not in everything]:
        parser.error(f"no program {', '.join(unknown)} among {', '.join(everything)}")
    if not shutil.which("valgrind"):
        parser.error("valgrind is missing: install it (Debian: apt-get install valgrind)")

    well, touched, natives = True, set[str](), set[str]()
    with ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(check, names):
            well &= report(outcome, outcome.name in programs.ON_PURPOSE)
            touched |= outcome.touched
            natives |= outcome.natives
    if not options.only and (missed := natives - NOT_RAW - touched):
        print(f"no program touches {', '.join(sorted(missed))}")
        well = False
    print("memcheck: " + ("nothing of ours" if well else "FAILED"))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
