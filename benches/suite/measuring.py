"""Measuring one group, in the interpreter that is measured: rows, samples, ratios, and the file they go to.

    PYTHON -m benches.suite.measuring GROUP --out FILE ...

Started by the command line (command.py), perhaps in another system than its own: all that comes back is the file.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from benches.suite import environment, group, loops, pairs, plan, results, sessions
from benches.suite.environment import Bench
from benches.suite.group import Group, Spec
from benches.suite.sessions import Session

# Of one group, so that four of them stay under three minutes; shared by its rows.
QUICK_SECONDS = 40
# In how many sessions the figures that take a load of their own are measured.
FURTHER = 2

Say = Callable[[str], None]


def measure(
    chosen: Group, specs: Sequence[Spec], names: Sequence[str], bench: Bench, say: Say, seconds: float = math.inf
) -> Iterator[results.Row]:
    """Every row as it is done; with a limit of time, no session begins a round once its share is used up."""
    budget = plan.Budget(specs, len(names), seconds, time.monotonic)
    for spec in specs:
        started = time.monotonic()
        row = measure_row(chosen, spec, names, bench, budget.next_deadline())
        made = max((len(cell.samples) for cell in row.cells.values()), default=0)
        slices = max((cell.slices for cell in row.cells.values()), default=0)
        took = time.monotonic() - started
        say(f"{spec.key}: {made} sessions of {slices} slices in {took:.1f} s; {verdict(row)}")
        yield row


def verdict(row: results.Row) -> str:
    if row.standing is None:
        return "nothing to compare"
    standing = row.standing
    return f"{standing.median:.2f} ({standing.low:.2f} to {standing.high:.2f}) times {row.best}"


def measure_row(
    chosen: Group, spec: Spec, names: Sequence[str], bench: Bench, deadline: float = math.inf
) -> results.Row:
    """Every loop and limit of one row, in sessions. A subject that fails once has a reason instead of a figure."""
    failed = {name: bench.unavailable[name] for name in names if name in bench.unavailable}
    subjects = [*names, *spec.limits]
    started = time.monotonic()
    held: list[Session] = []
    for number in range(spec.sessions):
        if number >= pairs.FEWEST and time.monotonic() > deadline:
            break
        end = started + (deadline - started) * (number + 1) / spec.sessions
        session = sessions.hold(
            subjects,
            lambda subject: chosen.opened(spec, subject, bench),
            failed,
            rounds=spec.rounds,
            discarded=spec.discarded,
            seed=number,
            enough=past(end),
            further=number < FURTHER,
        )
        held.append(session)
    cells = {name: results.Cell(unavailable=failed[name]) if name in failed else cell(held, name) for name in names}
    limits = [name for name in spec.limits if name not in failed]
    return results.Row(
        row=spec.key,
        title=spec.title,
        unit=spec.unit,
        better=spec.better,
        cells=cells,
        ratios={
            name: ratio(held, loops.OURS, name, spec.better)
            for name in names
            if name != loops.OURS and not {name, loops.OURS} & failed.keys() and loops.OURS in names
        },
        target=spec.target,
        stretch=spec.stretch,
        against=spec.against,
        limit={name: median(one.sample(name).value for one in held) for name in limits},
        over={
            name: ratio(held, name, loops.OURS, spec.better)
            for name in limits
            if loops.OURS in names and loops.OURS not in failed
        },
        within=spec.within,
    )


def past(end: float) -> Callable[[], bool]:
    return lambda: time.monotonic() > end


def cell(held: Sequence[Session], name: str) -> results.Cell:
    samples = [session.sample(name) for session in held]
    values = tuple(sample.value for sample in samples)
    # Some are only measured in the first sessions, and then in all of these.
    told = list(dict.fromkeys(key for sample in samples for key in sample.extra))
    extra = {key: median(sample.extra[key] for sample in samples if key in sample.extra) for key in told}
    slices = sum(len(session.taken[name]) for session in held)
    return results.Cell(pairs.estimate(values), values, extra=extra, slices=slices)


def ratio(held: Sequence[Session], ours: str, theirs: str, better: results.Better) -> pairs.Estimate:
    return pairs.estimate([pairs.ratio(one.values(ours), one.values(theirs), better) for one in held])


def choose(specs: Sequence[Spec], wanted: Sequence[str], quick: bool, count: int | None) -> list[Spec]:
    """The rows that were asked for, with as many sessions; `--quick` has few rows unless they are named."""
    if unknown := set(wanted) - {spec.key for spec in specs}:
        known = ", ".join(spec.key for spec in specs)
        raise environment.MissingError(f"no row {', '.join(sorted(unknown))} among {known}")
    chosen = [spec for spec in specs if (spec.key in wanted if wanted else spec.quick or not quick)]
    return [
        replace(spec, sessions=count or (min(spec.sessions, pairs.SESSIONS) if quick else spec.sessions))
        for spec in chosen
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    chosen = group.load(options.group)
    try:
        specs = choose(chosen.rows(), options.rows, options.quick, options.sessions)
        bench = environment.prepare(options.loops, chosen.REQUIREMENTS)
        chosen.prepare(bench)
    except environment.MissingError as missing:
        say(str(missing))
        return 2
    measured = results.Results(
        group=options.group,
        interpreter=bench.interpreter,
        machine=environment.machine(),
        date=options.date,
        commit=options.commit,
        loops=bench.versions,
        rows=(),
    )
    for row in measure(chosen, specs, options.loops, bench, say, options.seconds):
        measured = replace(measured, rows=(*measured.rows, row))
        results.write(measured, options.out)  # a run takes long: what is done stays, whatever comes
    return 0


def say(message: str) -> None:
    print(f"benches: {message}", file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches.suite.measuring", description="Measure one group; see benches/run.")
    parser.add_argument("group")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--loops", type=lambda text: text.split(","), default=list(loops.NAMES))
    parser.add_argument("--rows", type=lambda text: text.split(","), default=[])
    parser.add_argument("--sessions", type=int)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--date", default="")
    parser.add_argument("--commit", default="")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
