"""The load generator: built from benches/load, and run.

`oneloop-load` puts the load on a server, or is the plain server that a limit row is; its own header says how.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benches.suite.environment import ROOT, MissingError
from benches.suite.group import NoFigure

PACKAGE = "oneloop-load"
# Of one load, which is told to last less than a second. It gives up by itself where the server is silent.
PATIENCE = 120


def build(profile: str = "load") -> Path:
    """The program, built unless it is there already."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    program = target / ("debug" if profile == "dev" else profile) / PACKAGE
    cargo("build", "--locked", "--package", PACKAGE, "--profile", profile)
    if not runs(program):
        # Linked in another system that shares this checkout, with a C library that this one has not.
        cargo("clean", "--package", PACKAGE, "--profile", profile)
        cargo("build", "--locked", "--package", PACKAGE, "--profile", profile)
    return program


def cargo(*arguments: str) -> None:
    command = ["cargo", *arguments, "--quiet"]
    try:
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MissingError("cargo is missing: install Rust (https://rustup.rs)") from None
    if done.returncode:
        raise MissingError(f"the load generator did not build:\n{done.stderr}")


def runs(program: Path) -> bool:
    """Without arguments it asks for some, which is status 2; where it does not even start, the status is another."""
    return subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 2


def run(program: Path, arguments: Sequence[str], limit: float = PATIENCE) -> Mapping[str, Any]:
    """The figures of one load; NoFigure where there are none, with what it says about that."""
    try:
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoFigure(f"no answer within {limit:g} s") from None
    if done.returncode:
        raise NoFigure(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}")
    told: Mapping[str, Any] = json.loads(done.stdout)
    return told
