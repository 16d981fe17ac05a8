"""The command: count, compare with the record, and say what differs.

Exit status: 0 if everything is as it was, or nothing is recorded, of this build or at all; 1 if a row has
changed, has failed or does not repeat; 2 if a prerequisite is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from benches.gates import record, syscalls
from benches.gates.rows import INSTRUCTIONS, ROWS, SYSCALLS
from benches.instructions import equipment, measure
from benches.suite import environment, loops
from benches.suite.group import NoFigure

T = TypeVar("T")
OURS = "_core."


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        # A clock that stands still but for sleeps.
        tools = equipment.tools("-DSLOWDOWN=1000000000", name="gates")
        bench = environment.prepare([loops.OURS])
        if failure := bench.unavailable.get(loops.OURS):
            raise environment.MissingError(failure)
    except environment.MissingError as missing:
        print(f"gates: {missing}", file=sys.stderr)
        return 2
    counter = Counter(bench, tools, options.jobs)
    wanted = options.rows.split(",") if options.rows else list(ROWS)
    try:
        calls = counter.every(counter.syscalls, [key for key in SYSCALLS if key in wanted])
        figures = counter.every(counter.instructions, [key for key in INSTRUCTIONS if key in wanted])
        wrong = compared(figures, calls, options.record)
        if options.check:
            wrong += unrepeatable(counter, figures, calls)
    except NoFigure as failure:
        print(f"gates: {failure}")
        return 1
    for line in wrong:
        print(f"  {line}")
    print("gates: " + (f"{len(wrong)} rows have CHANGED" if wrong else "as recorded"))
    if wrong:
        print("gates: if that is as it should be: make gates RECORD=1, and commit benches/gates/figures.json")
    return 1 if wrong else 0


class Counter:
    """Counts rows, several at once, and says so."""

    def __init__(self, bench: environment.Bench, tools: equipment.Tools, jobs: int) -> None:
        self.bench, self.tools, self.jobs = bench, tools, jobs

    def every(self, count: Callable[[str], T], rows: Sequence[str]) -> dict[str, T]:
        began = time.monotonic()
        with ThreadPoolExecutor(self.jobs) as pool:
            counted = dict(zip(rows, pool.map(count, rows), strict=True))
        print(f"gates: {count.__name__} of {len(rows)} rows in {time.monotonic() - began:.0f} s", file=sys.stderr)
        return counted

    def syscalls(self, key: str) -> dict[str, float]:
        try:
            return dict(syscalls.count(self.bench, self.tools, key))
        except NoFigure as failure:
            raise NoFigure(f"{key}: {failure}") from None

    def instructions(self, key: str) -> float:
        """Those inside our own shared object."""
        cell = measure.count(self.bench, self.tools, key, loops.OURS, ROWS, "benches.gates.child")
        if cell.instructions is None:
            raise NoFigure(f"{key}: {cell.failed or cell.unavailable}")
        return sum(figure for name, figure in cell.objects.items() if name.startswith(OURS))


def compared(figures: record.Instructions, calls: record.Syscalls, write: bool) -> list[str]:
    """What is not as it was recorded; with `write`, it is recorded."""
    before = record.read()["syscalls"], record.of_this_build()
    for row in ROWS:
        parts = [f"{figures[row]:9,.1f} instructions"] if row in figures else [" " * 22]
        parts += [record.spelled(calls[row])] if row in calls else []
        print(f"{row:22} {'  '.join(parts)}")
    if write:
        record.write(record.written(figures, calls))
        print(f"gates: recorded in {record.FILE.relative_to(environment.ROOT)}")
        return []
    wrong = record.changed_calls(before[0], calls) if before[0] else []
    if not before[0]:
        print("gates: no system calls are recorded: make gates RECORD=1")
    if before[1] is None:
        described = record.build()
        print(f"gates: no instructions are recorded for this build; it would record as {record.name_of(described)}:")
        print(
            json.dumps({"build": described, "rows": {row: round(count, 1) for row, count in figures.items()}}, indent=1)
        )
        return wrong
    return wrong + record.changed(before[1], figures)


def unrepeatable(counter: Counter, figures: record.Instructions, calls: record.Syscalls) -> list[str]:
    again = counter.every(counter.instructions, list(figures))
    told = [f"does not repeat: {line}" for line in record.changed(figures, again, record.REPEATABLE)]
    calls_again = counter.every(counter.syscalls, list(calls))
    return told + [f"does not repeat: {line}" for line in record.changed_calls(calls, calls_again)]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/gates/run", description="What operations cost, against the record.")
    parser.add_argument("--rows", help="comma-separated; all by default")
    parser.add_argument("--record", action="store_true", help="write what is counted into figures.json")
    parser.add_argument("--check", action="store_true", help="count twice and fail if a row does not repeat")
    parser.add_argument("--jobs", type=int, default=environment.processors(), help="processes at once: %(default)s")
    options = parser.parse_args(arguments)
    if options.rows and (unknown := set(options.rows.split(",")) - set(ROWS)):
        parser.error(f"no rows {', '.join(sorted(unknown))} among {', '.join(ROWS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
