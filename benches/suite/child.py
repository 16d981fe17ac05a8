"""Fresh processes: how a group starts the Python process that is measured, and what comes back.

The child is a module of this checkout that gets its arguments as text and prints one JSON object on its last line. It
runs in an environment of its own making: little of the caller's may move a figure.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from benches.suite.environment import ROOT, Bench
from benches.suite.group import NoFigure

# Of one process, which takes seconds: past it the loop hangs.
TIME_LIMIT = 120
KEPT = ("PATH", "HOME", "LD_LIBRARY_PATH")
OWN = "ONELOOP_"  # what turns a driver or a fast path of ours on and off


def surroundings(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith(OWN)}
    fixed = {"LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    return kept | fixed | more


def ask(bench: Bench, module: str, *arguments: str, limit: float = TIME_LIMIT) -> Mapping[str, Any]:
    """What the module printed; NoFigure if it failed or hangs, with its last line."""
    return answer([str(bench.python), "-m", module, *arguments], limit)


def answer(command: Sequence[str], limit: float = TIME_LIMIT) -> Mapping[str, Any]:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=surroundings(),
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoFigure(f"still running after {limit:g} s") from None
    if done.returncode:
        raise NoFigure(death(done))
    told: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "unavailable" in told:
        raise NoFigure(str(told["unavailable"]))
    return told


def death(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"killed by {signal.Signals(-done.returncode).name}"
    last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
    return f"failed: {''.join(last) or f'exit status {done.returncode}'}"
