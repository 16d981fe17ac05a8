"""What a run needs and where it comes from: valgrind, the marks, an interpreter with every loop.

Everything that is made is kept outside the checkout, in a cache that may be deleted at any time.
Nothing is installed into the user's own interpreters; valgrind alone is installed into the system,
and only by root.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import loops

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
REQUIREMENTS = HERE / "requirements.txt"
DEFAULT_PYTHON = "3.13.0"


class MissingError(Exception):
    """A prerequisite that only the user can provide, in one line."""


@dataclass(frozen=True)
class Tools:
    """What counts."""

    valgrind: str
    valgrind_version: str
    marks: Path


@dataclass(frozen=True)
class Bench:
    """The interpreter that is measured, and the loops that it does not have, with their reasons."""

    python: Path
    version: str
    optimized: bool
    unavailable: dict[str, str]


def processors() -> int:
    return len(os.sched_getaffinity(0))


def tools() -> Tools:
    """valgrind, and marks.c and clock.c compiled against its header."""
    if platform.system() != "Linux":
        raise MissingError("instructions are counted on Linux only, where valgrind is")
    if not (valgrind := shutil.which("valgrind") or install_valgrind()):
        raise MissingError("valgrind is missing: install it (Debian: apt-get install valgrind)")
    if not (compiler := shutil.which(os.environ.get("CC", "cc"))):
        raise MissingError("a C compiler is missing: install one (Debian: apt-get install gcc libc6-dev)")
    marks = cache() / "marks.so"
    sources = [HERE / "marks.c", HERE / "clock.c"]
    # Compiled anew each time: it is quick, and cannot be out of date.
    compiled = run([compiler, "-O2", "-shared", "-fPIC", "-o", marks, *sources])
    if compiled.returncode:
        raise MissingError(f"marks.c did not compile: {reason(compiled)}")
    return Tools(valgrind, run([valgrind, "--version"]).stdout.strip(), marks)


def install_valgrind() -> str | None:
    if os.geteuid() == 0 and (apt := shutil.which("apt-get")):
        say("installing valgrind")
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "valgrind"]):
            run([apt, *arguments], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    return shutil.which("valgrind")


def interpreter(wanted: str | None) -> Path:
    """The interpreter that a path or a version names; the one for the published figures by default."""
    for name in [wanted] if wanted else [DEFAULT_PYTHON, sys.executable]:
        if found := find_interpreter(name):
            return found
    raise MissingError(f"no interpreter {wanted}: give a path, or a version that pyenv or PATH has")


def find_interpreter(name: str) -> Path | None:
    if (found := shutil.which(name)) and "python" in Path(found).name:
        return Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    # The newest patch release of a version that is not given in full.
    held = sorted(
        (folder for folder in pyenv.glob(f"{name}*") if (folder.name + ".").startswith(name + ".")),
        key=lambda folder: [int(part) if part.isdigit() else 0 for part in folder.name.split(".")],
    )
    for folder in reversed(held):
        if (python := folder / "bin" / "python").exists():
            return python
    if found := shutil.which(f"python{name}"):
        return Path(found)
    return None


def prepare(python: Path, wanted: Sequence[str]) -> Bench:
    """An environment of that interpreter with the wanted loops, ours built from this checkout."""
    asked = run([python, "-c", DESCRIBE])
    if asked.returncode:
        raise MissingError(f"{python} does not run: {reason(asked)}")
    described = json.loads(asked.stdout)
    home = cache() / f"bench-{described['name']}"
    inside = home / "bin" / "python"
    if run([inside, "-c", DESCRIBE]).stdout != asked.stdout:
        say(f"making an environment of Python {described['name']} in {home}")
        made = run([python, "-m", "venv", "--clear", home])
        if made.returncode:
            raise MissingError(f"{python} makes no environments: {reason(made)}")
    # Compiled before anything is counted: the heap of a process that compiles looks different.
    run([inside, "-m", "compileall", "-q", HERE])
    unavailable = {}
    for name in wanted:
        if failure := install(name, inside, home):
            unavailable[name] = failure
    return Bench(inside, described["version"], described["optimized"], unavailable)


# Printed by the interpreter and by its environment: where they differ, the environment is stale.
DESCRIBE = """
import json, sys, sysconfig
print(json.dumps({
    "name": "%d.%d%s" % (*sys.version_info[:2], getattr(sys, "abiflags", "")),
    "version": sys.version,
    "base": sys.base_prefix,
    "optimized": "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""),
}))
"""


def install(name: str, python: Path, home: Path) -> str | None:
    """Why the loop cannot be had, or None once it is installed."""
    if name in loops.RIVALS:
        return pip(python, "--only-binary", ":all:", requirement(name))
    if name == loops.OURS:
        return pip(python, requirement("maturin")) or build(python, home)
    return None


def build(python: Path, home: Path) -> str | None:
    """This checkout's own wheel, as a user would get it."""
    say("building oneloop in release mode")
    with tempfile.TemporaryDirectory(dir=home) as wheels:
        command: list[str | Path] = [home / "bin" / "maturin", "build", "--interpreter", python, "--out", wheels]
        built = run(command, cwd=CHECKOUT)
        if built.returncode:
            return f"did not build: {reason(built)}"
        return pip(python, "--force-reinstall", "--no-deps", *Path(wheels).glob("*.whl"))


def pip(python: Path, *arguments: str | Path) -> str | None:
    done = run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments])
    return f"pip: {reason(done)}" if done.returncode else None


def requirement(name: str) -> str:
    lines = REQUIREMENTS.read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{name}=="))


def cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "oneloop"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run(
    command: Sequence[str | Path], cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command's result; one that cannot be started is one that failed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, check=False)
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def reason(failed: subprocess.CompletedProcess[str]) -> str:
    """The line of its complaint that says most: the first error, or else the last line."""
    lines = [line.strip() for line in (failed.stderr or failed.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines[-1:] or [f"exit status {failed.returncode}"])[0]


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
