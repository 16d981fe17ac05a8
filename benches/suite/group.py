"""The shape of a benchmark group, and the registry that the command line reads.

A group is a module `benches/NAME/group.py` that satisfies `Group`: it says which rows it has and how a row on one loop
is made ready, in processes of its own, and measured for a slice of time. Interleaving, warm-up, ratios, intervals,
failures, tables and drawings are the suite's and the same for all. A group whose module is not there is not offered.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, cast

from benches.suite.environment import Bench
from benches.suite.pairs import SESSIONS
from benches.suite.results import Better

# The target of a row that is to be ahead of the best, by however little.
AHEAD = 1.0


class NoFigure(Exception):  # noqa: N818 - an answer, not an error: the cell shows the reason
    """This loop has no figure in this row; the text says why, in one line."""


@dataclass(frozen=True)
class Sample:
    """What one slice measured: the row's figure, and others that came with it."""

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
    # Whether `--quick` has the row, how many sessions it takes, and how many rounds one has where nothing else ends it.
    quick: bool = False
    sessions: int = SESSIONS
    rounds: int = 24
    # How many rounds before these are a warm-up.
    discarded: int = 1
    # About how many seconds it takes to make a loop ready, and a slice.
    start: float = 0.15
    seconds: float = 0.02


class Station(Protocol):
    """A loop, or a limit, that is ready to be measured on one row.

    It does nothing between slices. Each of its answers has a deadline, past which it raises NoFigure.
    """

    def slice(self) -> Sample:
        """Works for some hundredths of a second, and says what that cost."""

    def beside(self) -> Mapping[str, float]:
        """Further figures that take a load of their own, by their unit's name; none for most."""


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

    def opened(self, row: Spec, subject: str, bench: Bench) -> AbstractContextManager[Station]:
        """The row on a loop or a limit, in processes of its own until the end of the block; NoFigure if that cannot be.

        It is entered in a thread of its own, while others are.
        """


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
