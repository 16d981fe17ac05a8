"""What a full run leaves for readers: `benches/results/README.md` with every row, and the table of our README.

    python -m benches.suite.published     # make bench does it at its end

Both are made of the files of figures in `benches/results` and of nothing else, and a test holds them against these.
The README has the rows of `make bench-quick`, which are chosen beforehand, and counts all that are lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benches.suite import group, results, table
from benches.suite.environment import ROOT
from benches.suite.loops import OURS
from benches.suite.results import Results, Row

FOLDER = ROOT / "benches" / "results"

BEGIN = "<!-- figures: made by benches.suite.published -->"
END = "<!-- end of figures -->"


def read(folder: Path = FOLDER) -> list[Results]:
    """The groups that were measured, in the suite's order."""
    files = [folder / f"{name}.json" for name in group.present()]
    return [results.read(file) for file in files if file.exists()]


def whole(measured: Sequence[Results]) -> str:
    """The page of all rows."""
    parts = ["# Results", "", *(tally(measured)), ""]
    for found in measured:
        title = group.load(found.group).TITLE
        parts += [f"## {title}", "", f"![{title}]({found.group}.svg)", "", table.as_markdown(found, "row"), ""]
    return "\n".join(parts)


def short(measured: Sequence[Results]) -> str:
    """What the README shows: a few rows of each group, the lost ones first, and a count of all."""
    rows = [row for found in measured for row in chosen(found)]
    rows.sort(key=lambda row: row.standing.median if row.standing else float("inf"))
    head = ["row", "unit", OURS, "best other loop", "ratio (above 1 is better)"]
    body = [[row.title, row.unit, table.cell(row, OURS), best(row), ratio(row)] for row in rows]
    return "\n".join([*table.aligned([head, *body]), "", *tally(measured)])


def chosen(found: Results) -> list[Row]:
    quick = {spec.key for spec in group.load(found.group).rows() if spec.quick}
    return [row for row in found.rows if row.row in quick]


def best(row: Row) -> str:
    return "n/a" if row.best is None else f"{row.best} {table.cell(row, row.best)}"


def ratio(row: Row) -> str:
    if (standing := row.standing) is None:
        return "n/a"
    shown = f"{standing.median:.2f} ({standing.low:.2f} to {standing.high:.2f})"
    return f"**{shown}, lost**" if row.lost else shown


def tally(measured: Sequence[Results]) -> list[str]:
    """How the rows of each group stand, lost ones counted."""
    if not measured:
        return ["Nothing was measured."]
    lines = []
    for found in measured:
        beside = [row for row in found.rows if row.standing]
        lost = sum(row.lost for row in beside)
        aimed = [row for row in found.rows if row.reached is not None]
        reached = sum(bool(row.reached) for row in aimed)
        told = f"{len(beside)} rows beside other loops, {lost} of them lost; {reached} of {len(aimed)} aims reached."
        lines.append(f"- *{found.group}*: {told}")
    return [f"{table.described(measured[0])}.", "", *lines]


def inserted(page: str, text: str) -> str:
    """The page with that text between the marks.

    Raises:
        FormatError: if the marks are not there, once each.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in after:
        raise results.FormatError("the page does not have the marks between which the figures go")
    return f"{before}{begin}\n{text}\n{end}{after}"


def pages() -> dict[Path, str]:
    """Each page, and what it is to say."""
    measured = read()
    readme = ROOT / "README.md"
    return {FOLDER / "README.md": whole(measured), readme: inserted(readme.read_text(), short(measured))}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
