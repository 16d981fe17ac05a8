"""What the gates read and compare. The counting itself takes minutes: `make gates`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benches.gates import record, rows, syscalls
from benches.suite.group import NoFigure

TRACE = """\
SYSCALL[7,1]( 12) sys_brk ( 0x0 ) --> [pre-success] Success(0x4000000)
SYSCALL[7,1](121) sys_getpgid ( 0 )[sync] --> Success(0x7)
SYSCALL[7,1](  9) sys_mmap ( 0x0, 4096, 3, 34, -1, 0 ) --> [pre-success] Success(0x5000)
SYSCALL[7,1](232) sys_epoll_wait ( 4, 0x5, 256, -1 )[async] ...
SYSCALL[7,2](  1) sys_write ( 5, 0x1, 8 )[async] --> [async] Success(0x8)
SYSCALL[7,1](121) sys_getpgid ( 0 )[sync] --> Success(0x7)
SYSCALL[7,1](  1) sys_write ( 1, 0x1, 8 )[async] --> [async] Success(0x8)
SYSCALL[7,1](121) sys_getpgid ( 0 )[sync] --> Success(0x7)
SYSCALL[7,1](202) sys_futex ( 0x1, 128, 2, 0x0, 0x0 )[async] ...
SYSCALL[7,1](232) sys_epoll_wait ( 4, 0x5, 256, -1 )[async] ...
SYSCALL[7,1](232) sys_epoll_wait ( 4, 0x5, 256, -1 )[async] --> [async] Success(0x1)
SYSCALL[7,1](121) sys_getpgid ( 0 )[sync] --> Success(0x7)
"""


def test_a_trace_is_cut_at_its_marks_and_only_what_counts_is_counted() -> None:
    short, long = syscalls.between_marks(TRACE.splitlines())
    assert short == Counter(epoll_wait=1, write=1)
    assert long == Counter(epoll_wait=2)


def test_a_trace_without_its_marks_is_no_count() -> None:
    with pytest.raises(NoFigure, match="3 marks"):
        syscalls.between_marks(TRACE.splitlines()[:-1])


def test_a_change_names_the_row_before_and_after() -> None:
    before = {"chain": 1000.0, "sleep0": 500.0, "gone": 1.0}
    assert record.changed(before, {"chain": 1019.0, "sleep0": 490.0}) == []
    after = {"chain": 1021.0, "sleep0": 480.0, "new": 7.0}
    assert record.changed(before, after) == [
        "chain: 1,000.0 -> 1,021.0 instructions (+2.1%)",
        "sleep0: 500.0 -> 480.0 instructions (-4.0%)",
        "new: no record -> 7.0 instructions",
    ]
    assert record.changed(before, {"chain": 1006.0}, record.REPEATABLE) != []


def test_a_system_call_more_is_a_change_however_small() -> None:
    before = {"protocol": {"recvfrom": 2.0, "sendto": 2.0}, "chain": dict[str, float]()}
    assert record.changed_calls(before, {"protocol": {"sendto": 2.0, "recvfrom": 2.0}, "chain": {}}) == []
    after = {"protocol": {"recvfrom": 2.005, "sendto": 2.0}, "chain": {"epoll_wait": 1.0}, "new": dict[str, float]()}
    assert record.changed_calls(before, after) == [
        "protocol: 2 recvfrom, 2 sendto -> 2.005 recvfrom, 2 sendto",
        "chain: no system call -> 1 epoll_wait",
        "new: no record -> no system call",
    ]


def test_recording_keeps_what_other_builds_and_rows_have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(record, "FILE", tmp_path / "figures.json")
    assert record.of_this_build() is None
    record.write(record.written({"chain": 1000.04}, {"chain": {}}))
    other = record.read()
    other["instructions"]["another"] = {"build": {}, "rows": {"chain": 5.0}}
    record.write(other)
    record.write(record.written({"sleep0": 500.0}, {"protocol": {"sendto": 2.0}}))
    assert record.of_this_build() == {"chain": 1000.0, "sleep0": 500.0}
    assert record.read()["instructions"]["another"]["rows"] == {"chain": 5.0}
    assert record.read()["syscalls"] == {"chain": {}, "protocol": {"sendto": 2.0}}


def test_builds_have_names_of_their_own() -> None:
    described = record.build()
    names = {record.name_of({**described, key: "something else"}) for key in described}
    assert len(names | {record.name_of(described)}) == len(described) + 1


def test_the_record_is_of_the_rows_that_there_are() -> None:
    recorded = record.read()  # nothing, or all of it
    assert set(recorded["syscalls"]) in (set(), set(rows.SYSCALLS))
    for name, build in recorded["instructions"].items():
        assert record.name_of(build["build"]) == name
        assert set(build["rows"]) == set(rows.INSTRUCTIONS)
