"""Which module of a Rust crate names which other: a plain reading of its sources' paths.

A *reference* is any path that starts at `crate`, `super`, `self` or a module declared in the same file, in a
`use` or in the middle of an expression. A name that a module only passes on (`pub use contract::Notify`) counts
as the module that it comes from: what matters is what the code knows, not through which door it came.

Not read: comments, strings, modules under `cfg(test)` and the files that belong to them. Macros are read as they
stand, not expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

Module = tuple[str, ...]  # () is the crate's root

# What carries no path: comments, strings with and without prefixes and hashes, characters (not lifetimes).
NOT_CODE = re.compile(
    r"""
      //[^\n]*
    | /\*.*?\*/
    | (?:\b[bc]|\b)r(?P<hashes>\#*)".*?"(?P=hashes)
    | (?:\b[bc])?"(?:\\.|[^"\\])*"
    | b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\])'
    """,
    re.VERBOSE | re.DOTALL,
)
TOKEN = re.compile(r"::|[A-Za-z_]\w*|\n|[^\s\w]")
TEST_ONLY = re.compile(
    r"""
    \# \s* \[ \s* cfg \s* \( (?:[^\]]*\W)? test\b [^\]]* \]    # cfg(test), cfg(all(test, loom))
    \s* (?: \# \s* \[ [^\]]* \] \s* )*                        # other attributes
    (?: pub \s* (?: \( [^)]* \) \s* )? )?
    mod \s+ (\w+) \s* ([{;])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Reference:
    source: Module
    target: Module
    path: str
    file: Path
    line: int


@dataclass(frozen=True)
class Token:
    text: str
    line: int


@dataclass
class Crate:
    """The modules of one crate: their files, what they pass on, and whom they refer to."""

    root: Path
    files: dict[Module, Path] = field(default_factory=dict)
    tokens: dict[Module, list[Token]] = field(default_factory=dict)
    inline: set[Module] = field(default_factory=set)
    passed_on: dict[Module, dict[str, Module]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._load((), self.root / "lib.rs", self.root)
        for module in self.files:
            self._find_passed_on(module)

    # -- reading ------------------------------------------------------------------------------

    def _load(self, module: Module, file: Path, directory: Path) -> None:
        self.files[module] = file
        self.tokens[module] = list(tokens_of(file.read_text()))
        for name in declared_modules(self.tokens[module]):
            for child in (directory / f"{name}.rs", directory / name / "mod.rs"):
                if child.is_file():
                    self._load((*module, name), child, directory / name)

    def _find_passed_on(self, module: Module) -> None:
        """Remember `pub use` names, so that a reference through them is resolved to their origin."""
        names = self.passed_on.setdefault(module, {})
        tokens = self.tokens[module]
        for place, token in enumerate(tokens):
            if token.text == "use" and place and tokens[place - 1].text in ("pub", ")"):
                for path, alias, _ in tree(tokens, place + 1):
                    target = self._absolute(module, path)
                    if target and alias not in ("*", "_"):
                        names[alias] = target

    # -- asking -------------------------------------------------------------------------------

    def unknown_files(self) -> list[Path]:
        """Sources that no module declares (a file that only tests use is none of those)."""
        tests = {name for file in self.files.values() for name in test_modules(file.read_text())}
        read = set(self.files.values())
        return [file for file in self.root.rglob("*.rs") if file not in read and not tests & {file.stem, *file.parts}]

    def references(self) -> Iterator[Reference]:
        for module, tokens in self.tokens.items():
            for source, path, line in paths(module, tokens):
                target = self._absolute(source, path)
                if target is not None:
                    yield Reference(module, self.resolve(target), "::".join(path), self.files[module], line)

    def _absolute(self, module: Module, path: Module) -> Module | None:
        """The path from the crate's root; None if it leads to another crate."""
        first, rest = path[0], path[1:]
        if first == "crate":
            return rest
        if first == "self":
            return (*module, *rest)
        if first == "super":
            while path and path[0] == "super":
                module, path = module[:-1], path[1:]
            return (*module, *path)
        # A bare name is a child module of the file's module, or another crate or a local item.
        return (*module, *path) if (*module, first) in self.files else None

    def resolve(self, path: Module) -> Module:
        """The module that a path's item lives in."""
        module: Module = ()
        seen: set[Module] = set()
        while path:
            name, rest = path[0], path[1:]
            if (*module, name) in self.files:
                module, path = (*module, name), rest
            elif name in self.passed_on.get(module, {}) and (*module, name) not in seen:
                seen.add((*module, name))
                path, module = (*self.passed_on[module][name], *rest), ()
            else:
                break
        return module


def tokens_of(source: str) -> Iterator[Token]:
    def blank(match: re.Match[str]) -> str:
        return " " + "\n" * match.group().count("\n")

    text = NOT_CODE.sub(blank, source)
    while match := TEST_ONLY.search(text):
        end = match.end() if match.group(2) == ";" else closing_brace(text, match.end())
        text = text[: match.start()] + "\n" * text.count("\n", match.start(), end) + text[end:]
    line = 1
    for found in TOKEN.finditer(text):
        if found.group() == "\n":
            line += 1
        else:
            yield Token(found.group(), line)


def test_modules(source: str) -> Iterator[str]:
    return (match.group(1) for match in TEST_ONLY.finditer(source))


def closing_brace(text: str, position: int) -> int:
    depth = 1
    while depth and position < len(text):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        position += 1
    return position


def declared_modules(tokens: list[Token]) -> Iterator[str]:
    for keyword, name, end in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if keyword.text == "mod" and end.text == ";":
            yield name.text


def paths(module: Module, tokens: list[Token]) -> Iterator[tuple[Module, Module, int]]:
    """Every path: the module it stands in (an inline `mod x { }` counts), its segments, its line."""
    children = set(declared_modules(tokens))
    stack: list[tuple[str, int]] = []  # inline modules and the brace depth outside them
    depth = 0
    place = 0
    while place < len(tokens):
        token = tokens[place]
        following = tokens[place + 1].text if place + 1 < len(tokens) else ""
        before = tokens[place - 1].text if place else ""
        if token.text == "mod" and place + 2 < len(tokens) and tokens[place + 2].text == "{":
            stack.append((following, depth))
        elif token.text == "{":
            depth += 1
        elif token.text == "}":
            depth -= 1
            if stack and stack[-1][1] == depth:
                stack.pop()
        elif following == "::" and before not in ("::", "."):
            here = (*module, *(name for name, _ in stack))
            if token.text in ("crate", "self", "super") or (token.text in children and not stack):
                found = list(tree(tokens, place))
                yield from ((here, path, line) for path, _, line in found)
                place = end_of_tree(tokens, place)
                continue
        place += 1


def tree(tokens: list[Token], place: int) -> Iterator[tuple[Module, str, int]]:
    """The paths of `a::{b, c::d as e, *}`, each with the name that it introduces and its line."""
    yield from _branch(tokens, place, ())[0]


def end_of_tree(tokens: list[Token], place: int) -> int:
    return _branch(tokens, place, ())[1]


def _branch(tokens: list[Token], place: int, prefix: Module) -> tuple[list[tuple[Module, str, int]], int]:
    found: list[tuple[Module, str, int]] = []
    path = prefix
    line = tokens[place].line if place < len(tokens) else 0
    while place < len(tokens):
        text = tokens[place].text
        if text == "{":
            place += 1
            while place < len(tokens) and tokens[place].text != "}":
                more, place = _branch(tokens, place, path)
                found += more
                if place < len(tokens) and tokens[place].text == ",":
                    place += 1
                elif place < len(tokens) and tokens[place].text != "}":
                    break  # not a tree of names: a block after a path, say
            return found, place + 1
        if not (text.isidentifier() or text == "*"):
            break
        if not (text == "self" and path):
            path = (*path, text)
        place += 1
        if place >= len(tokens) or tokens[place].text != "::":
            break
        place += 1
        if place < len(tokens) and tokens[place].text == "<":  # `path::<T>` ends the path
            break
    alias = path[-1] if path else ""
    if place + 1 < len(tokens) and tokens[place].text == "as":
        alias = tokens[place + 1].text
        place += 2
    return [(path, alias, line)] if path else [], place
