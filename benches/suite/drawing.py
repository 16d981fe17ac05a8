"""The picture of one group: an SVG with every loop on every row, lost rows first, and a mark for what was aimed at.

Each row has one axis of ratios, on a logarithmic scale: where our loop is stands the line at 1, and another loop's mark
lies to the right of it by how many times better we are, or to the left by how many times worse. A line through a mark
is its interval. So a row is lost if any mark lies left of the line, and reached its aim if none lies left of the wedge.

The text is the same for the same results, byte for byte, and readable on light and on dark ground.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log
from xml.sax.saxutils import escape

from benches.suite.loops import NAMES, OURS
from benches.suite.results import NOT_BEHIND, Results, Row
from benches.suite.table import described, figure

WIDTH, LEFT, RIGHT = 1000, 300, 210
TOP, ROW, BOTTOM = 126, 30, 24
PLOT = WIDTH - LEFT - RIGHT
ROOM = 28  # of a number on the axis
TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1, 1.2, 1.5, 2, 3, 4, 6, 10)
# Marks further out stand at the edge: the differences that matter are near 1.
EDGES = (0.1, 10)

# Told apart by shape as well as by colour.
SHAPES = {
    "asyncio": "M-4.5,-4.5h9v9h-9z",
    "uvloop": "M0,-5.5L5.5,4.5H-5.5z",
    "rloop": "M0,-6L6,0L0,6L-6,0z",
    "rsloop": "M0,5.5L5.5,-4.5H-5.5z",
    "zuvloop": "M-5,0A5,5 0 1 0 5,0A5,5 0 1 0 -5,0z",
    "talyn": "M-5.5,-2h3.5v-3.5h4v3.5h3.5v4h-3.5v3.5h-4v-3.5h-3.5z",
}
STYLE = """
svg { background: #fff; font: 13px system-ui, sans-serif; fill: #1b1f24 }
.mute { fill: #59636e } .small { font-size: 11px } .title { font-size: 17px; font-weight: 600 }
.grid { stroke: #d9dee3 } .ours { stroke: #1b1f24; stroke-width: 2 } .band { fill: #f5f7f9 }
.lost { fill: #c0262d; font-weight: 600 } .aim { stroke: #1b1f24; fill: none; stroke-width: 1.5 }
.limit { stroke: #59636e; stroke-width: 2; stroke-dasharray: 2 2 }
.asyncio { fill: #8a8f98; stroke: #8a8f98 } .uvloop { fill: #0072b2; stroke: #0072b2 }
.rloop { fill: #c85a00; stroke: #c85a00 } .rsloop { fill: #a64d79; stroke: #a64d79 }
.zuvloop { fill: #00805e; stroke: #00805e } .talyn { fill: #9a7d00; stroke: #9a7d00 }
@media (prefers-color-scheme: dark) {
svg { background: #0d1117; fill: #e6edf3 } .mute { fill: #9198a1 } .grid { stroke: #30363d } .band { fill: #151b23 }
.ours, .aim { stroke: #e6edf3 } .lost { fill: #ff7b72 } .limit { stroke: #9198a1 }
.asyncio { fill: #9aa1ab; stroke: #9aa1ab } .uvloop { fill: #58a6ff; stroke: #58a6ff }
.rloop { fill: #ff9b50; stroke: #ff9b50 } .rsloop { fill: #e08fb8; stroke: #e08fb8 }
.zuvloop { fill: #3fc99a; stroke: #3fc99a } .talyn { fill: #d9b926; stroke: #d9b926 }
}""".strip()


class Scale:
    """Ratios to pixels; it holds the medians and aims of all rows, and 1 somewhat inside."""

    def __init__(self, rows: Sequence[Row]) -> None:
        seen = [0.8, 1.6]
        for row in rows:
            seen += [ratio.median for ratio in row.ratios.values()]
            seen += [row.target] if row.target else []
            seen += [1 / over] if (over := row.over_limit) else []
        self._low = log(max(min(seen) / 1.08, EDGES[0]))
        self._high = log(min(max(seen) * 1.08, EDGES[1]))

    def __call__(self, ratio: float) -> float:
        share = (log(ratio) - self._low) / (self._high - self._low)
        return round(LEFT + PLOT * min(max(share, 0), 1), 1)

    def ticks(self) -> list[float]:
        """Those that have room, 1 always."""
        fitting = [tick for tick in TICKS if self._low <= log(tick) <= self._high]
        below, above = [tick for tick in fitting if tick < 1], [tick for tick in fitting if tick > 1]
        chosen = [1.0]
        for tick in [*reversed(below), *above]:
            if all(abs(self(tick) - self(other)) >= ROOM for other in chosen):
                chosen.append(tick)
        return sorted(chosen)


def as_svg(results: Results, title: str) -> str:
    rows = results.lost_first()
    height = TOP + ROW * len(rows) + BOTTOM
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{STYLE}\n</style>",
            *head(results, rows, title),
            *axis(Scale(rows), len(rows)),
            *(line for place, row in enumerate(rows) for line in drawn(row, Scale(rows), TOP + ROW * place, place)),
            "</svg>\n",
        ]
    )


def head(results: Results, rows: Sequence[Row], title: str) -> Iterator[str]:
    yield text(16, 28, title, "title")
    yield text(16, 48, described(results), "mute small")
    x = 16
    for loop in [loop for loop in NAMES if loop != OURS and any(loop in row.cells for row in rows)]:
        name = f"{loop} {results.loops.get(loop, '(not here)')}"
        yield mark(loop, x + 6, 68)
        yield text(x + 16, 72, name, "small")
        x += 30 + round(6.1 * len(name))
    yield f'<path class="ours" d="M{x + 4},62v12"/>'
    yield text(x + 12, 72, f"{OURS} {results.loops.get(OURS, '')}".strip(), "small")
    yield text(LEFT, 94, "how many times better oneloop is than each (line: 95% interval; wedge: aim)", "mute small")
    yield text(WIDTH - RIGHT + 16, 94, "oneloop; ratio to the best other", "mute small")


def axis(scale: Scale, rows: int) -> Iterator[str]:
    foot = TOP + ROW * rows
    for tick in scale.ticks():
        x = scale(tick)
        yield f'<path class="{"ours" if tick == 1 else "grid"}" d="M{x},{TOP - 8}V{foot}"/>'
        yield text(x, TOP - 11, f"{tick:g}", "mute small", "middle")
        yield text(x, foot + 14, f"{tick:g}", "mute small", "middle")


def drawn(row: Row, scale: Scale, y: int, place: int) -> Iterator[str]:
    middle = y + ROW // 2
    if place % 2:
        yield f'<rect class="band" x="0" y="{y}" width="{LEFT - 8}" height="{ROW}"/>'
    yield text(16, middle, row.title, "lost" if row.lost else "")
    yield text(16, middle + 12, row.unit, "mute small")
    aim = scale(NOT_BEHIND if row.target is None else row.target)
    yield f'<path class="aim" d="M{aim - 4},{y + 3}h8l-4,6z"/>'
    if over := row.over_limit:
        names = ", ".join(row.limit)
        yield f'<path class="limit" d="M{scale(1 / over)},{y + 4}v{ROW - 8}"><title>{escape(names)}</title></path>'
    for loop in [loop for loop in NAMES if loop in row.ratios]:
        ratio = row.ratios[loop]
        yield f'<path class="{loop}" d="M{scale(ratio.low)},{middle}H{scale(ratio.high)}"/>'
        yield mark(loop, scale(ratio.median), middle, f"{loop}: {ratio.median:.2f}")
    yield text(WIDTH - RIGHT + 16, middle, summary(row), "lost" if row.lost else "")
    absent = [loop for loop in NAMES if loop in row.cells and row.cells[loop].estimate is None]
    if absent:
        yield text(WIDTH - RIGHT + 16, middle + 12, f"none: {', '.join(absent)}", "mute small")


def summary(row: Row) -> str:
    ours = row.cells[OURS].estimate if OURS in row.cells else None
    if ours is None:
        return "no figure"
    if (ratio := row.standing) is None:
        return figure(ours.median)
    reached = {True: "✓", False: "✗", None: ""}[row.reached]
    return f"{figure(ours.median)}; {ratio.median:.2f} to {row.best} {reached}"


def mark(loop: str, x: float, y: float, told: str = "") -> str:
    inside = f"<title>{escape(told)}</title>" if told else ""
    return f'<path class="{loop}" transform="translate({x} {y})" d="{SHAPES[loop]}">{inside}</path>'


def text(x: float, y: float, said: str, kind: str = "", anchor: str = "start") -> str:
    placed = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x}" y="{y}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}{placed}>{escape(said)}</text>'
