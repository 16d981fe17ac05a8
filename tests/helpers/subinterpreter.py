# mypy: ignore-errors
"""Interpreters inside this process, of the old kind that shares everything: CPython lets any extension into them.

The modules are CPython's own, with another name or another signature in each version.
"""

import importlib
import sys


def run(source: str) -> None:
    """Run a program in an interpreter of its own, which is gone afterwards; RuntimeError if the program fails."""
    old = sys.version_info < (3, 13)
    interpreters = importlib.import_module("_xxsubinterpreters" if old else "_interpreters")
    if sys.version_info < (3, 12):
        made = interpreters.create()
    else:
        made = interpreters.create(isolated=False) if old else interpreters.create("legacy")
    try:
        if failure := interpreters.run_string(made, f"import sys\nsys.path[:] = {sys.path!r}\n{source}"):
            raise RuntimeError(failure)
    finally:
        interpreters.destroy(made)
