"""One program in a process of its own. Prints the native types that it has touched, and those that there are."""

from __future__ import annotations

import json
import sys

from memcheck import programs
from memcheck.kinds import natives, touched

if __name__ == "__main__":
    known = {**programs.PROGRAMS, **programs.ON_PURPOSE}
    known[sys.argv[1]]()
    print(json.dumps({"touched": sorted(touched), "natives": sorted(natives())}))
