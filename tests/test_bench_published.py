"""What readers are shown of the figures is what was measured, lost rows first."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from benches.suite import group, published, results
from benches.suite.group import Spec
from benches.suite.pairs import Estimate


def row(key: str, median: float, target: float | None = None) -> results.Row:
    ours, theirs = results.Cell(Estimate(10, 9, 11), (10.0,)), results.Cell(Estimate(10 * median, 9, 11), (10.0,))
    ratios = {"uvloop": Estimate(median, median - 0.1, median + 0.1)}
    return results.Row(key, f"Row {key}", "µs", "lower", {"oneloop": ours, "uvloop": theirs}, ratios, target)


FIGURES = results.Results(
    "made",
    {"version": "3.14.1", "optimized": None},
    {"system": "Linux", "processors": 2},
    "2026-11-22",
    "abc",
    {"oneloop": "0.1.0", "uvloop": "0.23.0"},
    (row("won", 1.5, 1.4), row("lost", 0.7), row("unseen", 0.5)),
)


@pytest.fixture(autouse=True)
def made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group of those figures, for all tests but the one that looks at the real ones."""
    if "repository" not in request.node.name:
        quick = [Spec("won", "", "", quick=True), Spec("lost", "", "", quick=True), Spec("unseen", "", "")]
        monkeypatch.setattr(group, "load", lambda _: SimpleNamespace(TITLE="Made figures", rows=lambda: quick))


def test_the_pages_of_this_repository_say_what_its_figures_say() -> None:
    assert [found.group for found in published.read()] == group.present()
    for path, text in published.pages().items():
        assert path.read_text() == text, f"{path} is to be made again: python -m benches.suite.published"


def test_the_short_table_has_the_rows_chosen_beforehand_and_counts_all_that_are_lost() -> None:
    lines = published.short([FIGURES]).splitlines()
    body = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    assert body[1:] == [
        ["Row lost", "µs", "10.0", "uvloop 7.00", "**0.70 (0.60 to 0.80), lost**"],
        ["Row won", "µs", "10.0", "uvloop 15.0", "1.50 (1.40 to 1.60)"],
    ]
    assert lines[-1] == "- *made*: 3 rows beside other loops, 2 of them lost; 1 of 3 aims reached."
    assert "Python 3.14.1, its build does not tell of PGO; Linux, 2 processors; 2026-11-22, abc." in lines


def test_the_page_of_all_rows_has_all() -> None:
    page = published.whole([FIGURES])
    assert all(f"| Row {key} " in page for key in ("won", "lost", "unseen"))
    assert "![Made figures](made.svg)" in page


def test_a_row_alone_has_no_ratio_and_comes_last() -> None:
    alone = replace(FIGURES.rows[1], ratios={}, title="Alone")
    lines = published.short([replace(FIGURES, rows=(alone, FIGURES.rows[0]))]).splitlines()
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]] == ["Alone", "µs", "10.0", "n/a", "n/a"]


BEGIN, END = published.BEGIN, published.END


@pytest.mark.parametrize("page", ["", BEGIN, END + BEGIN, (BEGIN + END) * 2])
def test_a_page_without_its_marks_is_refused(page: str) -> None:
    with pytest.raises(results.FormatError, match="marks"):
        published.inserted(page, "text")


def test_figures_go_between_the_marks() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert published.inserted(page, "new") == page.replace("old", "new")
