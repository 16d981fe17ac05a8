"""The soak's short form, the leaks that it has to see, and its judge (see the package `soak`).

The long form is `make soak`. Here it is a few seconds, so that none of its kinds of work is broken when it is needed.
"""

from __future__ import annotations

import pytest
from helpers import children
from soak import judge


def soak(loop_name: str, seconds: float, *options: str) -> children.Finished:
    """So short that there are as few windows as the judge wants."""
    argv = ["-m", "soak", "--loop", loop_name, "--seconds", f"{seconds}", *options]
    return children.finish(children.start(argv, loop_name))


def verdicts(said: str) -> dict[str, bool]:
    """For each figure, whether it was found flat."""
    lines = [line for line in said.splitlines() if " -> " in line]
    return {line.split()[0]: line.endswith("flat") for line in lines}


def test_everything_at_once(loop_name: str) -> None:
    finished = soak(loop_name, 3)
    assert finished.quiet, finished.out + finished.err
    assert verdicts(finished.out) == dict.fromkeys(judge.ALLOWED, True)


@pytest.mark.parametrize("leak", ["objects", "descriptors", "memory"])
def test_a_leak_is_seen(leak: str) -> None:
    """On one loop: it is the soak that is tested, not the loop."""
    finished = soak("asyncio", 1.5, "--only", "tasks", "--leak", leak)
    assert finished.returncode == 1, finished.out + finished.err
    grown = {name for name, flat in verdicts(finished.out).items() if not flat}
    assert {"objects": "objects", "descriptors": "descriptors", "memory": "resident"}[leak] in grown
    assert "descriptors" not in grown or leak == "descriptors"


def windows(**figures: list[int]) -> list[dict[str, int]]:
    return [dict(zip(figures, values, strict=True)) for values in zip(*figures.values(), strict=True)]


@pytest.mark.parametrize(
    ("series", "flat"),
    [
        ([5] * 12, True),
        ([9, 20, 40, 50, 50, 50, 50, 50, 50, 50, 50, 50], True),  # while it warms up
        ([50, 50, 50, 50, 51, 49, 50, 51, 50, 49, 50, 51], True),
        ([50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 90, 50], True),  # one window that says nothing
        ([90, 80, 70, 60, 50, 40, 30, 20, 10, 9, 8, 7], True),
        ([50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61], False),  # a little in every window
        ([50, 50, 50, 50, 50, 50, 50, 50, 53, 53, 53, 53], False),  # once, and it stays
        ([50, 50, 50, 50, 50, 90, 50, 50, 52, 90, 53, 53], False),  # in spite of windows that say nothing
    ],
)
def test_the_judge(series: list[int], flat: bool) -> None:
    (growth,) = judge.judge(windows(figure=series), {"figure": 2})
    assert growth.flat is flat, growth


def test_the_judge_allows_what_it_is_told_to() -> None:
    series = windows(one=list(range(12)), other=list(range(12)))
    assert [growth.flat for growth in judge.judge(series, {"one": 6, "other": 5})] == [True, False]


def test_the_judge_wants_windows_enough() -> None:
    with pytest.raises(ValueError, match="7 windows are too few"):
        judge.judge(windows(figure=[1] * 7), {"figure": 0})
