"""The figures of one group as typed values, and as the JSON that they are kept in.

One format serves every group, so that one table and one drawing show them all. A cell either has samples, from which
its median and interval follow, or a reason why it has none: a loop that cannot run a row stays visible. A ratio is
ours over another loop's, turned so that above 1 is better for us, whichever way the unit runs.

Reading checks the shape and says where it is wrong; writing is deterministic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benches.suite.loops import OURS
from benches.suite.pairs import Estimate

Better = Literal["lower", "higher"]

# What "not behind the best" means for a row without a target of its own: the ratio's interval reaches this.
NOT_BEHIND = 0.97


class FormatError(ValueError):
    """A file that is not a result of this suite, and why."""


@dataclass(frozen=True)
class Cell:
    """One row on one loop: an estimate with its samples, or the reason why there is none."""

    estimate: Estimate | None = None
    samples: tuple[float, ...] = ()
    unavailable: str = ""
    # How many slices these come from, in all.
    slices: int = 0
    # Further figures of the same samples, such as requests per second: medians, by their unit's name.
    extra: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        if self.estimate is None:
            return {"unavailable": self.unavailable or "not measured"}
        told = {**estimate_as_json(self.estimate), "samples": [significant(value) for value in self.samples]}
        told["slices"] = self.slices
        if self.extra:
            told["extra"] = {name: significant(value) for name, value in self.extra.items()}
        return told

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Cell:
        if "unavailable" in told:
            return cls(unavailable=str(told["unavailable"]))
        samples = tuple(float(value) for value in told["samples"])
        return cls(
            estimate_from_json(told),
            samples,
            slices=int(told.get("slices", 0)),
            extra=dict(told.get("extra", {})),
        )


@dataclass(frozen=True)
class Row:
    """One line of the table: its cells by loop, our ratio to each other loop, and what was aimed at."""

    row: str
    title: str
    unit: str
    better: Better
    cells: Mapping[str, Cell]
    ratios: Mapping[str, Estimate]
    # At least this ratio to the best other loop; None for a row that is not to be behind it.
    target: float | None = None
    stretch: float | None = None
    # At least these ratios to loops by name, besides.
    against: Mapping[str, float] = field(default_factory=dict)
    # What the machine allows, such as a plain epoll server in C; not an opponent.
    limit: Mapping[str, float] = field(default_factory=dict)
    # Our cost over each of these, paired as the ratios are.
    over: Mapping[str, Estimate] = field(default_factory=dict)
    # At most this many times the limit's cost; None where nothing was promised.
    within: float | None = None

    @property
    def best(self) -> str | None:
        """The other loop that stands best beside ours, if any ran: by ratios, which are paired as medians are not."""
        if not self.ratios:
            return None
        return min(self.ratios, key=lambda loop: self.ratios[loop].median)

    @property
    def standing(self) -> Estimate | None:
        """Our ratio to the best other loop."""
        return self.ratios[best] if (best := self.best) else None

    @property
    def lost(self) -> bool:
        return (standing := self.standing) is not None and standing.median < 1

    @property
    def over_limit(self) -> float | None:
        """Our cost over the machine's limit, where there is one; 1 is as good as it gets."""
        if self.over:
            return max(over.median for over in self.over.values())
        ours = self.cells.get(OURS, Cell()).estimate
        if ours is None or not self.limit:
            return None
        if self.better == "lower":
            return ours.median / min(self.limit.values())
        return max(self.limit.values()) / ours.median

    @property
    def reached(self) -> bool | None:
        """Whether the row is where it was to be in every respect; None if that cannot be said for want of a figure."""
        aims = [self.ahead, *(self.ahead_of(loop) for loop in self.against)]
        if self.within is not None:
            aims.append(None if (over := self.over_limit) is None else over <= self.within)
        if False in aims:
            return False
        return None if None in aims else True

    @property
    def ahead(self) -> bool | None:
        """Whether it is where it was to be beside the best other loop."""
        if (standing := self.standing) is None:
            return None
        return standing.high >= NOT_BEHIND if self.target is None else standing.median >= self.target

    def ahead_of(self, loop: str) -> bool | None:
        """The same beside a loop that is named."""
        ratio = self.ratios.get(loop)
        return None if ratio is None else ratio.median >= self.against[loop]

    def as_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "row": self.row,
            "title": self.title,
            "unit": self.unit,
            "better": self.better,
            "cells": {loop: cell.as_json() for loop, cell in self.cells.items()},
            "ratios": {loop: estimate_as_json(ratio) for loop, ratio in self.ratios.items()},
            "target": self.target,
        }
        if self.limit:
            told["limit"] = {name: significant(value) for name, value in self.limit.items()}
        if self.over:
            told["over"] = {name: estimate_as_json(over) for name, over in self.over.items()}
        for name in ("stretch", "within"):
            if (value := getattr(self, name)) is not None:
                told[name] = value
        if self.against:
            told["against"] = dict(self.against)
        return told

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Row:
        if told["better"] not in ("lower", "higher"):
            raise FormatError(f"{told['row']}: better is 'lower' or 'higher', not {told['better']!r}")
        return cls(
            row=told["row"],
            title=told["title"],
            unit=told["unit"],
            better=told["better"],
            cells={loop: Cell.from_json(cell) for loop, cell in told["cells"].items()},
            ratios={loop: estimate_from_json(ratio) for loop, ratio in told["ratios"].items()},
            target=told.get("target"),
            stretch=told.get("stretch"),
            against=dict(told.get("against", {})),
            limit=dict(told.get("limit", {})),
            over={name: estimate_from_json(over) for name, over in told.get("over", {}).items()},
            within=told.get("within"),
        )


