"""Every fast path can be turned off, and `make test-fallbacks` turns it off."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SWITCH = re.compile(r'(?:const SWITCH: &(?:str|CStr) = c?|^_SWITCH = )"(ONELOOP_[A-Z_]+)"', re.MULTILINE)
# What a user chooses besides: no fast path with a slower way beside it.
CHOICES = {"ONELOOP_DRIVER", "ONELOOP_CHILD_WATCH"}


def sources() -> str:
    rust, python = (ROOT / "crates").glob("oneloop*/src/**/*.rs"), (ROOT / "python").glob("oneloop/*.py")
    return "\n".join(path.read_text() for path in [*rust, *python])


def test_every_switch_is_turned_off() -> None:
    text = (ROOT / "scripts" / "check.py").read_text()
    listed = re.search(r"^SWITCHES = \(([^)]*)\)", text, re.MULTILINE)
    assert listed is not None
    names = set(re.findall(r"ONELOOP_[A-Z_]+", listed[1]))
    assert names == set(SWITCH.findall(sources()))


def test_no_variable_of_ours_is_unknown() -> None:
    code = re.sub(r"//.*", "", sources())
    assert set(re.findall(r'"(ONELOOP_[A-Z_]+)"', code)) == {*SWITCH.findall(code), *CHOICES}
