"""The structure that the design promises: who may import whom, where unsafe code lives, no Python in the engine.

The tables are read as in the design: what stands left of an arrow may be known by everything right of it, also
across several arrows, and never the other way round. Modules within one step do not know each other. A module
that no table names is an error, so a new one takes its place here on purpose; a row for a module that does not
exist yet waits for it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from rust_imports import Crate, Module, Reference

ROOT = Path(__file__).resolve().parent.parent

ENGINE_TABLE = """
    sys <- instant
    sys, cell, driver::contract <- driver::epoll, driver::portable, driver::scripted, driver::uring <- driver
    instant, driver <- registry, timers, ready, inbox, host
    sys, cell <- blocking
    registry, timers, blocking <- reactor <- current <- executor
    ready, inbox, host, executor <- event_loop <- tick
    current, net::address <- net::socket
    executor <- dns, signal, fs, time, sync
    dns, time, net::socket <- net
    executor, net::socket <- process
    executor <- task, handle, join
    task <- group
    tick, task <- runtime
    push <- stream, datagram
    instant <- stream
    tls
"""
PYTHON_TABLE = """
    names <- errors, ffi <- handle, sleepers
    handle, sleepers <- waiters
    names <- claims, address
    errors, ffi <- socket
    ffi, address <- figures
    names, ffi <- stepping
    names, ffi, handle, stepping <- direct
    names, ffi, awaitable <- streams
    names, ffi <- clients <- transport
    names, ffi <- making <- task
    claims, waiters, direct <- entry
    errors, ffi <- overrides <- clock <- handle
    names, ffi <- wakeup <- signals
    handle, clock <- debug
    entry, debug <- watch, process, signals, task, awaitable
    watch, awaitable, address, socket <- sock, transport, dns
    streams <- transport
    watch, transport <- server
    sock, transport, server, process, signals, dns, task <- host <- run <- event_loop
