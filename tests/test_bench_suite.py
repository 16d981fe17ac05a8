"""The benchmark suite's own logic, on made figures: pairs and intervals, the file format, standings, table, drawing."""

from __future__ import annotations

import json
import random
import re
import sys
import xml.etree.ElementTree
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import pairwise
from math import comb
from pathlib import Path
from typing import Any

import pytest

from benches.suite import command, drawing, environment, group, loops, measuring, pairs, plan, results, sessions, table
from benches.suite.group import NoFigure, Sample, Spec, Station
from benches.suite.pairs import Estimate


@pytest.mark.parametrize(("count", "outermost"), [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (12, 2), (15, 3), (30, 9)])
def test_the_interval_leaves_out_as_many_as_the_sign_test_allows(count: int, outermost: int) -> None:
    made = pairs.estimate([float(value) for value in random.Random(count).sample(range(count), count)])
    assert (made.low, made.high) == (outermost, count - 1 - outermost)
    outside = [2 * sum(comb(count, i) for i in range(k + 1)) / 2**count for k in (outermost, outermost + 1)]
    assert outside[1] > 0.05
    assert outside[0] <= 0.05 or outermost == 0


def test_the_interval_holds_the_true_median_as_often_as_it_says() -> None:
    random_ = random.Random(5)
    held = 0
    for _ in range(2000):
        made = pairs.estimate([random_.lognormvariate(0, 1) for _ in range(15)])
        held += made.low <= 1 <= made.high
    # 15 values between the 4th and the 12th: 96.5%.
    assert 0.95 <= held / 2000 <= 0.98


def test_an_estimate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        pairs.estimate([])


class Made:
    """A group whose samples are made: each loop's cost is fixed, but for a common drift."""

    TITLE = "Made figures"
    REQUIREMENTS: Sequence[str] = ()
    COSTS: dict[str, dict[str, float]] = {  # noqa: RUF012 - a table
        "won": {"asyncio": 4, "uvloop": 3, "rloop": 2, "oneloop": 1, "plain": 0.9},
        "lost": {"asyncio": 4, "uvloop": 3, "rloop": 2, "oneloop": 2.5, "plain": 0.9},
        "alone": {"oneloop": 7},
    }

    def __init__(self) -> None:
        self.turns = 0

    def rows(self) -> Sequence[Spec]:
        return [
            Spec("alone", "Only <ours>", "µs", sessions=3, rounds=4),
            Spec("won", "Won & done", "µs", rounds=4, target=1.9, quick=True, limits=("plain",), within=1.2),
            Spec("lost", "Lost", "µs", rounds=4, limits=("plain",), within=1.2),
        ]

    def prepare(self, bench: environment.Bench) -> None:
        pass

    @contextmanager
    def opened(self, row: Spec, subject: str, bench: environment.Bench) -> Iterator[Station]:
        if subject not in self.COSTS[row.key]:
            raise NoFigure("cannot do it")
        yield Drifting(self, self.COSTS[row.key][subject])


class Drifting:
    def __init__(self, group: Made, cost: float) -> None:
        self.group, self.cost = group, cost

    def slice(self) -> Sample:
        self.group.turns += 1
        return Sample(self.cost * (1 + self.group.turns / 1000), {"per second": 5.0})

    def beside(self) -> Mapping[str, float]:
        return {"under a load of its own": 1.0}


BENCH = environment.Bench(
    Path("python"),
    {"version": "3.14.1", "optimized": True, "build": "3.14.1 (main)"},
    {"oneloop": "0.1.0", "uvloop": "0.23.0", "rloop": "0.5.0", "asyncio": "3.14.1"},
    {"talyn": "no wheel for Python 3.14.1"},
)
NAMES = ("asyncio", "uvloop", "rloop", "talyn", "oneloop")


def made_results() -> results.Results:
    chosen = Made()
    rows = measuring.measure(chosen, chosen.rows(), NAMES, BENCH, lambda _: None)
    machine = {"system": "Linux", "processor": "", "processors": 2}
    return results.Results("made", BENCH.interpreter, machine, "2026-11-22", "abc", BENCH.versions, tuple(rows))


