"""System calls per operation, by name, from valgrind's trace of them.

Under valgrind one thread runs at a time and the clock stands still (see the package), so the figures are exact: two
runs give the same, and no tolerance is needed.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from benches.gates.rows import ROWS
from benches.instructions.equipment import Tools
from benches.suite import loops
from benches.suite.child import death, surroundings
from benches.suite.environment import ROOT, Bench
from benches.suite.group import NoFigure

TIME_LIMIT = 300
CALL = re.compile(r"^(?:\S+ )?SYSCALL\[\d+,\s*\d+\]\(\s*\d+\) (?:sys_|unimplemented \(by the kernel\) )?(\w+)")
MARK = "getpgid"
# Memory, threads that wait for each other, the clock, which is the program's own here, and a thread's first and last
# calls: nobody waits for these, so a mark may lie on either side of them, and their lines may be cut by another's.
OTHERS = re.compile(
    r"^(futex|mmap|munmap|mremap|mprotect|brk|madvise|clock_gettime|sched_yield|set_robust_list|rseq|exit|rt_sig\w+"
    r"|gettid|getpid)$"
)


def count(bench: Bench, tools: Tools, key: str) -> Mapping[str, float]:
    """System calls per operation. NoFigure if the row fails."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        command = [tools.valgrind, "--tool=none", "--trace-syscalls=yes", f"--log-file={log}"]
        command += [str(bench.python), "-m", "benches.gates.child", key, loops.OURS]
        env = surroundings(LD_PRELOAD=str(tools.marks))
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=TIME_LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            raise NoFigure(f"still running after {TIME_LIMIT} s") from None
        if done.returncode:
            raise NoFigure(death(done))
        with log.open(errors="replace") as lines:
            short, long = between_marks(lines)
    n = ROWS[key].n
    return {name: (long[name] - short[name]) / (2 * n) for name in sorted(long) if long[name] != short[name]}


def between_marks(trace: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """The calls of the short run and of the long one: between the first two marks, and between the next two."""
    parts: list[Counter[str]] = [Counter()]
    for line in trace:
        if not (found := CALL.match(line)):
            continue
        name = found[1].removeprefix("sys_")
        if name == MARK:
            parts.append(Counter())
        elif not OTHERS.match(name):
            parts[-1][name] += 1
    if len(parts) != 5:
        raise NoFigure(f"{len(parts) - 1} marks in the trace of system calls, not 4")
    return parts[1], parts[3]
