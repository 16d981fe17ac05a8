"""The measured process: one row on one loop, run under callgrind.

Prints one JSON object: the loop's class and version, or the reason why there is no figure. Nothing
but the row lies between the marks.
"""

from __future__ import annotations

import ctypes
import json
import sys

from benches.instructions import session
from benches.scheduling.rows import ROWS
from benches.suite import loops


class Marks:
    """The meter: marks.c, called with the GIL held, so that no other thread moves in between."""

    def __init__(self, library: str) -> None:
        self._library = ctypes.PyDLL(library)
        if not self._library.marks_counted():
            raise RuntimeError("not running under valgrind: nothing would be counted")

    def begin(self) -> None:
        self._library.marks_begin()

    def end(self, name: str) -> None:
        self._library.marks_end(name.encode())


def main(key: str, loop: str, library: str) -> dict[str, str]:
    if ROWS[key].lacking:
        return {"unavailable": ROWS[key].lacking}
    try:
        made = loops.factory(loop)()
    except Exception as error:  # a loop that does not load is a cell of the table, not a crash
        return {"unavailable": f"{type(error).__name__}: {error}"}
    try:
        session.run(ROWS[key], lambda: made, Marks(library))
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    kind = type(made)
    return {"class": f"{kind.__module__}.{kind.__qualname__}", "version": loops.release(loop)}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
