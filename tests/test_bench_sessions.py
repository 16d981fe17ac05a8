"""How a row of the benchmarks is measured: the ratios of slices, sessions, and processes that hang or die.

The machine of these figures is made: it has two paces, 1.8 apart, each for tens of milliseconds up to seconds, like the
one that the kept results come from.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from statistics import median

import pytest

from benches.suite import pairs, sessions
from benches.suite.group import NoFigure, Sample, Station
from benches.suite.talking import Talking

SLOWER = 1.8
NAMES = ("asyncio", "uvloop", "rloop", "rsloop", "zuvloop", "talyn", "oneloop")


class Machine:
    """Time passes when something runs on it, and what that takes depends on the pace of the moment."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.slow = self.random.random() < 0.5
        self.left = self.lasting()

    def lasting(self) -> float:
        return 10 ** self.random.uniform(-1.7, 0.3)

    def run(self, work: float) -> float:
        """How long it takes."""
        took = 0.0
        while work > 0:
            pace = SLOWER if self.slow else 1
            part = min(work * pace, self.left)
            work, took, self.left = work - part / pace, took + part, self.left - part
            if self.left <= 0:
                self.slow, self.left = not self.slow, self.lasting()
        return took * self.random.lognormvariate(0, 0.01)


TRUE = 1.3  # how many times more zuvloop costs than oneloop
COSTS = dict.fromkeys(NAMES, 2.0) | {"oneloop": 1.0, "zuvloop": TRUE}


def in_slices(machine: Machine) -> float:
    """The ratio that sessions of slices find: six of 24 rounds, each slice 15 ms."""
    found = []
    for session in range(6):
        machine.run(1)
        taken: dict[str, list[float]] = {name: [] for name in NAMES}
        for order in islice(pairs.orders(NAMES, session), 24):
            for name in order:
                taken[name].append(machine.run(0.015) * COSTS[name])
        found.append(pairs.ratio(taken["oneloop"], taken["zuvloop"], "lower"))
    return pairs.estimate(found).median


def in_long_pairs(machine: Machine) -> float:
    """The ratio that the median of pairs finds: five rounds of samples of 150 ms, each from a process of its own."""
    found = []
    for turn in range(5):
        took = {}
        for name in NAMES if turn % 2 else NAMES[::-1]:
            machine.run(0.1)
            took[name] = machine.run(0.15) * COSTS[name]
        found.append(took["zuvloop"] / took["oneloop"])
    return median(found)


def test_slices_find_the_ratio_on_a_machine_of_two_paces_where_long_pairs_do_not() -> None:
    seeds = range(100)
    assert all(in_slices(Machine(seed)) == pytest.approx(TRUE, rel=0.02) for seed in seeds)
    missed = sum(abs(in_long_pairs(Machine(seed)) / TRUE - 1) > 0.1 for seed in seeds)
    assert missed > 20, "this machine is too quiet to tell the two apart"


def test_a_ratio_is_that_of_neighbours() -> None:
    ours, theirs = [10, 18, 10, 10, 18, 10], [27, 27, 15, 15, 27, 15]
    assert pairs.ratio(ours, theirs, "lower") == 1.5
    assert pairs.ratio([1 / one for one in ours], [1 / one for one in theirs], "higher") == pytest.approx(1.5)
    assert median(theirs) / median(ours) == 2.1


def test_everybody_comes_at_every_place_about_as_often() -> None:
    places = Counter((order.index("oneloop")) for order in islice(pairs.orders(NAMES, 3), 7000))
    assert len(places) == len(NAMES)
    assert all(850 < count < 1150 for count in places.values())
    first, again, other = (list(islice(pairs.orders(NAMES, seed), 9)) for seed in (1, 1, 2))
    assert first == again != other


class Counting:
    """A station that says how often it was asked, or fails at some slice with what it is given."""

    def __init__(self, told: list[str], name: str, fails: Mapping[int, Exception] | None = None) -> None:
        self.told, self.name, self.fails = told, name, fails or {}
        self.slices = 0

    def slice(self) -> Sample:
        self.slices += 1
        if self.slices in self.fails:
            raise self.fails[self.slices]
        self.told.append(self.name)
        return Sample(float(self.slices), {"share": 0.5, **({"per second": 7.0} if self.slices != 4 else {})})

    def beside(self) -> Mapping[str, float]:
        if self.name == "b":
            raise NoFigure("not at that rate")
        return {"p50": 3.0}


