"""What is printed: the table, with the rows that we lose first, or JSON; and the check's verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from benches.instructions.equipment import Tools
from benches.instructions.measure import Cell
from benches.scheduling.rows import ROWS
from benches.suite import loops
from benches.suite.environment import Bench, optimization
from benches.suite.table import aligned


@dataclass(frozen=True)
class Standing:
    """One row: its cells, and our count over that of the best other loop, where both exist."""

    key: str
    cells: dict[str, Cell]
    ratio: float | None


def standings(cells: Sequence[Cell]) -> list[Standing]:
    """The rows, the most lost one first; rows without a comparison come last, in their own order."""
    rows = []
    for key in dict.fromkeys(cell.row for cell in cells):
        mine = {cell.loop: cell for cell in cells if cell.row == key}
        counts = {loop: cell.instructions for loop, cell in mine.items() if cell.instructions is not None}
        ours = counts.pop(loops.OURS, None)
        rows.append(Standing(key, mine, ours / min(counts.values()) if ours and counts else None))
    return sorted(rows, key=lambda row: -row.ratio if row.ratio is not None else 0)


def as_table(cells: Sequence[Cell], bench: Bench, tools: Tools) -> str:
    """A Markdown table, so that it can be pasted as it is."""
    rows = standings(cells)
    shown = list(rows[0].cells)
    compared = any(row.ratio is not None for row in rows)
    versions = {cell.loop: cell.version for cell in cells if cell.version}
    head = ["instructions per operation", *(f"{loop} {versions.get(loop, '')}".strip() for loop in shown)]
    body = [[ROWS[row.key].title, *(figure(row.cells[loop]) for loop in shown)] for row in rows]
    if compared:
        head.append(f"{loops.OURS} / best other")
        for line, row in zip(body, rows, strict=True):
            line.append(verdict(row.ratio))
    lines = [f"{described(bench)}; {tools.valgrind_version}", "", *aligned([head, *body])]
    if remarks := notes(cells):
        lines += ["", *remarks]
    return "\n".join(lines)


def figure(cell: Cell) -> str:
    return "n/a" if cell.instructions is None else f"{cell.instructions:,.0f}"


def verdict(ratio: float | None) -> str:
    if ratio is None:
        return "n/a"
    return f"{ratio:.2f} lost" if ratio > 1 else f"{ratio:.2f}"


def notes(cells: Sequence[Cell]) -> list[str]:
    """Each reason once, with the loop and, where it is not all of them, the rows that it concerns."""
    concerned: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        if cell.unavailable:
            concerned.setdefault((cell.loop, f"n/a: {cell.unavailable}"), []).append(cell.row)
        if cell.failed:
            concerned.setdefault((cell.loop, f"failed: {cell.failed}"), []).append(cell.row)
        for warning in cell.warnings:
            concerned.setdefault((cell.loop, f"valgrind: {warning}"), []).append(cell.row)
    every = len({cell.row for cell in cells})
    return [
        f"{loop}{'' if len(rows) == every else ' (' + ', '.join(rows) + ')'}: {text}"
        for (loop, text), rows in concerned.items()
    ]


def described(bench: Bench) -> str:
    return f"Python {bench.interpreter['build']}, {optimization(bench.interpreter['optimized'])}"


def as_json(cells: Sequence[Cell], bench: Bench, tools: Tools) -> str:
    def told(cell: Cell) -> dict[str, object]:
        if cell.instructions is None:
            return {"unavailable": cell.unavailable} if cell.unavailable else {"failed": cell.failed}
        return {
            "instructions": round(cell.instructions, 1),
            "objects": {name: round(count, 1) for name, count in cell.objects.items()},
            "version": cell.version,
            "warnings": list(cell.warnings),
        }

    rows = [
        {
            "row": row.key,
            "title": ROWS[row.key].title,
            "ratio": None if row.ratio is None else round(row.ratio, 4),
            "loops": {loop: told(cell) for loop, cell in row.cells.items()},
        }
        for row in standings(cells)
    ]
    built, optimized = bench.interpreter["build"], bench.interpreter["optimized"]
    about = {"python": built, "optimized": optimized, "valgrind": tools.valgrind_version}
    return json.dumps({**about, "rows": rows}, indent=2)


@dataclass(frozen=True)
class Difference:
    """How far apart two runs of one cell are; a figure that only one of them has is infinitely so."""

    row: str
    loop: str
    counts: tuple[float | None, float | None]

    @property
    def relative(self) -> float:
        first, second = self.counts
        if first is None or second is None:
            return 0.0 if first is second else float("inf")
        return abs(first - second) / min(first, second)


def differences(first: Sequence[Cell], second: Sequence[Cell]) -> list[Difference]:
    """The widest apart first."""
    apart = [
        Difference(one.row, one.loop, (one.instructions, other.instructions))
        for one, other in zip(first, second, strict=True)
    ]
    return sorted(apart, key=lambda one: -one.relative)


def as_check(apart: Sequence[Difference], tolerance: float) -> str:
    over = [one for one in apart if one.relative > tolerance]
    lines = [f"{one.row} on {one.loop}: {one.counts[0]} and {one.counts[1]}" for one in over]
    counted = sum(one.counts != (None, None) for one in apart)
    widest = f", at most {apart[0].relative:.3%} apart ({apart[0].row} on {apart[0].loop})" if apart else ""
    lines.append(f"check: {counted} figures counted twice{widest}; {len(over)} over {tolerance:.0%}")
    return "\n".join(lines)
