"""What counts among memcheck's complaints. The programs themselves take minutes: `make memcheck`."""

from __future__ import annotations

from html import escape
from pathlib import Path

import pytest
from memcheck import judge

OURS = "/somewhere/site-packages/oneloop/_core.cpython-313-x86_64-linux-gnu.so"
PYTHON = "/usr/bin/python3.13"


def frame(function: str, shared_object: str, file: str = "") -> str:
    place = f"<file>{file}</file><line>7</line>" if file else ""
    return f"<frame><obj>{shared_object}</obj><fn>{escape(function)}</fn>{place}</frame>"


RUN = [frame("_core::run", OURS), frame("_PyEval_EvalFrameDefault", PYTHON)]
CALLBACK = [frame("_PyEval_EvalFrameDefault", PYTHON), frame("call", PYTHON), *RUN]
BYTES = [frame("malloc", "/usr/lib/valgrind.so"), frame("PyBytes_FromStringAndSize", PYTHON)]
TABLES = [frame("malloc", "/usr/lib/valgrind.so"), frame("_core::ffi::RawType<P>::build", OURS, "raw_type.rs")]


@pytest.mark.parametrize(
    ("kind", "stack", "counts"),
    [
        ("Leak_DefinitelyLost", [*BYTES, *RUN], True),
        ("Leak_DefinitelyLost", [*BYTES, *CALLBACK], False),  # asked for by a callback's own code
        ("Leak_DefinitelyLost", BYTES, False),
        ("Leak_DefinitelyLost", TABLES, False),  # tables of a type, which last
        ("Leak_PossiblyLost", [*BYTES, *RUN], False),
        ("Leak_StillReachable", [*BYTES, *RUN], False),
        ("UninitCondition", RUN, True),
        ("UninitCondition", CALLBACK, False),
        ("InvalidRead", RUN, True),
        ("InvalidRead", CALLBACK, True),  # the interpreter stumbles over what somebody has freed
        ("InvalidFree", BYTES, True),
        ("InvalidWrite", TABLES, True),
    ],
)
def test_which_complaints_are_about_us(tmp_path: Path, kind: str, stack: list[str], counts: bool) -> None:
    what = "<xwhat><text>9 bytes</text></xwhat>" if kind.startswith("Leak") else "<what>a read</what>"
    # The second stack says where the memory came from, which is no fault.
    elsewhere = f"<stack>{''.join(RUN)}</stack>"
    error = f"<error><kind>{kind}</kind>{what}<stack>{''.join(stack)}</stack>{elsewhere}</error>"
    report = tmp_path / "report.xml"
    report.write_text(f"<valgrindoutput><errorcounts/>{error}</valgrindoutput>")
    (complaint,) = judge.complaints(report)
    assert (complaint.kind, judge.counts(complaint)) == (kind, counts)
    assert str(complaint).startswith(kind)


def document(*kinds: str, end: bool = True) -> str:
    stack = f"<stack>{''.join(RUN)}</stack>"
    errors = "".join(f"<error><kind>{kind}</kind><what>w</what>{stack}</error>" for kind in kinds)
    return f'<?xml version="1.0"?>\n<valgrindoutput>{errors}' + ("</valgrindoutput>\n" if end else "")


def test_a_forked_child_is_judged_by_its_own_report(tmp_path: Path) -> None:
    (tmp_path / "7.xml").write_text(document("InvalidWrite", "InvalidFree"))
    (tmp_path / "8.xml").write_text(document(end=False))  # a child that became another program
    (tmp_path / "9.xml").write_text(document("InvalidRead"))
    found = [(one.kind, one.forked) for one in judge.of_program(tmp_path, 7)]
    assert found == [("InvalidWrite", False), ("InvalidFree", False), ("InvalidRead", True)]
    # One that was killed is no good news, whichever it is.
    (tmp_path / "8.xml").write_text(document("InvalidRead", end=False))
    with pytest.raises(Exception, match="no element found"):
        list(judge.of_program(tmp_path, 7))
    (tmp_path / "8.xml").unlink()
    (tmp_path / "7.xml").write_text(document(end=False))
    with pytest.raises(Exception, match="no element found"):
        list(judge.of_program(tmp_path, 7))


def test_what_a_fork_takes_from_its_threads_is_no_leak_in_the_child_alone() -> None:
    started = judge.Frame("spawn_unchecked<oneloop::wait>", OURS, "lifecycle.rs:9")
    run = judge.Frame("_core::run", OURS, "")
    for kind, stack, forked, counted in [
        ("Leak_DefinitelyLost", (started, run), True, False),
        ("Leak_DefinitelyLost", (started, run), False, True),
        ("Leak_DefinitelyLost", (run,), True, True),
        ("UninitCondition", (started, run), True, True),
        ("InvalidRead", (started, run), True, True),
    ]:
        assert judge.counts(judge.Complaint(kind, "", stack, forked)) is counted


def test_a_register_that_nobody_reads_is_no_fault() -> None:
    said = "Syscall param {}(sigsetsize) contains uninitialised byte(s)"
    assert not judge.counts(judge.Complaint("SyscallParam", said.format("epoll_pwait"), ()))
    assert judge.counts(judge.Complaint("SyscallParam", said.format("ppoll"), ()))


def test_a_report_that_is_cut_off_is_no_good_news(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text("<valgrindoutput><error>")
    with pytest.raises(Exception, match="no element found"):
        list(judge.complaints(report))