"""
# The one knot: `Reactor` hands out the executor as what it is, since spawning through the trait would need a type
# parameter, which an object-safe trait cannot have; the executor reaches its loop through the trait.
KNOTS = {("reactor", "executor")}

ENGINE_UNSAFE = {
    "sys",
    "cell",
    "executor",  # the waker's vtable
    "driver::portable",  # `polling` makes registering a descriptor an unsafe call
    "driver::uring",
}
PYTHON_UNSAFE = {"ffi", "accelerate"}

Table = dict[str, set[str]]
Rules = tuple[Crate, Table, set[str]]


def known_modules(table: str) -> Table:
    """For each module of a table, all modules that it may know."""
    direct: Table = {}
    for row in table.strip().splitlines():
        steps = [[name.strip() for name in step.split(",")] for step in row.split("<-")]
        for name in (name for step in steps for name in step):
            direct.setdefault(name, set())
        for lower, upper in pairwise(steps):
            for name in upper:
                direct[name].update(lower)

    def everything_below(name: str, below: set[str]) -> set[str]:
        for lower in direct[name] - below:
            below.add(lower)
            everything_below(lower, below)
        return below

    return {name: everything_below(name, set()) for name in direct}


def row_of(module: Module, table: Table) -> str | None:
    """The path under which the table speaks of a module: its own, or that of the nearest module around it."""
    around = ("::".join(module[:length]) for length in range(len(module), 0, -1))
    return next((path for path in around if path in table), None)


def unlisted(crate: Crate, table: Table) -> list[str]:
    return ["::".join(module) for module in crate.files if module and row_of(module, table) is None]


def violations(crate: Crate, table: Table) -> list[str]:
    def complaint(reference: Reference) -> str | None:
        source, target = row_of(reference.source, table), row_of(reference.target, table)
        if source is None or source == target or target in table[source]:
            return None  # the root, which knows everybody, is no row of a table
        if (source, target) in KNOTS:
            return None
        known = ", ".join(sorted(table[source])) or "nobody"
        place = f"{reference.file.relative_to(crate.root)}:{reference.line}"
        return f"{place}: {source} names {reference.path} (in {target or 'the root'}); it may know {known}"

    return [text for reference in crate.references() if (text := complaint(reference))]


def unsafe_outside(crate: Crate, table: Table, allowed: Iterable[str]) -> list[str]:
    allowed = set(allowed)
    return [
        f"{crate.files[module].relative_to(crate.root)}:{token.line}"
        for module, tokens in crate.tokens.items()
        for token in tokens
        if token.text == "unsafe" and row_of(module, table) not in allowed
    ]


@pytest.fixture(scope="module", params=["oneloop", "oneloop-py"])
def crate_and_rules(request: pytest.FixtureRequest) -> Rules:
    crate = Crate(ROOT / "crates" / request.param / "src")
    table, unsafe = {
        "oneloop": (ENGINE_TABLE, ENGINE_UNSAFE),
        "oneloop-py": (PYTHON_TABLE, PYTHON_UNSAFE),
    }[request.param]
    return crate, known_modules(table), unsafe


def test_every_module_is_in_the_table(crate_and_rules: Rules) -> None:
    crate, table, _ = crate_and_rules
    assert unlisted(crate, table) == []


def test_every_source_belongs_to_a_module(crate_and_rules: Rules) -> None:
    crate, _, _ = crate_and_rules
    assert crate.unknown_files() == []


def test_modules_know_only_whom_the_table_lets_them_know(crate_and_rules: Rules) -> None:
    crate, table, _ = crate_and_rules
    assert violations(crate, table) == []


def test_the_table_has_no_cycle(crate_and_rules: Rules) -> None:
    _, table, _ = crate_and_rules
    assert [name for name, known in table.items() if name in known] == []


def test_each_knot_is_still_there() -> None:
    crate, table = Crate(ROOT / "crates" / "oneloop" / "src"), known_modules(ENGINE_TABLE)
    found = {(row_of(reference.source, table), row_of(reference.target, table)) for reference in crate.references()}
    assert found >= KNOTS, "a knot that was untied is to be struck off the list"


def test_unsafe_code_lives_in_its_named_places(crate_and_rules: Rules) -> None:
    crate, table, allowed = crate_and_rules
    assert unsafe_outside(crate, table, allowed) == []


def test_the_engine_knows_no_python() -> None:
    manifest = tomllib.loads((ROOT / "crates" / "oneloop" / "Cargo.toml").read_text())
    assert not [name for name in manifest["dependencies"] if "py" in name.lower()]
    assert not [name for name in manifest.get("features", {}) if "py" in name.lower()]


# -- the reading itself: each of these crates breaks a rule, and must be caught ------------------


def small_crate(directory: Path, **sources: str) -> Crate:
    for name, source in sources.items():
        file = directory / f"{name.replace('__', '/')}.rs"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    (directory / "lib.rs").write_text("".join(f"mod {name};\n" for name in sources if "__" not in name))
    return Crate(directory)


TABLE = known_modules("low <- middle <- high\n low <- other\n high::low <- high")


@pytest.mark.parametrize(
    "source",
    [
        "use crate::high::Thing;",
        "use crate::{low::A, high::{self, B}};",
        "use super::high;",
        "fn f() { crate::high::f::<u8>() }",
        "mod inner { use super::super::high::Thing; }",
        "fn f<'a>(x: &'a str) -> char { crate::high::f(x); '\\'' }",
        'const A: &str = "//"; use crate::high::Thing;',
        "use crate::other::Thing;",
        "#[cfg(test)] mod tests { use crate::high::X; fn f() { if true { } } } use crate::high::Y;",
    ],
)
def test_a_reference_upwards_or_sideways_is_caught(tmp_path: Path, source: str) -> None:
    crate = small_crate(tmp_path, low="", middle=source, high="", other="")
    found = violations(crate, TABLE)
    assert found
    assert all(line.startswith("middle.rs:1: middle names ") for line in found)


@pytest.mark.parametrize(
    "source",
    [
        "use crate::low::Thing; use std::high::Thing;",
        "// use crate::high::Thing;\n/* crate::high::f() */",
        'const A: &str = "crate::high::f()"; const B: &str = r#"" crate::high::f()"#;',
        "#[cfg(test)] mod tests { use crate::high::Thing; fn f() { if true { '}'; } } }",
        "#[cfg(all(test, loom))]\n#[allow(x)]\nmod tests { use super::super::high::Thing; }",
        "mod inner { use super::low_of_my_own; }",
        "pub(crate) fn high() {}",
    ],
)
def test_what_is_no_reference_or_allowed_is_not(tmp_path: Path, source: str) -> None:
    assert violations(small_crate(tmp_path, low="", middle=source, high="", other=""), TABLE) == []


def test_a_name_that_is_passed_on_counts_as_its_origin(tmp_path: Path) -> None:
    sources = {"low": "pub use crate::high::{Thing as Other};", "high": "", "other": "use crate::low::Other;"}
    found = violations(small_crate(tmp_path, **sources), TABLE)
    assert [line.split(":")[0] for line in found] == ["low.rs", "other.rs"]


def test_a_module_below_another_has_a_row_of_its_own_if_the_table_names_it(tmp_path: Path) -> None:
    sources = {"high": "mod low; mod part; use part::X;", "high__low": "use super::part;", "high__part": ""}
    (found,) = violations(small_crate(tmp_path, **sources), TABLE)
    assert found.startswith("high/low.rs:1: high::low names super::part (in high)")


def test_an_unlisted_module_an_unread_file_and_misplaced_unsafe_are_caught(tmp_path: Path) -> None:
    crate = small_crate(tmp_path, low="// unsafe\nunsafe fn f() {}", stranger="")
    (tmp_path / "forgotten.rs").write_text("")
    assert unlisted(crate, TABLE) == ["stranger"]
    assert [file.name for file in crate.unknown_files()] == ["forgotten.rs"]
    assert unsafe_outside(crate, TABLE, {"high"}) == ["low.rs:2"]
    assert unsafe_outside(crate, TABLE, {"low"}) == []
