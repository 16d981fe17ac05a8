"""Measuring one group, in the interpreter that is measured: rows, samples, ratios, and the file they go to.

    PYTHON -m benches.suite.measuring GROUP --out FILE ...

Started by the command line (command.py), perhaps in another system than its own: all that comes back is the file.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from benches.suite import environment, group, loops, pairs, plan, results
from benches.suite.environment import Bench
from benches.suite.group import Group, NoFigure, Sample, Spec

# Six pairs are the fewest whose range is an interval of 95%.
QUICK_PAIRS = 6
# Of one group, so that four of them stay under three minutes; shared by its rows.
QUICK_SECONDS = 40

Say = Callable[[str], None]


def measure(
    chosen: Group, specs: Sequence[Spec], names: Sequence[str], bench: Bench, say: Say, seconds: float = math.inf
) -> Iterator[results.Row]:
    """Every row as it is done; with a limit of time, no row begins a round once its share is used up."""
    budget = plan.Budget(specs, len(names), seconds, time.monotonic)
    for spec in specs:
        started = time.monotonic()
        row = measure_row(chosen, spec, names, bench, budget.next_deadline())
        pairs_made = max((len(cell.samples) for cell in row.cells.values()), default=0)
        say(f"{spec.key}: {pairs_made} pairs in {time.monotonic() - started:.1f} s; {verdict(row)}")
        yield row


def verdict(row: results.Row) -> str:
    if row.standing is None:
        return "nothing to compare"
    return f"{row.standing.median:.2f} times {row.best}"


def measure_row(
    chosen: Group, spec: Spec, names: Sequence[str], bench: Bench, deadline: float = math.inf
) -> results.Row:
    """Every loop and limit of one row, interleaved. A subject that fails once has a reason instead of a figure."""
    failed = {name: bench.unavailable[name] for name in names if name in bench.unavailable}

    def sample(subject: str) -> Sample | None:
        if subject in failed:
            return None
        try:
            return chosen.measure(spec, subject, bench)
        except NoFigure as none:
            failed[subject] = str(none)
            return None

    subjects = [*names, *spec.limits]
    taken = pairs.gather(subjects, spec.pairs, sample, lambda: time.monotonic() > deadline)
    samples = {
        subject: [one for one in given if one is not None] for subject, given in taken.items() if subject not in failed
    }
    cells = {name: cell(samples[name]) if name in samples else results.Cell(unavailable=failed[name]) for name in names}
    limit = {name: median(one.value for one in samples[name]) for name in spec.limits if name in samples}
    return results.Row(
        row=spec.key,
        title=spec.title,
        unit=spec.unit,
        better=spec.better,
        cells=cells,
        ratios=ratios(cells, spec.better),
        target=spec.target,
        stretch=spec.stretch,
        against=spec.against,
        limit=limit,
        within=spec.within,
    )


def cell(samples: Sequence[Sample]) -> results.Cell:
    values = tuple(sample.value for sample in samples)
    # A figure that one sample has not is none of the row: a throughput, where the client was once at its limit.
    told = [name for name in samples[0].extra if all(name in sample.extra for sample in samples)]
    extra = {name: median(sample.extra[name] for sample in samples) for name in told}
    return results.Cell(pairs.estimate(values), values, extra=extra)


def ratios(cells: Mapping[str, results.Cell], better: results.Better) -> dict[str, pairs.Estimate]:
    ours = cells.get(loops.OURS)
    if ours is None or not ours.samples:
        return {}
    return {
        name: pairs.estimate(pairs.ratios(ours.samples, other.samples, better))
        for name, other in cells.items()
        if name != loops.OURS and other.samples
    }


def choose(specs: Sequence[Spec], wanted: Sequence[str], quick: bool, count: int | None) -> list[Spec]:
    """The rows that were asked for, with as many pairs; `--quick` has few rows unless they are named."""
    if unknown := set(wanted) - {spec.key for spec in specs}:
        known = ", ".join(spec.key for spec in specs)
        raise environment.MissingError(f"no row {', '.join(sorted(unknown))} among {known}")
    chosen = [spec for spec in specs if (spec.key in wanted if wanted else spec.quick or not quick)]
    most = count or (QUICK_PAIRS if quick else None)
    return [replace(spec, pairs=most if count else min(spec.pairs, most)) if most else spec for spec in chosen]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    chosen = group.load(options.group)
    try:
        specs = choose(chosen.rows(), options.rows, options.quick, options.pairs)
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
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--date", default="")
    parser.add_argument("--commit", default="")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
