"""What memcheck's report means: which complaints are about us.

It reads the XML that valgrind writes (its `docs/internals/xml-output-protocol4.txt`) and knows neither how valgrind is
run nor what the programs do.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OURS = re.compile(r"/oneloop/_core\.[^/]*$")
# Python code runs above this function: what is called from there is the program's affair.
EVALUATION = re.compile(r"^_PyEval_EvalFrame|^_PyEval_Vector$|^PyEval_EvalCode$")
# Wherever these happen, memory is not what somebody thinks it is.
ALWAYS = {
    "InvalidRead",
    "InvalidWrite",
    "InvalidJump",
    "InvalidFree",
    "InvalidMemPool",
    "MismatchedFree",
    "Overlap",
    "SyscallParam",
}
# rustix passes no mask to epoll_pwait, and so no size of one: the kernel does not look at that register.
UNREAD = "epoll_pwait(sigsetsize)"
LASTING = {("raw_type.rs", "build"), ("native_method.rs", "add")}
LOST = {"Leak_DefinitelyLost", "Leak_IndirectlyLost"}


@dataclass(frozen=True)
class Frame:
    function: str
    shared_object: str
    place: str


@dataclass(frozen=True)
class Complaint:
    kind: str
    text: str
    stack: tuple[Frame, ...]

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.text}"]
        lines += [f"    {frame.function or '?'} ({frame.place or frame.shared_object})" for frame in self.stack[:16]]
        return "\n".join(lines)


def complaints(report: Path) -> Iterator[Complaint]:
    """Everything that memcheck has found. A report that is cut off is an error: the program was killed."""
    for error in ET.parse(report).getroot().iter("error"):
        text = error.findtext("what") or error.findtext("xwhat/text") or ""
        yield Complaint(error.findtext("kind") or "", text, stack_of(error))


def stack_of(error: ET.Element) -> tuple[Frame, ...]:
    """Where it happened: the first of the stacks. The others say where the memory came from."""
    stack = error.find("stack")
    if stack is None:
        return ()
    return tuple(
        Frame(
            frame.findtext("fn") or "",
            frame.findtext("obj") or "",
            ":".join(filter(None, (frame.findtext("file"), frame.findtext("line")))),
        )
        for frame in stack.iter("frame")
    )


def counts(complaint: Complaint) -> bool:
    """Whether it is about us."""
    if complaint.kind in ALWAYS:
        return UNREAD not in complaint.text
    is_leak = complaint.kind.startswith("Leak_")
    if is_leak and (complaint.kind not in LOST or any(is_lasting(frame) for frame in complaint.stack)):
        return False
    return asked_for_by_us(complaint.stack)


def is_lasting(frame: Frame) -> bool:
    """Whether it makes the tables of a native type: once, and for as long as anybody may keep a descriptor of it."""
    return any(name in frame.function and frame.place.startswith(f"{file}:") for file, name in LASTING)


def asked_for_by_us(stack: tuple[Frame, ...]) -> bool:
    """Whether a frame of ours is nearer than any Python code: each callback of the loop runs above our frames."""
    for frame in stack:
        if OURS.search(frame.shared_object):
            return True
        if EVALUATION.search(frame.function):
            return False
    return False
