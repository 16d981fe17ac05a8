"""Have the kernel refuse system calls in this process, for good, as sandboxes and old kernels do.

For programs of their own (`children`): a filter cannot be taken back, and what the process starts inherits it.
"""

from __future__ import annotations

import ctypes
import os

# Their numbers on x86-64 and on the other machines, which share theirs. `None`: the machine has no such call.
NUMBERS: dict[str, tuple[int, int | None]] = {
    "accept4": (288, 242),
    "clone": (56, 220),
    "clone3": (435, 435),
    "epoll_create1": (291, 20),
    "epoll_pwait2": (441, 441),
    "eventfd2": (290, 19),
    "fork": (57, None),
    "getrandom": (318, 278),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pipe2": (293, 59),
    "recvmmsg": (299, 243),
    "sendfile": (40, 71),
    "sendmmsg": (307, 269),
    "statx": (332, 291),
    "timerfd_create": (283, 85),
    "vfork": (58, None),
    "waitid": (247, 95),
    "writev": (20, 66),
}

_CLONE_VM = 0x100
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _FIRST_ARGUMENT = 0, 16
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2


class _Statement(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]


class _Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.POINTER(_Statement))]


def _number(name: str) -> int | None:
    return NUMBERS[name][0 if os.uname().machine == "x86_64" else 1]


def refuse(error: int, *names: str) -> None:
    """From now on these calls fail with this error."""
    numbers = [number for number in map(_number, names) if number is not None]
    checks = [_Statement(_IF_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    _install([_Statement(_LOAD, 0, 0, _NUMBER), *checks, _returns(_ALLOW), _returns(_ERRNO | error)])


def refuse_copies_of_memory(error: int) -> None:
    """From now on a child process shares its parent's memory until it runs another program (vfork), or is refused."""
    fork = _number("fork")
    if fork is not None:
        refuse(error, "fork")
    clone = _number("clone")
    assert clone is not None
    _install(
        [
            _Statement(_LOAD, 0, 0, _NUMBER),
            _Statement(_IF_EQUAL, 0, 2, clone),
            _Statement(_LOAD, 0, 0, _FIRST_ARGUMENT),
            _Statement(_IF_ANY_BIT, 0, 1, _CLONE_VM),
            _returns(_ALLOW),
            _returns(_ERRNO | error),
        ]
    )


def _returns(verdict: int) -> _Statement:
    return _Statement(_RETURN, 0, 0, verdict)


def _install(statements: list[_Statement]) -> None:
    program = _Program(len(statements), (_Statement * len(statements))(*statements))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
