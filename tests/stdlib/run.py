"""Run the running interpreter's own asyncio tests on oneloop.

    python tests/stdlib/run.py [--driver epoll|portable] [--jobs N] [--modules …]

Every module of `test.test_asyncio` that `modules.toml` names runs in a process of its own, once on asyncio's loop
(the control, cached) and once with oneloop in its place. What a result means is decided by rules that leave nothing
to taste:

- a test counts if it passed in control;
- a failure, a hang, a crash or a skip that happens only on oneloop is a failure;
- a row of `exclusions.toml` takes a test out, for a reason that the runner verifies in the test's own source; an
  excluded test still runs, and is an error if it passes.

The exit status is 0 only if nothing failed and no row is wrong.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from stdlib.conformance.cli import main

    sys.exit(main())
