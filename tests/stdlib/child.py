"""The script of one module's process; a file of its own so that a spawned worker of a test can re-import `__main__`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from stdlib.conformance.child import main

    main(sys.argv[1], int(sys.argv[2]))
