"""The data files, read and checked for form: which modules run, and what is left out.

`modules.toml` names the modules, `exclusions.toml` takes tests out. Whether a row is *true* is decided in `sources.py`
and `verdict.py`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = frozenset({"other platform", "policy identity", "child watcher", "duplicate selector variant"})


class TableError(Exception):
    """A data file is malformed."""


@dataclass(frozen=True)
class Module:
    """One module of the suite."""

    name: str
    since: tuple[int, ...]
    test_limit: float
    module_limit: float
    weight: int
    platform: str | None

    def is_for_here(self) -> bool:
        """Whether the module is for this platform; one of another skips itself, and has nothing to compare."""
        return self.platform in (None, sys.platform)

    def expected(self) -> bool:
        """Whether this interpreter must have the module; one that backports it may."""
        return sys.version_info[: len(self.since)] >= self.since


@dataclass(frozen=True)
class Row:
    """One reason, for one or more tests of a module.

    `private` stands in each test's source, or in that of the helper `via`, which the test uses; `own` is our test of
    the same public outcome.
    """

    module: str
    tests: tuple[str, ...]
    versions: str
    private: str | None
    via: str | None
    own: str | None
    kind: str | None
    why: str | None

    def applies(self) -> bool:
        """Whether the row claims the running interpreter."""
        return all(_compare(clause.strip()) for clause in self.versions.split(",") if clause.strip())

    def covers(self, test: str) -> bool:
        """A row names tests; only duplicates of a whole class may be named by the class."""
        return test in self.tests or (
            self.kind == "duplicate selector variant" and test.rpartition(".")[0] + ".*" in self.tests
        )

    def __str__(self) -> str:
        tests = self.tests[0] + (f" and {len(self.tests) - 1} more" if len(self.tests) > 1 else "")
        return f"{self.module}: {tests}"


@dataclass(frozen=True)
class Tables:
    """Everything that the data files say."""

    folder: Path
    package: str
    modules: tuple[Module, ...]
    exclusions: tuple[Row, ...]

    def privates(self) -> list[str]:
        return sorted({row.private for row in self.exclusions if row.private})


def read(folder: Path) -> Tables:
    """Read the two files of a folder."""
    modules_file = _load(folder / "modules.toml")
    defaults = modules_file.get("defaults", {})
    modules = tuple(
        Module(
            name=name,
            since=tuple(int(part) for part in entry.get("since", "3.11").split(".")),
            test_limit=float(entry.get("test_limit", defaults.get("test_limit", 30))),
            module_limit=float(entry.get("module_limit", defaults.get("module_limit", 180))),
            weight=int(entry.get("weight", 1)),
            platform=entry.get("platform"),
        )
        for name, entry in modules_file["modules"].items()
    )
    tables = Tables(
        folder=folder,
        package=modules_file["package"],
        modules=modules,
        exclusions=_rows(_load(folder / "exclusions.toml").get("exclude", [])),
    )
    known = {module.name for module in modules}
    for row in tables.exclusions:
        if row.module not in known:
            raise TableError(f"{row}: no such module in modules.toml")
    return tables


def _load(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return tomllib.load(file)


def _rows(entries: list[dict[str, Any]]) -> tuple[Row, ...]:
    rows = []
    for entry in entries:
        unknown = entry.keys() - Row.__dataclass_fields__.keys()
        row = Row(
            module=entry["module"],
            tests=tuple(entry["tests"]),
            versions=entry.get("versions", ""),
            **{name: entry.get(name) for name in ("private", "via", "own", "kind", "why")},
        )
        if unknown:
            raise TableError(f"{row}: unknown keys {sorted(unknown)}")
        _check_form(row)
        rows.append(row)
    return tuple(rows)


def _check_form(row: Row) -> None:
    if not row.tests:
        raise TableError(f"{row.module}: a row without tests")
    for test in row.tests:
        whole_class = test.endswith(".*") and row.kind == "duplicate selector variant"
        if not re.fullmatch(r"\w+(\.\w+)*\.\w+", test.removesuffix(".*") + ".x" if whole_class else test):
            raise TableError(f"{row}: {test!r} is no Class.test")
    if row.kind is not None:
        if row.kind not in KINDS or row.private or row.own:
            raise TableError(f"{row}: a row has a kind of {sorted(KINDS)}, or `private` and `own`")
    elif not (row.private and row.own):
        raise TableError(f"{row}: a row names a private identifier and our own test, or a kind")
    if row.private is not None and not is_private(row.private):
        raise TableError(f"{row}: {row.private!r} is neither a private name nor an attribute of an asyncio module")


def is_private(identifier: str) -> bool:
    """A private name, or the dotted name of an internal module's attribute, as `mock.patch` takes it."""
    if "." in identifier:
        return identifier.startswith("asyncio.") and identifier.count(".") >= 2
    return identifier.startswith("_") and not identifier.startswith("__")


def _compare(clause: str) -> bool:
    match = re.fullmatch(r"(>=|<|==)\s*(\d+(?:\.\d+)*)", clause)
    if match is None:
        raise TableError(f"{clause!r} is no version clause")
    wanted = tuple(int(part) for part in match[2].split("."))
    running = tuple(sys.version_info[:3])
    if match[1] == ">=":
        return running >= wanted
    if match[1] == "<":
        return running < wanted
    return running[: len(wanted)] == wanted
