"""Reference counts, short: ten thousand operations of each kind (see the package `counts`), and leaks, which it sees.

The long form is `make counts`.
"""

from __future__ import annotations

from types import ModuleType

import pytest
from counts.operations import LEAKS, OPERATIONS
from helpers import children

SHORT = 10_000


def finish(kind: str, operations: int = SHORT) -> children.Finished:
    argv = ["-m", "counts", "--here", kind, "--operations", f"{operations}"]
    return children.finish(children.start(argv, "oneloop"))


@pytest.mark.parametrize("kind", OPERATIONS)
def test_nothing_has_grown(oneloop: ModuleType, kind: str) -> None:
    finished = finish(kind)
    assert finished.quiet, finished.out + finished.err


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_is_seen(oneloop: ModuleType, leak: str) -> None:
    finished = finish(leak)
    assert finished.returncode == 1, finished.out + finished.err
    seen = {
        "a_reference": "reference count of argument",
        "an_object": "blocks",
        "a_number": "blocks",
        "memory": "bytes of malloc",
    }
    assert seen[leak] in finished.out