def by_key(found: results.Results) -> dict[str, results.Row]:
    return {row.row: row for row in found.rows}


def test_a_group_is_measured_as_pairs_with_the_best_other_loop_as_opponent() -> None:
    rows = by_key(made_results())
    assert {key: row.best for key, row in rows.items()} == {"won": "rloop", "lost": "rloop", "alone": None}
    assert [len(row.cells["oneloop"].samples) for row in rows.values()] == [3, pairs.SESSIONS, pairs.SESSIONS]
    assert [row.cells["oneloop"].slices for row in rows.values()] == [12, 4 * pairs.SESSIONS, 4 * pairs.SESSIONS]
    won, lost = rows["won"].standing, rows["lost"].standing
    assert won is not None
    assert lost is not None
    assert won.median == pytest.approx(2, abs=0.05)
    assert lost.median == pytest.approx(0.8, abs=0.02)
    assert (rows["won"].lost, rows["lost"].lost) == (False, True)
    assert rows["won"].cells["uvloop"].extra == {"per second": 5.0, "under a load of its own": 1.0}
    assert rows["won"].over["plain"].median == pytest.approx(1 / 0.9, abs=0.01)


def test_a_limit_of_time_ends_rows_and_drops_none() -> None:
    chosen = Made()
    rows = [*measuring.measure(chosen, chosen.rows(), NAMES, BENCH, lambda _: None, seconds=0)]
    assert [len(row.cells["oneloop"].samples) for row in rows] == [pairs.FEWEST] * 3
    assert [row.cells["oneloop"].slices for row in rows] == [pairs.FEWEST * sessions.FEWEST_ROUNDS] * 3


def test_a_loop_that_crashes_in_a_later_session_has_a_reason_and_the_others_have_figures() -> None:
    chosen = Made()
    spec = chosen.rows()[1]
    opened, times = chosen.opened, Counter[str]()

    def unlucky(row: Spec, subject: str, bench: environment.Bench) -> AbstractContextManager[Station]:
        times[subject] += 1
        if subject == "uvloop" and times[subject] == 3:
            raise ConnectionResetError("gone")
        return opened(row, subject, bench)

    chosen.opened = unlucky  # type: ignore[method-assign,assignment]
    row = measuring.measure_row(chosen, spec, NAMES, BENCH)
    assert row.cells["uvloop"].unavailable == "ConnectionResetError: gone"
    assert times["uvloop"] == 3
    assert row.ratios.keys() == {"asyncio", "rloop"}
    assert len(row.cells["oneloop"].samples) == pairs.SESSIONS


def test_rows_share_a_limit_of_time_by_what_they_cost() -> None:
    specs = [
        Spec("cheap", "", "", sessions=1, rounds=1, start=0, seconds=1),
        Spec("dear", "", "", sessions=3, rounds=2, discarded=0, limits=("plain",), start=1, seconds=1),
        Spec("last", "", "", sessions=1, rounds=1, start=0, seconds=1),
    ]
    assert [plan.cost(spec, 2) for spec in specs] == [4, 27, 4]
    now = 100.0
    budget = plan.Budget(specs, 2, 70, lambda: now)
    assert budget.next_deadline() == 100 + 70 * 4 / 35
    now = 139  # longer than its share: those that follow have less
    assert budget.next_deadline() == 139 + 31 * 27 / 31
    now = 150  # and what one leaves is theirs
    assert budget.next_deadline() == 170
    now = 171
    assert plan.Budget(specs, 2, 0, lambda: now).next_deadline() == 171
    assert plan.Budget(specs, 2, float("inf"), lambda: now).next_deadline() == float("inf")