class Stage:
    """Subjects that are opened, and whether they were closed again."""

    def __init__(self, **fails: Mapping[int, Exception]) -> None:
        self.fails = fails
        self.told: list[str] = []
        self.closed: set[str] = set()

    @contextmanager
    def opened(self, subject: str) -> Iterator[Station]:
        if subject == "unable":
            raise NotImplementedError("no Unix sockets")
        try:
            yield Counting(self.told, subject, self.fails.get(subject))
        finally:
            self.closed.add(subject)
            if subject == "b":
                raise RuntimeError("it does not want to end")


def held(
    stage: Stage, subjects: tuple[str, ...], rounds: int = 5, enough: bool = False
) -> tuple[sessions.Session, dict[str, str]]:
    failed: dict[str, str] = {}

    def opened(subject: str) -> AbstractContextManager[Station]:
        return stage.opened(subject)

    session = sessions.hold(
        subjects, opened, failed, rounds=rounds, discarded=1, seed=0, enough=lambda: enough, further=True
    )
    return session, failed


def test_a_session_has_rounds_of_everybody_after_one_that_is_discarded() -> None:
    stage = Stage()
    session, failed = held(stage, ("a", "b"))
    assert failed == {}
    assert session.values("a") == session.values("b") == [2, 3, 4, 5, 6]
    assert all({*stage.told[i : i + 2]} == {"a", "b"} for i in range(0, 12, 2))
    assert stage.closed == {"a", "b"}
    # One slice has no throughput, so there is none; and what fails beside the figure takes nothing from it.
    assert session.sample("a") == Sample(4, {"share": 0.5, "p50": 3.0})
    assert session.sample("b") == Sample(4, {"share": 0.5})


def test_a_session_ends_when_it_is_enough_but_not_before_there_are_rounds() -> None:
    session, _ = held(Stage(), ("a",), rounds=99, enough=True)
    assert len(session.values("a")) == sessions.FEWEST_ROUNDS


@pytest.mark.parametrize("failure", [NoFigure("it crashed"), KeyError("it crashed")])
def test_who_fails_keeps_nobody_from_being_measured(failure: Exception) -> None:
    stage = Stage(b={3: failure})
    session, failed = held(stage, ("a", "b", "unable"))
    assert failed.keys() == {"b", "unable"}
    assert "it crashed" in failed["b"]
    assert failed["unable"] == "NotImplementedError: no Unix sockets"
    assert session.taken.keys() == {"a"}
    assert len(session.values("a")) == 5
    assert stage.closed == {"a", "b"}


def talking(program: str, limit: float = 20) -> Talking:
    return Talking([sys.executable, "-c", f"import os, sys, time\nprint('{{}}', flush=True)\n{program}"], limit)


def test_a_process_answers_line_by_line() -> None:
    program = "for line in sys.stdin: print('{\"twice\": %d}' % (2 * int(line)), flush=True)"
    with talking(program) as process:
        assert [process.ask(str(number))["twice"] for number in (1, 2, 3)] == [2, 4, 6]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ('sys.stdin.readline(); print(\'{"unavailable": "no such thing"}\', flush=True)', "no such thing"),
        ("sys.stdin.readline(); os.abort()", "killed by SIGABRT"),
        ("sys.stdin.readline(); raise ValueError('lost')", "failed: ValueError: lost"),
        ("sys.stdin.readline(); sys.exit(3)", "failed: exit status 3"),
    ],
)
def test_a_process_that_fails_says_why(program: str, reason: str) -> None:
    with talking(program) as process, pytest.raises(NoFigure, match=reason):
        process.ask()


def test_a_process_that_hangs_is_killed() -> None:
    began = time.monotonic()
    with talking("time.sleep(600)") as process:
        with pytest.raises(NoFigure, match=r"no answer within 0\.05 s"):
            process.ask(limit=0.05)
        with pytest.raises(NoFigure, match="killed by SIGKILL"):
            process.ask()
    with pytest.raises(NoFigure, match="no answer within"), Talking([sys.executable, "-c", "input()"], 0.05):
        raise AssertionError("it never said that it was ready")
    assert time.monotonic() - began < 300
