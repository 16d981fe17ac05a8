"""The table of one group: Markdown that can be pasted as it is, lost rows first, reasons below."""

from __future__ import annotations

from collections.abc import Sequence

from benches.suite.environment import optimization
from benches.suite.loops import NAMES
from benches.suite.results import Results, Row


def as_markdown(results: Results, title: str) -> str:
    rows = results.lost_first()
    shown = [loop for loop in NAMES if any(loop in row.cells for row in rows)]
    limits = list(dict.fromkeys(name for row in rows for name in row.limit))
    head = [title, "unit", *limits, *(f"{loop} {results.loops.get(loop, '')}".strip() for loop in shown)]
    head += ["ratio to the best", "aim"]
    body = [
        [
            row.title,
            row.unit,
            *(figure(row.limit.get(name)) for name in limits),
            *(cell(row, loop) for loop in shown),
            standing(row),
            aim(row),
        ]
        for row in rows
    ]
    lines = [described(results), "", *aligned([head, *body])]
    if remarks := notes(results):
        lines += ["", *remarks]
    return "\n".join(lines)


def described(results: Results) -> str:
    where = f"{results.machine.get('system', '')}, {results.machine.get('processors', '?')} processors"
    built = optimization(results.interpreter.get("optimized"))
    return f"Python {results.interpreter.get('version')}, {built}; {where}; {results.date}, {results.commit}"


def cell(row: Row, loop: str) -> str:
    held = row.cells.get(loop)
    return figure(held.estimate.median if held and held.estimate else None)


def figure(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return "n/a"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def standing(row: Row) -> str:
    if (ratio := row.standing) is None:
        return "n/a"
    lost = " lost" if row.lost else ""
    return f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) {row.best}{lost}"


def aim(row: Row) -> str:
    aimed = "not behind" if row.target is None else f"{row.target:g}"
    if row.stretch is not None:
        aimed += f" (at best {row.stretch:g})"
    for loop, wanted in row.against.items():
        ratio = row.ratios.get(loop)
        aimed += f", {wanted:g} to {loop} ({f'now {ratio.median:.2f}' if ratio else 'not measured'})"
    if row.within is not None:
        over = f"now {row.over_limit:.2f}" if row.over_limit is not None else "no limit measured"
        aimed += f", within {row.within:g} of the limit ({over})"
    return aimed if row.reached is None else f"{aimed}: {'reached' if row.reached else 'missed'}"


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(text) for text in column) for column in zip(*table, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return "| " + " | ".join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]) + " |"

    first, *others = widths
    rule = "|" + "|".join(["-" * (first + 2), *("-" * (width + 1) + ":" for width in others)]) + "|"
    return [line(table[0]), rule, *(line(row) for row in table[1:])]


def notes(results: Results) -> list[str]:
    """Each reason once, with the loop and, where it is not all of them, the rows that it concerns."""
    concerned: dict[tuple[str, str], list[str]] = {}
    for row in results.rows:
        for loop, held in row.cells.items():
            if held.estimate is None:
                concerned.setdefault((loop, held.unavailable), []).append(row.row)
    return [
        f"{loop}{'' if len(rows) == len(results.rows) else ' (' + ', '.join(rows) + ')'}: n/a: {text}"
        for (loop, text), rows in concerned.items()
    ]