def test_a_run_says_how_long_it_takes_and_is_given_an_hour() -> None:
    costs = {"scheduling": 3000.0, "network": 6000.0}
    limits = command.shares(costs, command.parse(["scheduling", "network"]))
    assert limits == {"scheduling": 1200, "network": 2400}
    assert command.announced(costs, limits) == (
        "scheduling, network: about 60 minutes of measuring, building aside; all rounds would take 150 minutes"
    )
    assert command.announced({"memory": 200.0}, {"memory": 999}) == (
        "memory: about 3 minutes of measuring, building aside"
    )
    assert command.shares(costs, command.parse(["--minutes", "90"])) == {"scheduling": 1800, "network": 3600}
    assert command.shares(costs, command.parse(["--sessions", "15"])) == dict.fromkeys(costs, float("inf"))
    assert command.shares(costs, command.parse(["--seconds", "7"])) == dict.fromkeys(costs, 7)
    assert command.shares(costs, command.parse(["--quick"])) == dict.fromkeys(costs, measuring.QUICK_SECONDS)
    assert len(group.KNOWN) * measuring.QUICK_SECONDS < 180


def test_a_loop_without_a_figure_keeps_its_reason() -> None:
    rows = by_key(made_results())
    assert rows["won"].cells["talyn"].unavailable == "no wheel for Python 3.14.1"
    assert rows["alone"].cells["uvloop"].unavailable == "cannot do it"
    assert rows["alone"].ratios == {}
    assert rows["alone"].reached is None


def test_aims_are_judged_by_ratio_limit_and_interval() -> None:
    row = by_key(made_results())["won"]
    assert row.over_limit == pytest.approx(1.11, abs=0.05)
    assert replace(row, over={"plain": Estimate(1.3, 1.2, 1.4)}).over_limit == 1.3
    assert row.reached is True
    assert replace(row, target=2.2).reached is False
    assert replace(row, within=1.05).reached is False
    near = replace(row, target=None, within=None, ratios={**row.ratios, "rloop": Estimate(0.9, 0.8, 0.975)})
    assert near.reached is True
    assert replace(near, ratios={**row.ratios, "rloop": Estimate(0.9, 0.8, 0.96)}).reached is False
    # Requests per second: more is better, and the limit is above us.
    faster = replace(row, better="higher", over={}, limit={"plain": row.cells["oneloop"].estimate.median * 1.5})  # type: ignore[union-attr]
    assert faster.over_limit == pytest.approx(1.5)
    assert faster.best == "rloop"


def test_a_loop_may_be_aimed_at_by_name() -> None:
    row = replace(by_key(made_results())["won"], against={"uvloop": 2.5}, stretch=2.4)
    assert row.best == "rloop"
    assert row.reached is True
    assert replace(row, against={"uvloop": 3.5}).reached is False
    # What was not measured is neither reached nor missed, unless something else is missed.
    absent = replace(row, against={"talyn": 1.0})
    assert absent.reached is None
    assert replace(absent, target=2.2).reached is False
    assert replace(row, limit={}, over={}).reached is None
    told = table.aim(row)
    assert told.startswith("1.9 (at best 2.4), 2.5 to uvloop (now 3.")
    assert told.endswith(": reached")
    assert "1 to talyn (not measured)" in table.aim(absent)


def test_results_survive_being_written_and_read(tmp_path: Path) -> None:
    made = made_results()
    made = replace(made, rows=(*made.rows[1:], replace(made.rows[0], against={"uvloop": 1.5}, stretch=2.0)))
    results.write(made, tmp_path / "made.json")
    again = results.read(tmp_path / "made.json")
    assert again.as_json() == made.as_json()
    assert again.lost_first()[0].row == made.lost_first()[0].row == "lost"
    assert by_key(again)["won"].reached is True
    results.write(again, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "made.json").read_bytes()


