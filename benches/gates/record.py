"""What is written down, and what a count says beside it.

`figures.json` holds the system calls of each row, and the instructions of each row for each build that was recorded:
the same sources are other instructions by another compiler, for another interpreter or another processor.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent / "figures.json"
# How far instructions may be from the record, and two counts from each other.
TOLERANCE, REPEATABLE = 0.02, 0.005

Instructions = Mapping[str, float]
Syscalls = Mapping[str, Mapping[str, float]]


def build() -> dict[str, str]:
    """Everything that makes other instructions of the same sources."""
    told = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    rustc = dict(line.split(": ", 1) for line in told.splitlines() if ": " in line)
    return {
        "python": platform.python_version(),
        "python compiler": platform.python_compiler(),
        "python configuration": digest(
            str(sysconfig.get_config_var("CONFIG_ARGS")), str(sysconfig.get_config_var("CFLAGS"))
        ),
        "abi": str(sysconfig.get_config_var("SOABI")),
        "rustc": f"{rustc.get('release')} {rustc.get('commit-hash', '')[:9]} LLVM {rustc.get('LLVM version')}",
        "target": rustc.get("host", ""),
        "flags": " ".join(os.environ.get(name, "") for name in ("RUSTFLAGS", "CARGO_BUILD_TARGET")).strip(),
        # Rust's own library and memchr ask the processor, and valgrind answers as far as it goes itself.
        "wide registers": "avx2" if has_avx2() else "",
    }


def has_avx2() -> bool:
    information = Path("/proc/cpuinfo")
    return information.exists() and " avx2 " in information.read_text()


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def name_of(described: Mapping[str, str]) -> str:
    """A name for a build: readable, and another for each."""
    return f"cpython-{described['python']}-{digest(json.dumps(described, sort_keys=True))}"


def read() -> dict[str, Any]:
    if FILE.exists():
        found: dict[str, Any] = json.loads(FILE.read_text())
        return found
    return {"syscalls": {}, "instructions": {}}


def written(instructions: Instructions, syscalls: Syscalls) -> dict[str, Any]:
    """The record with these figures in it."""
    described = build()
    recorded = read()
    if syscalls:
        recorded["syscalls"] = {**recorded["syscalls"], **{row: dict(calls) for row, calls in syscalls.items()}}
    if instructions:
        others = recorded["instructions"].get(name_of(described), {}).get("rows", {})
        mine = {row: round(figure, 1) for row, figure in instructions.items()}
        recorded["instructions"][name_of(described)] = {"build": described, "rows": {**others, **mine}}
    return recorded


def write(recorded: Mapping[str, Any]) -> None:
    FILE.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")


def of_this_build() -> Instructions | None:
    """The instructions that were recorded for this build, if any were."""
    found = read()["instructions"].get(name_of(build()))
    return found["rows"] if found else None


def changed(before: Instructions, after: Instructions, tolerance: float = TOLERANCE) -> list[str]:
    """The rows whose instructions are not what they were."""
    told = []
    for row, figure in after.items():
        if row not in before:
            told.append(f"{row}: no record -> {figure:,.1f} instructions")
        elif abs(figure - before[row]) > tolerance * max(before[row], 1):
            change = figure / before[row] - 1 if before[row] else float("inf")
            told.append(f"{row}: {before[row]:,.1f} -> {figure:,.1f} instructions ({change:+.1%})")
    return told


def changed_calls(before: Syscalls, after: Syscalls) -> list[str]:
    """The rows whose system calls are not what they were."""
    return [
        f"{row}: {spelled(before[row]) if row in before else 'no record'} -> {spelled(calls)}"
        for row, calls in after.items()
        if row not in before or dict(before[row]) != dict(calls)
    ]


def spelled(calls: Mapping[str, float]) -> str:
    return ", ".join(f"{count:g} {name}" for name, count in calls.items()) or "no system call"


if __name__ == "__main__":
    sys.exit("record.py is used by command.py")
