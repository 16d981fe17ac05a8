"""The demo: the first program in every form, each shown before it is run, then 10,000 sleepers.

`make demo` runs this with the environment's Python. It ends with a failure if one of the forms did.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"

FACTORY = "asyncio.run(greet(), loop_factory=…)" if sys.version_info >= (3, 12) else "asyncio.Runner(loop_factory=…)"
PROGRAMS = (
    ("oneloop.run(greet())", ("python", "examples/greet_run.py")),
    (FACTORY, ("python", "examples/greet_factory.py")),
    ("a script that says asyncio.run(greet())", ("python", "-m", "oneloop", "examples/greet.py")),
    ("a module with an argument", ("python", "-m", "oneloop", "-m", "greetings.hello", "Asyncio World")),
    ("Rust, no Python in it", ("cargo", "run", "--quiet", "--release", "--package", "oneloop", "--example", "greet")),
    ("10,000 coroutines sleep at once", ("python", "examples/ten_thousand.py")),
)


def show(title: str, command: tuple[str, ...]) -> bool:
    print(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}")
    print(f"$ {shlex.join(command)}", flush=True)
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES), "PYTHONUNBUFFERED": "1"}
    program = [sys.executable if command[0] == "python" else command[0], *command[1:]]
    start = time.monotonic()
    status = subprocess.run(program, cwd=ROOT, env=environment, check=False).returncode
    took = time.monotonic() - start
    print(f"({took:.1f} s)" if status == 0 else f"(failed with status {status} after {took:.1f} s)", flush=True)
    return status == 0


def main() -> int:
    # Built before, so that its line shows the program's time and not the compiler's.
    build = ("cargo", "build", "--quiet", "--release", "--package", "oneloop", "--example", "greet")
    subprocess.run(build, cwd=ROOT, check=False)
    results = [show(title, command) for title, command in PROGRAMS]
    print(f"\n{sum(results)} of {len(results)} programs ran on oneloop")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