@pytest.mark.parametrize("damage", ["group", "rows", "better", "cells"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    told: dict[str, Any] = made_results().as_json()
    if damage in told:
        del told[damage]
    elif damage == "better":
        told["rows"][0]["better"] = "more"
    else:
        told["rows"][0][damage] = 3
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(told))
    with pytest.raises(results.FormatError, match=r"damaged\.json"):
        results.read(path)


def test_merging_keeps_the_latest_of_each_row() -> None:
    made = made_results()
    won = by_key(made)["won"]
    later = replace(made, commit="def", rows=(replace(won, title="again"), replace(won, row="new")))
    merged = results.merge(made, later)
    assert [(row.row, row.title) for row in merged.rows] == [
        ("alone", "Only <ours>"),
        ("won", "again"),
        ("lost", "Lost"),
        ("new", "Won & done"),
    ]
    assert merged.commit == "abc and def"
    with pytest.raises(results.FormatError, match="interpreter"):
        results.merge(made, replace(later, interpreter={"version": "3.11.7"}))


def test_lost_rows_come_first_in_table_and_drawing() -> None:
    made = made_results()
    assert [row.row for row in made.lost_first()] == ["lost", "won", "alone"]
    lines = [line for line in table.as_markdown(made, Made.TITLE).splitlines() if line.startswith("| ")]
    assert [line.split("|")[1].strip() for line in lines] == [Made.TITLE, "Lost", "Won & done", "Only <ours>"]
    assert "rloop lost" in lines[1]
    assert "missed" in lines[1]
    assert "reached" in lines[2]
    assert "talyn: n/a: no wheel for Python 3.14.1" in table.as_markdown(made, Made.TITLE)


def test_the_drawing_shows_every_loop_on_every_row() -> None:
    made = made_results()
    drawn = drawing.as_svg(made, Made.TITLE)
    root = xml.etree.ElementTree.fromstring(drawn)  # well-formed, whatever titles hold
    paths = [part for part in root.iter() if part.tag.endswith("path")]
    for loop in ("asyncio", "uvloop", "rloop"):
        # On two rows a mark and its interval, in the legend a mark.
        assert sum(part.get("class") == loop for part in paths) == 5
    assert sum(part.get("class") == "aim" for part in paths) == 3
    assert sum(part.get("class") == "limit" for part in paths) == 2
    said = [part.text for part in root.iter() if part.tag.endswith("text")]
    assert [text for text in said if text in ("Lost", "Won & done", "Only <ours>")] == [
        "Lost",
        "Won & done",
        "Only <ours>",
    ]
    assert "none: talyn" in said


def test_the_drawing_is_the_same_for_the_same_results(tmp_path: Path) -> None:
    made = made_results()
    results.write(made, tmp_path / "made.json")
    drawn = drawing.as_svg(results.read(tmp_path / "made.json"), "t")
    backwards = [
        replace(row, cells=dict(reversed(list(row.cells.items()))), ratios=dict(reversed(list(row.ratios.items()))))
        for row in reversed(results.read(tmp_path / "made.json").rows)
    ]
    assert drawing.as_svg(replace(made, rows=tuple(backwards)), "t") == drawn
    assert drawing.as_svg(replace(made, rows=made.rows[:2]), "t") != drawn


def test_marks_lie_where_the_ratios_are() -> None:
    rows = made_results().rows
    scale = drawing.Scale(rows)
    assert scale(0.8) < scale(1) < scale(1.2) < scale(2)
    assert scale(0.0001) >= drawing.LEFT
    assert scale(10_000) <= drawing.LEFT + drawing.PLOT


def test_what_is_far_off_stands_at_the_edge_and_numbers_have_room() -> None:
    row = by_key(made_results())["won"]
    far = replace(row, ratios={"asyncio": Estimate(80, 70, 90), "rloop": Estimate(0.01, 0.009, 0.02)})
    scale = drawing.Scale([far])
    assert (scale(80), scale(0.01)) == (drawing.LEFT + drawing.PLOT, drawing.LEFT)
    places = [scale(tick) for tick in scale.ticks()]
    assert 1 in scale.ticks()
    assert all(right - left >= drawing.ROOM for left, right in pairwise(places))


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] if len(colour) == 7 else [1.0, 1.0, 1.0]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_marks_and_text_stand_out_on_light_and_on_dark_ground() -> None:
    grounds = drawing.STYLE.split("@media (prefers-color-scheme: dark)")
    assert len(grounds) == 2
    for style in grounds:
        kinds = {
            kind: colour
            for kinds, rules in re.findall(r"([^{}]+?) \{ ([^{}]+) \}", style)
            for kind in kinds.strip().split(", ")
            for colour in re.findall(r"(?:fill|stroke): (#\w+)", rules)[:1]
        }
        (ground,) = re.findall(r"background: (#\w+)", style)
        # As WCAG asks: 4.5 for text, 3 for marks.
        wanted = {"svg": 4.5, ".mute": 4.5, ".lost": 4.5, ".ours": 3, ".aim": 3, ".limit": 3}
        wanted |= {f".{loop}": 3 for loop in drawing.SHAPES}
        assert wanted.keys() <= kinds.keys()
        for kind, least in wanted.items():
            darker, lighter = sorted((luminance(kinds[kind]), luminance(ground)))
            assert (lighter + 0.05) / (darker + 0.05) >= least, kind


