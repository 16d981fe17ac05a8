"""What a run measures with: an interpreter's environment that has this checkout's oneloop and every other loop.

It is prepared by, and belongs to, the interpreter that runs this code, and is kept outside the checkout, in a cache
that may be deleted at any time. Our wheel is the release build of scripts/environment.py, as the tests use it. The
other loops are wheels of pinned versions; one that has none for this interpreter is told of, with the reason.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benches.suite import loops

ROOT = Path(__file__).resolve().parent.parent.parent
REQUIREMENTS = ROOT / "benches" / "requirements.txt"


class MissingError(Exception):
    """A prerequisite that only the user can provide, in one line."""


@dataclass(frozen=True)
class Bench:
    """The interpreter that is measured, the loops that it has, and why it lacks the others."""

    python: Path
    interpreter: Mapping[str, Any]
    versions: Mapping[str, str]
    unavailable: Mapping[str, str]


def prepare(wanted: Sequence[str], groups: Sequence[str] = ()) -> Bench:
    home = cache() / f"bench-{platform.python_version()}"
    made = run([sys.executable, ROOT / "scripts" / "environment.py", "--venv", home, *groups], stderr=None)
    if made.returncode:
        raise MissingError(f"no environment of Python {platform.python_version()}: see above")
    python = Path(made.stdout.splitlines()[-1])
    listed = run([python, "-m", "pip", "--disable-pip-version-check", "freeze"]).stdout.lower().splitlines()
    versions, unavailable = {}, {}
    for name in wanted:
        version, failure = "", install(name, python, listed)
        if not failure:
            version, failure = tried(name, python)
        if failure:
            unavailable[name] = failure
        else:
            versions[name] = version
    # Compiled before anything is measured: the heap of a process that compiles looks different.
    run([python, "-m", "compileall", "-q", ROOT / "benches"])
    return Bench(python, interpreter(), versions, unavailable)


def interpreter() -> dict[str, Any]:
    """Figures belong to one build of the interpreter."""
    return {
        "version": platform.python_version(),
        "optimized": optimized(sysconfig.get_config_vars()),
        "build": sys.version,
    }


def optimized(told: Mapping[str, Any]) -> bool | None:
    """Whether the interpreter was built with profile-guided optimization, by what it tells of its build; None where
    that has been taken out of it.

    A distribution may run the profiled build by itself, as Debian does, instead of configuring it, and then leaves no
    flag of it to extensions: not even what configure would have used, which every other build by gcc or clang tells.
    """
    if "--enable-optimizations" in (told.get("CONFIG_ARGS") or ""):
        return True
    flags = " ".join(str(told.get(name) or "") for name in ("PY_CFLAGS", "PY_CFLAGS_NODIST", "PY_CORE_LDFLAGS"))
    if "-fprofile-use" in flags or "-fprofile-instr-use" in flags:
        return True
    return False if told.get("PGO_PROF_USE_FLAG") else None


def optimization(optimized: bool | None) -> str:
    return {True: "with PGO", False: "without PGO", None: "its build does not tell of PGO"}[optimized]


def machine() -> dict[str, Any]:
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": model or platform.processor(),
        "processors": processors(),
    }


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def install(name: str, python: Path, listed: Sequence[str]) -> str:
    """Why the loop cannot be had; nothing once it is installed."""
    wanted = requirements(name) if name in loops.RIVALS else []
    if {line.lower() for line in wanted} <= set(listed):
        return ""
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    done = run([*pip, "--no-deps", "--only-binary", ":all:", *wanted])
    if done.returncode == 0:
        return ""
    said = reason(done)
    version = platform.python_version()
    return f"no wheel for Python {version}" if "No matching distribution" in said else f"pip: {said}"


# Some ask the kernel for more than it has, which shows when they run.
TRIED = """
import asyncio, sys
from benches.suite.loops import factory, release
asyncio.Runner(loop_factory=factory(sys.argv[1])).run(asyncio.sleep(0))
print(release(sys.argv[1]))
"""


def tried(name: str, python: Path) -> tuple[str, str]:
    """The loop's version, or why it does not run here."""
    done = run([python, "-c", TRIED, name], cwd=ROOT)
    return ("", f"does not run: {reason(done)}") if done.returncode else (done.stdout.split()[-1], "")


def requirements(name: str) -> list[str]:
    """The pinned lines under the loop's own: it and what it needs."""
    section, found = "", []
    for line in REQUIREMENTS.read_text().splitlines():
        if line.startswith("# below "):
            section = line.removeprefix("# below ").rstrip(":")
        elif line and not line.startswith("#"):
            own = line.partition("==")[0]
            if name in (own, section):
                found.append(line)
            if not section and own not in loops.RIVALS:
                raise ValueError(f"{REQUIREMENTS}: {line} belongs to no loop")
    return found


def cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "oneloop"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run(
    command: Sequence[str | Path],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stderr: int | None = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    """The command's result; one that cannot be started is one that failed."""
    try:
        return subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=cwd,
            env=env,
            check=False,
        )
    except OSError as error:
        return subprocess.CompletedProcess([*map(str, command)], 127, "", str(error))


def reason(failed: subprocess.CompletedProcess[str]) -> str:
    """The line of its complaint that says most: the last line that is an error, or else the last line."""
    lines = [line.strip() for line in (failed.stderr or failed.stdout or "").splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or [f"exit status {failed.returncode}"])[-1]
