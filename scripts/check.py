"""The checks of this repository, by group: what `make test` and its parts run.

Usage: PYTHON scripts/check.py GROUP ...

GROUP is `rust` (format, clippy, tests on both drivers, doc tests, docs, loom), `lint` (ruff, mypy, stubtest),
`python` (pytest on both drivers, then CPython's own asyncio tests by tests/stdlib/run.py), `version` (what of it may
turn out differently on another CPython version: our loop's half on one driver, and CPython's), `conformance` (only
CPython's), `fallbacks` (our loop's half and CPython's tests with every fast path off, and CPython's with each of them
off), `real` (tests/real: programs of others, which bring an environment of their own and Debian packages),
`soak` (tests/soak: minutes of everything at once; how many seconds is in ONELOOP_SOAK_SECONDS), `counts` (tests/counts:
reference counts after ONELOOP_COUNTS_OPERATIONS operations of each kind) or `memcheck` (tests/memcheck: every native
type under valgrind, which it installs). All but `rust` use
environments for the interpreter that runs this script (see environment.py). ONELOOP_CONFORMANCE_DRIVERS lists the
drivers of the last step of `python`, by default epoll alone, and ONELOOP_CONFORMANCE_FALLBACKS=1 adds one with every
fast path off: `make test-all` runs it on both, and that.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from environment import ROOT
from steps import Step, run_steps

# What pytest is told besides: asyncio's own loop, the control, is not run again for the sake of another driver of ours.
DRIVERS = {"epoll": (), "portable": ("-m", "not on_asyncio")}
# State machines and containers of the engine, which know no driver: their tests, the longest, need no second one.
PURE = ("cell", "datagram", "instant", "ready", "registry", "stream", "timers")
JOBS = "2"  # some tests measure time, so a large machine is not filled to the brim
# The tests share nothing, and many of them wait for processes of their own: two at a time take half as long.
PYTEST = ("-m", "pytest", "--numprocesses", JOBS, "--dist", "worksteal")
TARGET = os.environ.get("CARGO_TARGET_DIR") or str(ROOT / "target")
VENV = ROOT / (os.environ.get("VENV") or ".venv")
# Each fast path has one, which is 0 to turn it off. tests/test_fallbacks.py sees that none is missing.
SWITCHES = (
    "ONELOOP_HANDLE_FREE",
    "ONELOOP_NATIVE_TASK",
    "ONELOOP_FREE_LISTS",
    "ONELOOP_GATHER_WRITES",
    "ONELOOP_FAST_STREAMS",
    "ONELOOP_NATIVE_STREAMS",
    "ONELOOP_FAST_EXECUTOR",
    "ONELOOP_KEEP_MEMORY",
)
ALL_OFF = dict.fromkeys(SWITCHES, "0")
DEBIAN = ("postgresql", "redis-server", "wrk")
TYPED = ("python/oneloop", "scripts", "examples", "tests", "benches")


def cargo(*arguments: str) -> tuple[str, ...]:
    return ("cargo", *arguments)


def rust() -> Iterator[Step]:
    # The extension crate is compiled for an interpreter, so clippy is told which one.
    interpreter = {"PYO3_PYTHON": sys.executable}
    yield Step("rustfmt", cargo("fmt", "--all", "--check"))
    clippy = cargo("clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings")
    yield Step("clippy", clippy, interpreter)
    nextest = subprocess.run(cargo("nextest", "--version"), capture_output=True, check=False).returncode == 0
    tests = ("nextest", "run", "--no-fail-fast") if nextest else ("test", "--lib", "--bins", "--tests", "--examples")
    again: tuple[str, ...] = ()
    for driver in DRIVERS:
        run = cargo(*tests, "--package", "oneloop", "--locked", *again)
        yield Step(f"Rust tests, {driver}", run, {"ONELOOP_DRIVER": driver})
        again = ("-E", f"not test(/^({'|'.join(PURE)})::/)") if nextest else ()
    yield Step("Rust tests, load generator", cargo(*tests, "--package", "oneloop-load", "--locked"))
    yield Step("Rust doc tests", cargo("test", "--doc", "--package", "oneloop", "--locked"))
    docs = cargo("doc", "--no-deps", "--package", "oneloop", "--locked")
    yield Step("Rust docs", docs, {"RUSTDOCFLAGS": "-D warnings"})
    # A target directory of its own, or these flags would throw the other one away, twice. Not optimised, though loom
    # runs a test many times: it does so in a second, and the optimiser would take a minute.
    loom = ("--package", "oneloop", "--lib", "--locked", "--target-dir", f"{TARGET}/loom", "loom_")
    flags = {
        "RUSTFLAGS": f"{os.environ.get('RUSTFLAGS', '')} --cfg loom".strip(),
        "CARGO_PROFILE_DEV_DEBUG": "0",
        "LOOM_MAX_PREEMPTIONS": "3",
    }
    # nextest also fails if it finds no test of that name.
    yield Step("loom", cargo(*(("nextest", "run") if nextest else ("test",)), *loom), flags)


def environment(*groups: str, venv: Path = VENV, name: str = "environment and wheel") -> Step:
    prepare = (sys.executable, "scripts/environment.py", "--venv", str(venv), *groups)
    return Step(name, prepare, needed=True)


def lint() -> Iterator[Step]:
    python = str(VENV / "bin" / "python")
    yield environment("test", "lint")
    yield Step("ruff", (python, "-m", "ruff", "check"))
    yield Step("ruff format", (python, "-m", "ruff", "format", "--check", "--diff"))
    present = [name for name in TYPED if (ROOT / name).is_dir()]
    for version in ("3.11", "3.14"):  # both sides of what the code asks sys.version_info about
        mypy = (python, "-m", "mypy", "--python-version", version, *present, "scripts/interpreters")
        yield Step(f"mypy for {version}", mypy)
    yield Step("stubtest", (python, "-m", "mypy.stubtest", "oneloop", "--allowlist", "scripts/stubtest-allowlist"))


def python() -> Iterator[Step]:
    python = str(VENV / "bin" / "python")
    yield environment("test")
    for driver in DRIVERS:
        yield python_tests(driver)
    yield Step("tests of the conformance runner", (python, *PYTEST, "tests/stdlib"))
    yield from conformance_runs()


def version() -> Iterator[Step]:
    yield environment("test")
    # Most tests of our half ask asyncio's loop as well; to run the other one, too, would take as long again.
    yield python_tests("epoll", "-m", "not on_asyncio")
    yield from conformance_runs()


def python_tests(driver: str, *half: str) -> Step:
    command = (str(VENV / "bin" / "python"), *PYTEST, *(half or DRIVERS[driver]))
    return Step(f"Python tests, {driver}", command, {"ONELOOP_DRIVER": driver})


def fallbacks() -> Iterator[Step]:
    yield environment("test")
    command = (str(VENV / "bin" / "python"), *PYTEST, "-m", "not on_asyncio")
    yield Step("Python tests, every fast path off", command, ALL_OFF)
    yield conformance_run("epoll", "every fast path off", ALL_OFF)
    for switch in SWITCHES:
        yield conformance_run("epoll", f"{switch}=0", {switch: "0"})


def conformance() -> Iterator[Step]:
    yield environment("test")
    yield from conformance_runs()


def conformance_runs() -> Iterator[Step]:
    for driver in (os.environ.get("ONELOOP_CONFORMANCE_DRIVERS") or "epoll").split():
        yield conformance_run(driver, driver, {})
    if os.environ.get("ONELOOP_CONFORMANCE_FALLBACKS") == "1":
        yield conformance_run("epoll", "every fast path off", ALL_OFF)


def conformance_run(driver: str, how: str, switches: Mapping[str, str]) -> Step:
    run = (str(VENV / "bin" / "python"), "tests/stdlib/run.py", "--driver", driver, "--jobs", JOBS)
    return Step(f"CPython's asyncio tests, {how}", run, switches)


def real() -> Iterator[Step]:
    # Beside the other environment, whose pytest is not to find the plug-ins that these packages bring.
    venv = VENV.with_name(f"{VENV.name}-real")
    yield Step("Debian packages", ("scripts/debian-packages", *DEBIAN), needed=True)
    yield environment("test", "real", venv=venv, name="environment of tests/real")
    for driver, half in DRIVERS.items():
        command = (str(venv / "bin" / "python"), *PYTEST, "tests/real", *half)
        yield Step(f"programs of others, {driver}", command, {"ONELOOP_DRIVER": driver})


def soak() -> Iterator[Step]:
    seconds = os.environ.get("ONELOOP_SOAK_SECONDS") or "300"
    yield environment("test")
    command = (str(VENV / "bin" / "python"), "-m", "soak", "--seconds", seconds)
    yield Step("soak", command, {"PYTHONPATH": "tests"}, minutes=float(seconds) / 60 + 5)


def counts() -> Iterator[Step]:
    operations = os.environ.get("ONELOOP_COUNTS_OPERATIONS") or "1000000"
    yield environment("test")
    command = (str(VENV / "bin" / "python"), "-m", "counts", "--jobs", JOBS, "--operations", operations)
    yield Step("reference counts", command, {"PYTHONPATH": "tests"}, minutes=60)


def memcheck() -> Iterator[Step]:
    yield Step("Debian packages", ("scripts/debian-packages", "valgrind"), needed=True)
    yield environment("test")
    yield Step("memcheck", (str(VENV / "bin" / "python"), "-m", "memcheck"), {"PYTHONPATH": "tests"}, minutes=30)


GROUPS = {
    "rust": rust,
    "lint": lint,
    "python": python,
    "version": version,
    "conformance": conformance,
    "fallbacks": fallbacks,
    "real": real,
    "soak": soak,
    "counts": counts,
    "memcheck": memcheck,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Run groups of checks.")
    parser.add_argument("groups", nargs="+", choices=GROUPS)
    asked = parser.parse_args().groups
    groups = [group for group in GROUPS if group in asked]  # in the order that the environments build on
    steps: dict[str, Step] = {}
    for group in groups:
        for step in GROUPS[group]():
            steps.setdefault(step.name, step)
    title = f"{' '.join(groups)} on CPython {'.'.join(map(str, sys.version_info[:3]))}"
    return run_steps(title, steps.values())


if __name__ == "__main__":
    sys.exit(main())
