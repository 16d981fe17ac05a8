"""The shape of a benchmark group, and the registry that the command line reads.

A group is a module `benches/NAME/group.py` that satisfies `Group`: it says which rows it has and how one sample of a
row on one loop is taken, always from a fresh process. Interleaving, warm-up, ratios, intervals, failures, tables and
drawings are the suite's and the same for all. A group whose module is not there is not offered.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

from benches.suite.environment import Bench
from benches.suite.pairs import FEWER, PAIRS
from benches.suite.results import Better

# The target of a row that is to be ahead of the best, by however little.
AHEAD = 1.0


class NoFigure(Exception):  # noqa: N818 - an answer, not an error: the cell shows the reason
    """This loop has no figure in this row; the text says why, in one line."""


@dataclass(frozen=True)
class Sample:
    """What one fresh process measured: the row's figure, and others that came with it."""

    value: float
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """One row: what is measured, and what is aimed at."""

    key: str
    title: str
    unit: str
    better: Better = "lower"
    # Our ratio to the best other loop is to be at least this; None: not to be behind it.
    target: float | None = None
    # What would be better still, and is told beside the target.
    stretch: float | None = None
    # Our ratios to loops by name that are aimed at besides.
    against: Mapping[str, float] = field(default_factory=dict)
    # What else is measured beside the loops, as what the machine allows (a plain epoll server), and how near to come.
    limits: tuple[str, ...] = ()
    within: float | None = None
    # Whether `--quick` has the row, how many pairs it takes, and about how many seconds one sample does.
    quick: bool = False
    pairs: int = PAIRS
    seconds: float = 0.25


def usual_pairs(target: float | None) -> int:
    """More where a figure is aimed at."""
    return FEWER if target is None else PAIRS


class Group(Protocol):
    """What a module `benches/NAME/group.py` has."""

    # A line for the table and the drawing, such as "Scheduling: processor time per operation".
    TITLE: str
    # Files of scripts/requirements whose packages the measured environment needs.
    REQUIREMENTS: Sequence[str]

    def rows(self) -> Sequence[Spec]:
        """Every row, in the order of the table."""

    def prepare(self, bench: Bench) -> None:
        """What is to be built or installed before the first sample; raises MissingError if it cannot be had."""

    def measure(self, row: Spec, subject: str, bench: Bench) -> Sample:
        """One sample of the row on a loop or a limit, from a process of its own; NoFigure if there is none."""


KNOWN = ("scheduling", "network", "real", "memory")


def present() -> list[str]:
    """The groups that this checkout has, in the order in which they run."""
    return [name for name in KNOWN if has(name)]


def has(name: str) -> bool:
    try:
        return importlib.util.find_spec(f"benches.{name}.group") is not None
    except ModuleNotFoundError:  # the package itself
        return False


def load(name: str) -> Group:
    return cast("Group", importlib.import_module(f"benches.{name}.group"))
