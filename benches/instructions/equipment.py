"""What counting needs and where it comes from: valgrind, and the marks compiled against its headers.

valgrind is installed into the system, and only by root; the marks are kept in the suite's cache.
"""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from benches.suite.environment import ROOT, MissingError, cache, reason, run

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Tools:
    """What counts."""

    valgrind: str
    valgrind_version: str
    marks: Path


def tools(*defines: str, name: str = "marks") -> Tools:
    """valgrind, and marks.c and clock.c compiled against its header; `defines` are for the compiler."""
    if platform.system() != "Linux":
        raise MissingError("instructions are counted on Linux only, where valgrind is")
    if not shutil.which("valgrind"):
        run([ROOT / "scripts" / "debian-packages", "valgrind"], stderr=None)
    if not (valgrind := shutil.which("valgrind")):
        raise MissingError("valgrind is missing: install it (Debian: apt-get install valgrind)")
    if not (compiler := shutil.which(os.environ.get("CC", "cc"))):
        raise MissingError("a C compiler is missing: install one (Debian: apt-get install gcc libc6-dev)")
    # One for each C library, since the same cache is in sight from a system of its own.
    marks = cache() / f"{name}-{'-'.join(platform.libc_ver())}.so"
    sources = [HERE / "marks.c", HERE / "clock.c"]
    # Compiled anew each time: it is quick, and cannot be out of date.
    compiled = run([compiler, *defines, "-O2", "-shared", "-fPIC", "-o", marks, *sources])
    if compiled.returncode:
        raise MissingError(f"marks.c did not compile: {reason(compiled)}")
    return Tools(valgrind, run([valgrind, "--version"]).stdout.strip(), marks)
