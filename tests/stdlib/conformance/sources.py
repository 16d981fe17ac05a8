"""Checks in source text that a row's reason is real: the identifier stands in the test, and our own test exists.

Only syntax trees are read; nothing here runs or guesses.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from stdlib.conformance.tables import Row, Tables
from stdlib.conformance.testloop import REBUILT_HELPERS

FIXTURES = frozenset({"setUp", "tearDown", "setUpClass", "tearDownClass", "asyncSetUp", "asyncTearDown"})
Function = ast.FunctionDef | ast.AsyncFunctionDef


def problem_with(row: Row, test: str, lineage: list[list[str]]) -> str | None:
    """Why this row does not hold for this test, or None."""
    source = find_test(test, lineage)
    if source is None:
        return f"the source of {test} was not found"
    if row.private is None:
        return None
    if row.via is None:
        return None if mentions(source, row.private) else f"{row.private} does not stand in {test}"
    helper = find_helper(row.via, lineage)
    if helper is None:
        return f"{test} has no helper {row.via}"
    if row.via not in FIXTURES and not mentions(source, row.via):
        return f"{test} does not use {row.via}"
    return None if mentions(helper, row.private) else f"{row.private} does not stand in {row.via}"


def problem_with_own(row: Row, root: Path) -> str | None:
    """Why the row's own test does not count as one: `file.py::test_name` or `file.py::Class::test_name`."""
    if row.own is None:
        return None
    file, *names = row.own.split("::")
    path = root / file
    if not path.is_file():
        return f"our own test {row.own}: no such file"
    scope: ast.AST | None = _tree(str(path))
    for name in names:
        scope = next((node for node in _definitions(scope) if getattr(node, "name", None) == name), None)
        if scope is None:
            return f"our own test {row.own} does not exist"
    if not isinstance(scope, Function) or not scope.name.startswith("test"):
        return f"our own test {row.own} is no test"
    return None


def problems_with_helpers(tables: Tables, classes: dict[str, list[list[str]]], module: str) -> list[str]:
    """A helper may be rebuilt only while the identifier that forces it stands in the original."""
    problems = []
    for module_name, class_name, helper, identifier in REBUILT_HELPERS:
        if module_name != f"{tables.package}.{module}":
            continue
        files = {file for lineage in classes.values() for file, name in lineage if name == class_name}
        original = next((find_helper(helper, [[file, class_name]]) for file in files), None)
        if original is None or not mentions(original, identifier):
            problems.append(f"{module}: {identifier} does not stand in {class_name}.{helper}, which is rebuilt")
    return problems


def find_test(test: str, lineage: list[list[str]]) -> Function | None:
    """The definition of a test method: in its class, or the first base that has it."""
    return _find_method(test.rpartition(".")[2], lineage)


def find_helper(name: str, lineage: list[list[str]]) -> Function | None:
    """A method of the test's class or a function of its module."""
    method = _find_method(name, lineage)
    if method is not None:
        return method
    for file in dict.fromkeys(file for file, _ in lineage):
        for node in _definitions(_tree(file)):
            if isinstance(node, Function) and node.name == name:
                return node
    return None


def mentions(function: Function, identifier: str) -> bool:
    """Whether the identifier stands in the function, its decorators included, as a name, an attribute or a string.

    A dotted one may stand without the package in front: `from asyncio import sslproto` is how tests have the module.
    """
    relative = identifier.removeprefix("asyncio.")
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and node.attr == identifier:
            return True
        if isinstance(node, ast.Attribute) and "." in relative and ast.unparse(node) == relative:
            return True
        if isinstance(node, ast.Name) and node.id == identifier:
            return True
        if isinstance(node, ast.Constant) and node.value == identifier:
            return True
        if isinstance(node, Function) and node is not function and node.name == identifier:
            return True
    return False


def _find_method(name: str, lineage: list[list[str]]) -> Function | None:
    for file, qualname in lineage:
        scope: ast.AST | None = _tree(file)
        for part in qualname.split("."):
            scope = next(
                (node for node in _definitions(scope) if isinstance(node, ast.ClassDef) and node.name == part), None
            )
        for node in _definitions(scope):
            if isinstance(node, Function) and node.name == name:
                return node
    return None


def _definitions(scope: ast.AST | None) -> list[ast.AST]:
    """Classes and functions of a scope, those under `if` and `try` included, those inside other definitions not."""
    found: list[ast.AST] = []
    pending: list[ast.AST] = [] if scope is None else list(ast.iter_child_nodes(scope))
    while pending:
        node = pending.pop(0)
        if isinstance(node, Function | ast.ClassDef):
            found.append(node)
        elif isinstance(node, ast.stmt | ast.ExceptHandler):
            pending[:0] = ast.iter_child_nodes(node)
    return found


@functools.cache
def _tree(file: str) -> ast.Module:
    return ast.parse(Path(file).read_text(encoding="utf-8"))