def test_rows_are_chosen_by_name_or_by_haste() -> None:
    specs = Made().rows()
    assert [(spec.key, spec.sessions) for spec in measuring.choose(specs, [], False, None)] == [
        ("alone", 3),
        ("won", pairs.SESSIONS),
        ("lost", pairs.SESSIONS),
    ]
    assert [(spec.key, spec.sessions) for spec in measuring.choose(specs, [], True, None)] == [("won", 6)]
    assert [(spec.key, spec.sessions) for spec in measuring.choose(specs, ["alone"], True, 9)] == [("alone", 9)]
    with pytest.raises(environment.MissingError, match="nonsense"):
        measuring.choose(specs, ["nonsense"], False, None)


def test_every_opponent_is_pinned_and_what_it_needs_belongs_to_it() -> None:
    assert all(environment.requirements(name)[0].startswith(f"{name}==") for name in loops.RIVALS)
    lines = [line for line in environment.REQUIREMENTS.read_text().splitlines() if "==" in line]
    assert sorted(lines) == sorted(line for name in loops.RIVALS for line in environment.requirements(name))


PLAIN = {"CONFIG_ARGS": "'--prefix=/usr'", "PGO_PROF_USE_FLAG": "-fprofile-use -fprofile-correction"}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (PLAIN, False),
        ({**PLAIN, "CONFIG_ARGS": "'--enable-optimizations' '--with-lto'"}, True),
        ({**PLAIN, "PY_CFLAGS_NODIST": "-O3 -fprofile-use -g"}, True),
        # Debian's: profiled, and all flags of it taken out.
        ({"CONFIG_ARGS": "'--prefix=/usr'", "PGO_PROF_USE_FLAG": "", "PY_CFLAGS_NODIST": "-g"}, None),
        ({}, None),
    ],
)
def test_whether_the_interpreter_is_optimized_is_read_and_not_guessed(
    told: dict[str, str], expected: bool | None
) -> None:
    assert environment.optimized(told) is expected
    assert ("PGO" in environment.optimization(expected)) is True


