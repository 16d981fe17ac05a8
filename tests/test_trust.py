"""The table in trust.md, of the ways in which loops lose trust, names tests that exist."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator

TESTS = pathlib.Path(__file__).resolve().parent


def rows(text: str) -> Iterator[tuple[int, str]]:
    """Each row's last column, with the number of the section that it is in."""
    section = 0
    for line in text.splitlines():
        if heading := re.match(r"## (\d+)\. ", line):
            section = int(heading[1])
        elif line.startswith("| ") and not re.match(r"\| (what|---)", line):
            yield section, line.strip(" |").rpartition(" | ")[2]


def named(column: str) -> Iterator[tuple[str, str | None]]:
    """The files and tests that a column names: one without a file is in the file that was named last."""
    file = None
    for name in re.findall(r"`([^`]+)`", column):
        if name.startswith("make "):
            continue
        if ".py" in name:
            file, _, test = name.partition("::")
        else:
            test = name
        assert file is not None, name
        yield file, test or None


def names_of_tests(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions) and node.name.startswith("test_")}


def missing(text: str) -> list[str]:
    wrong = []
    for _, column in rows(text):
        for file, test in named(column):
            if not (TESTS / file).is_file():
                wrong.append(file)
            elif test is not None and test not in names_of_tests(file):
                wrong.append(f"{file}::{test}")
    return wrong


def test_every_way_has_tests_and_every_test_exists() -> None:
    text = (TESTS / "trust.md").read_text()
    assert missing(text) == []
    assert {section for section, column in rows(text) if list(named(column))} == set(range(1, 11))
    assert all(list(named(column)) for _, column in rows(text))


def test_a_wrong_name_is_found() -> None:
    names = "`test_trust.py::test_a_wrong_name_is_found`, `test_none`"
    text = f"## 1. A way\n\n| what | tests |\n| --- | --- |\n| x | {names} |"
    assert missing(text) == ["test_trust.py::test_none"]
    assert missing(text.replace("test_trust.py", "test_nothing.py")) == ["test_nothing.py"] * 2
