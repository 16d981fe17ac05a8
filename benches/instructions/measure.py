"""Counting: one process under callgrind for each row on each loop, and what its dumps say.

The count of a cell is exact and does not depend on what else the machine does, so several
processes may run at once. A cell that has no count has a reason instead.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benches.instructions.equipment import Tools
from benches.scheduling.rows import ROWS, Row
from benches.suite.child import death, surroundings
from benches.suite.environment import ROOT, Bench

# Of one process, which takes seconds: past it the loop hangs.
TIME_LIMIT = 300
HANGS = "still running"


@dataclass(frozen=True)
class Cell:
    """Instructions per operation of one row on one loop, or why there are none."""

    row: str
    loop: str
    instructions: float | None = None
    objects: dict[str, float] = field(default_factory=dict)
    version: str = ""
    unavailable: str = ""
    failed: str = ""
    warnings: tuple[str, ...] = ()


def every_cell(
    bench: Bench, tools: Tools, rows: Sequence[str], loops: Sequence[str], jobs: int, say: Callable[[str], None]
) -> list[Cell]:
    hung: dict[str, str] = {}

    def cell(place: tuple[str, str]) -> Cell:
        row, loop = place
        if absent := bench.unavailable.get(loop):
            return Cell(row, loop, unavailable=absent)
        if loop in hung:
            return Cell(row, loop, failed=f"not tried, since it hangs in {hung[loop]}")
        counted = count(bench, tools, row, loop)
        if counted.failed.startswith(HANGS):
            hung[loop] = row  # valgrind does not know what it does: io_uring, for one
        figure = counted.failed or counted.unavailable or f"{counted.instructions:,.0f}"
        say(f"{row}, {loop}: {figure}")
        return counted

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        return list(pool.map(cell, [(row, loop) for row in rows for loop in loops]))


def count(
    bench: Bench,
    tools: Tools,
    row: str,
    loop: str,
    rows: Mapping[str, Row] = ROWS,
    child: str = "benches.instructions.child",
) -> Cell:
    with tempfile.TemporaryDirectory() as folder:
        dumps, log = Path(folder, "dump"), Path(folder, "log")
        command = [
            tools.valgrind,
            "--tool=callgrind",
            "--instr-atstart=no",  # the marks start it
            "--compress-strings=no",
            f"--callgrind-out-file={dumps}",
            f"--log-file={log}",
            *(str(bench.python), "-m", child, row, loop, str(tools.marks)),
        ]
        # LD_PRELOAD for clock.c.
        env = surroundings(LD_PRELOAD=str(tools.marks))
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=TIME_LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            return Cell(row, loop, failed=f"{HANGS} after {TIME_LIMIT} s")
        if done.returncode:
            return Cell(row, loop, failed=death(done))
        told = json.loads(done.stdout.splitlines()[-1])
        if "version" not in told:
            return Cell(row, loop, **told)
        objects = per_operation(read_dumps(dumps), rows[row].n)
        return Cell(row, loop, sum(objects.values()), objects, told["version"], warnings=complaints(log))


def complaints(log: Path) -> tuple[str, ...]:
    """What valgrind could not emulate: a refused syscall sends a loop down its fallback."""
    return tuple(sorted(set(re.findall(r"WARNING: (.*)", log.read_text()))))


def read_dumps(dumps: Path) -> dict[str, Counter[str]]:
    """Each mark's own instructions by shared object, under the name that the mark was given."""
    found = {}
    for path in dumps.parent.glob(f"{dumps.name}.*"):
        text = path.read_text()
        if named := re.search(r"^desc: Trigger: Client Request: (\w+)$", text, re.MULTILINE):
            counted = by_object(text)
            total = int(re.findall(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)[-1])
            if sum(counted.values()) != total:
                raise RuntimeError(f"read {sum(counted.values())} of {total} instructions in callgrind's dump")
            found[named[1]] = counted
    return found


def by_object(dump: str) -> Counter[str]:
    """Sums the self cost lines of callgrind's format (valgrind manual, "Callgrind Format Specification")."""
    counted: Counter[str] = Counter()
    current = "?"
    inclusive = False
    for line in dump.splitlines():
        if line.startswith("ob="):
            current = Path(line[3:]).name or "?"
        elif line.startswith("calls="):
            inclusive = True  # the next line is what the callee cost, which is counted at the callee
        elif line[:1] in "0123456789+-*" and line:
            if not inclusive:
                counted[current] += int([*line.split(), "0"][1])
            inclusive = False
    return counted


def per_operation(dumps: dict[str, Counter[str]], n: int) -> dict[str, float]:
    """The long dump holds 3 n operations and the short one n; what else they hold is the same."""
    short, long = dumps["short"], dumps["long"]
    objects = {name: (long[name] - short[name]) / (2 * n) for name in long | short}
    return dict(sorted(objects.items(), key=lambda item: -item[1]))
