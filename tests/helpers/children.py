"""Programs that have to be processes of their own: what kills them, interrupts them, forks or exits is what is being
tested.

A child finds this package on its path and makes its loop with `helpers.loops.new_event_loop`. It runs under
faulthandler, so a crash says where it happened. A child that outlives its limit is killed and fails the test.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
import textwrap

from helpers.loops import CHILD_VARIABLE

TESTS = pathlib.Path(__file__).resolve().parent.parent
LIMIT = 40.0  # less than a whole test may take


@dataclasses.dataclass(frozen=True)
class Finished:
    """How a child ended and what it said."""

    returncode: int
    out: str
    err: str

    @property
    def quiet(self) -> bool:
        """It succeeded and had nothing to complain about."""
        return self.returncode == 0 and self.err == ""


def environment(loop_name: str, **extra: str) -> dict[str, str]:
    """The environment of a child: ours, without what would change asyncio's mode."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONWARNINGS")}
    path = os.pathsep.join(filter(None, [str(TESTS), kept.get("PYTHONPATH")]))
    return {**kept, CHILD_VARIABLE: loop_name, "PYTHONPATH": path, "PYTHONFAULTHANDLER": "1", **extra}


def start(argv: list[str], loop_name: str, *, cwd: pathlib.Path | None = None, **extra: str) -> subprocess.Popen[str]:
    """Start an interpreter with these arguments; its three streams are pipes."""
    return subprocess.Popen(
        [sys.executable, *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(loop_name, **extra),
    )


def finish(child: subprocess.Popen[str], stdin: str = "", limit: float = LIMIT) -> Finished:
    """Wait for a child to end."""
    try:
        out, err = child.communicate(stdin, timeout=limit)
    except subprocess.TimeoutExpired:
        # SIGABRT, not SIGKILL: faulthandler then says where it hung.
        child.send_signal(6)
        out, err = child.communicate()
        raise AssertionError(f"the child was still running after {limit} s\n{out}\n{err}") from None
    return Finished(child.returncode, out, err)


def run_program(
    source: str, loop_name: str, *argv: str, options: tuple[str, ...] = (), limit: float = LIMIT
) -> Finished:
    """Run the text of a program to its end."""
    return finish(start([*options, "-c", textwrap.dedent(source), *argv], loop_name), limit=limit)
