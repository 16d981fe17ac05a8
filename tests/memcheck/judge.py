"""What memcheck's report means: which complaints are about us.

It reads the XML that valgrind writes (its `docs/internals/xml-output-protocol4.txt`) and knows neither how valgrind is
run nor what the programs do.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
# Rust's way to start a thread: on the stacks of what a thread was given, and of what it has asked for itself.
THREAD = "spawn_unchecked"
END = "</valgrindoutput>"


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
    # Whether the process was made by a fork.
    forked: bool = False

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.text}"]
        lines += [f"    {frame.function or '?'} ({frame.place or frame.shared_object})" for frame in self.stack[:16]]
        return "\n".join(lines)


def of_program(folder: Path, pid: int) -> Iterator[Complaint]:
    """Everything that memcheck has found in a program and in the children that it forked: a report each, PID.xml."""
    yield from complaints(folder / f"{pid}.xml")
    for report in folder.glob("*.xml"):
        if report.stem != str(pid) and not became_another_program(report):
            yield from (replace(found, forked=True) for found in complaints(report))


def became_another_program(report: Path) -> bool:
    """Whether a child's report has a head and nothing else: memcheck was gone with the rest of it."""
    text = report.read_text()
    return END not in text and "<error>" not in text


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
    if is_leak and complaint.forked and any(THREAD in frame.function for frame in complaint.stack):
        # A fork copies the memory of all threads and none of the threads but one: what only the others knew, such as
        # the thread that waits for a child's exit, is nobody's in the child, and nothing could give it back there.
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