# Issue 5's figures: what each row is to reach beside the best other loop, beside a loop by name, and over the limit.
FIGURES: dict[str, tuple[float, dict[str, float], float | None]] = {
    "sleep0": (1.6, {}, None),
    **dict.fromkeys(("spawn", "pingpong"), (1.5, {}, None)),
    **dict.fromkeys(("gather", "task-group"), (1.4, {}, None)),
    **dict.fromkeys(("queue", "event", "lock"), (1.3, {}, None)),
    **dict.fromkeys(("chain", "batch", "batch-arguments"), (1.2, {}, None)),
    **dict.fromkeys(("threadsafe", "threadsafe-thread", "threadsafe-four"), (1.2, {}, None)),
    **dict.fromkeys(("timer-cancel", "timer-fire", "executor"), (1.2, {}, None)),
    "timeout": (1.1, {}, None),
    "echo-streams-read-tcp-100-1k": (1.15, {}, None),
    "echo-streams-lines-tcp-100-1k": (1.4, {}, None),
    **dict.fromkeys(("echo-streams-read-unix-100-1k", "echo-streams-lines-unix-100-1k"), (1.6, {}, None)),
    **dict.fromkeys(
        ("echo-sock-tcp-1-1k", "echo-sock-tcp-100-1k", "echo-sock-tcp-1000-1k", "echo-sock-unix-100-1k"),
        (1.7, {"uvloop": 2.5}, None),
    ),
    "echo-protocol-tcp-100-1k": (1.0, {}, 1.15),
    **dict.fromkeys(("echo-protocol-tcp-100-64kib", "echo-protocol-tcp-100-100k"), (1.0, {}, 1.1)),
    **dict.fromkeys(("bulk-up-tcp", "bulk-down-tcp", "bulk-up-unix", "bulk-down-unix"), (1.0, {}, 1.1)),
    "echo-buffered-tcp-100-1k": (1.15, {}, None),
    **dict.fromkeys(("accept", "connect"), (1.3, {}, None)),
    **dict.fromkeys(("echo-protocol-tls-1-1k", "echo-protocol-tls-100-1k"), (1.1, {}, None)),
    **dict.fromkeys(("echo-protocol-tls-100-10k", "echo-protocol-tls-100-100k"), (1.1, {}, None)),
    "echo-streams-read-tls-100-1k": (1.1, {}, None),
    **dict.fromkeys(("echo-datagrams-udp-1-1k", "echo-datagrams-udp-10-1k"), (1.3, {}, None)),
    "uvicorn": (1.0, {"uvloop": 1.5, "zuvloop": 1.0}, None),
    **dict.fromkeys(("aiohttp-server-plain", "aiohttp-server-json", "aiohttp-client", "websockets"), (1.0, {}, None)),
    **dict.fromkeys(("asyncpg-select-1", "asyncpg-1000-rows", "redis-single", "redis-pipeline"), (1.0, {}, None)),
    **dict.fromkeys(("idle-protocol", "idle-streams", "idle-tls", "sleeping-task"), (1.0, {}, None)),
}  # fmt: skip


def test_every_figure_that_is_aimed_at_is_a_row() -> None:
    # Two groups have a row "spawn": scheduling's, of tasks, is the one that is meant.
    rows = {row.key: row for name in reversed(group.KNOWN) for row in group.load(name).rows()}
    assert {key: (rows[key].target, dict(rows[key].against), rows[key].within) for key in FIGURES} == FIGURES
    assert rows["echo-streams-read-tcp-100-1k"].stretch == 1.25
    assert all(rows[key].limits for key, (_, _, within) in FIGURES.items() if within)
    # Not behind, where nothing was said.
    assert rows["tls-handshake"].target is None


@pytest.mark.parametrize("name", group.present())
def test_a_group_s_rows_have_keys_of_their_own_and_a_quick_choice(name: str) -> None:
    rows = group.load(name).rows()
    keys = [row.key for row in rows]
    assert len(set(keys)) == len(keys)
    assert any(row.quick for row in rows)
    assert all(row.sessions >= 6 for row in rows)
    assert all(row.title and row.unit for row in rows)


def test_the_command_goes_on_with_other_groups_and_keeps_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = made_results()

    def measured(name: str, python: Sequence[str], seconds: float, options: object) -> tuple[results.Results, bool]:
        if name == "scheduling":
            raise environment.MissingError("no kernel")
        return replace(made, group=name, rows=made.rows[1:]), name == "memory"

    monkeypatch.setattr(command, "measure", measured)
    arguments = ["--python", sys.executable, "--into", str(tmp_path)]
    assert command.main(["scheduling", "memory", *arguments]) == 2
    assert results.read(tmp_path / "memory.json").rows
    assert (tmp_path / "memory.svg").read_text().startswith("<svg")
    assert "benches: no kernel" in capsys.readouterr().err
    assert command.main(["memory", *arguments]) == 0
    ended = {**made.rows[1].cells, "oneloop": results.Cell(unavailable="failed")}
    made = replace(made, rows=(made.rows[0], replace(made.rows[1], cells=ended)))
    assert command.main(["memory", *arguments]) == 1


def test_several_parts_of_a_group_are_merged_into_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_results()
    parts = iter([made.rows[:1], made.rows[1:]])
    monkeypatch.setattr(command, "measure", lambda *_: (replace(made, group="memory", rows=next(parts)), True))
    path = tmp_path / "all.json"
    for _ in range(2):
        command.main(["memory", "--python", sys.executable, "--json", str(path), "--merge"])
    assert [row.row for row in results.read(path).rows] == [row.row for row in made.rows]
