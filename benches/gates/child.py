"""The measured process: one row, under callgrind, or under a trace of its system calls if it is given no marks.

Prints one JSON object, as benches/instructions/child.py does.
"""

from __future__ import annotations

import json
import os
import sys

from benches.gates.rows import ROWS
from benches.instructions import session
from benches.instructions.child import Marks
from benches.suite import loops


class Calls:
    """The meter of system calls: marks the trace with a call that nobody else makes."""

    def begin(self) -> None:
        os.getpgid(0)

    def end(self, name: str) -> None:
        os.getpgid(0)


def main(key: str, loop: str, library: str = "") -> dict[str, str]:
    meter = Marks(library) if library else Calls()
    session.run(ROWS[key], loops.factory(loop), meter)
    return {"class": loop, "version": loops.release(loop)}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