@dataclass(frozen=True)
class Results:
    """One group, measured in one run, or in several that `merge` put together."""

    group: str
    interpreter: Mapping[str, Any]
    machine: Mapping[str, Any]
    date: str
    commit: str
    loops: Mapping[str, str]
    rows: tuple[Row, ...]

    def lost_first(self) -> list[Row]:
        """The rows by our ratio to the best other loop, the worst first; rows without one come last."""
        return sorted(self.rows, key=lambda row: row.standing.median if row.standing else float("inf"))

    def as_json(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "interpreter": dict(self.interpreter),
            "machine": dict(self.machine),
            "date": self.date,
            "commit": self.commit,
            "loops": dict(self.loops),
            "rows": [row.as_json() for row in self.rows],
        }

    @classmethod
    def from_json(cls, told: Any) -> Results:
        try:
            return cls(
                group=told["group"],
                interpreter=told["interpreter"],
                machine=told["machine"],
                date=told["date"],
                commit=told["commit"],
                loops=told["loops"],
                rows=tuple(Row.from_json(row) for row in told["rows"]),
            )
        except KeyError as missing:
            raise FormatError(f"not a result of this suite: {missing} is missing") from None
        except (TypeError, AttributeError) as error:
            raise FormatError(f"not a result of this suite: {error}") from None


def merge(earlier: Results, later: Results) -> Results:
    """The rows of both, each as it was measured last; refused where the figures do not belong together."""
    for name in ("group", "interpreter", "machine"):
        if getattr(earlier, name) != getattr(later, name):
            raise FormatError(f"cannot merge: not the same {name}")
    newer = {row.row: row for row in later.rows}
    kept = [newer.pop(row.row, row) for row in earlier.rows]
    commits = [earlier.commit, later.commit]
    return replace(
        later,
        commit=" and ".join(dict.fromkeys(commits)),
        loops={**earlier.loops, **later.loops},
        rows=(*kept, *newer.values()),
    )


def estimate_as_json(estimate: Estimate) -> dict[str, float]:
    return {name: significant(getattr(estimate, name)) for name in ("median", "low", "high")}


def estimate_from_json(told: Mapping[str, Any]) -> Estimate:
    return Estimate(float(told["median"]), float(told["low"]), float(told["high"]))


def significant(value: float) -> float:
    """Five digits: more than any figure here is good for."""
    return float(f"{value:.5g}")


def write(results: Results, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results.as_json(), indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> Results:
    try:
        return Results.from_json(json.loads(path.read_text()))
    except (json.JSONDecodeError, FormatError) as error:
        raise FormatError(f"{path}: {error}") from None
