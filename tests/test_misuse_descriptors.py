# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Bad descriptors: closed, negative, none at all, or one that epoll refuses. asyncio's errors, and the loop goes on."""

import asyncio
import contextlib
import os
import re
import socket
import tempfile

import pytest
from helpers.compare import like_asyncio, raised
from helpers.loops import run_once
from helpers.misuse import outcome


async def coroutine_function():
    pass


class WithFileno:
    def __init__(self, answer):
        self.answer = answer

    def fileno(self):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def _closed_number():
    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    return read


def _closed_socket():
    ours, theirs = socket.socketpair()
    theirs.close()
    ours.close()
    return ours


def _closed_file():
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.close()
    return file


DESCRIPTORS = {
    "closed number": _closed_number,
    "closed socket": _closed_socket,
    "closed file": _closed_file,
    "negative": lambda: -1,
    "very negative": lambda: -(2**70),
    "too large for a descriptor": lambda: 2**31,
    "far too large": lambda: 2**70,
    "never opened": lambda: 1_000_000,
    "None": lambda: None,
    "str": lambda: "0",
    "float": lambda: 0.0,
    "object": object,
    "fileno is no method": lambda: type("Odd", (), {"fileno": 3})(),
    "fileno answers a str": lambda: WithFileno("x"),
    "fileno answers None": lambda: WithFileno(None),
    "fileno answers a negative": lambda: WithFileno(-1),
    "fileno raises ValueError": lambda: WithFileno(ValueError("no")),
    "fileno raises OSError": lambda: WithFileno(OSError(9, "no")),
    "fileno raises KeyboardInterrupt": lambda: WithFileno(KeyboardInterrupt()),
}


@pytest.mark.parametrize("method", ["add_reader", "add_writer", "remove_reader", "remove_writer"])
@pytest.mark.parametrize("descriptor", DESCRIPTORS)
def test_a_descriptor_that_is_none(loop_factory, debug, method, descriptor):
    def scenario(factory):
        results = []

        def action(loop):
            # Made here, so that the loop's own descriptors do not take a number that was just closed.
            bad = DESCRIPTORS[descriptor]()
            results.append(getattr(loop, method)(bad, *([print] if method.startswith("add") else [])))

        return outcome(factory, debug, action)["error"] or results[0]

    expected, seen = scenario(asyncio.SelectorEventLoop), scenario(loop_factory)
    if not isinstance(expected, tuple):
        assert method.startswith("remove")
        assert seen is expected is False
        return
    (kind, _), (our_kind, message) = expected, seen
    assert our_kind == kind
    # The message names the mistake: what was given, or the system's own words.
    assert kind != "ValueError" or re.search("(?i)invalid file (object|descriptor)", message)
    assert kind != "OSError" or "[Errno 9]" in message


@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
def test_a_regular_file(loop_factory, debug, method, tmp_path):
    # epoll refuses it, which is what asyncio's users see. A driver that could poll it must still refuse it.
    path = tmp_path / "file"
    path.write_bytes(b"x")

    def scenario(factory):
        with path.open("rb+") as file:
            by_object = outcome(factory, debug, lambda loop: getattr(loop, method)(file, print))
            by_number = outcome(factory, debug, lambda loop: getattr(loop, method)(file.fileno(), print))
            removed = []
            outcome(factory, debug, lambda loop: removed.append(loop.remove_reader(file)))
            return by_object, by_number, removed

    by_object, by_number, removed = like_asyncio(scenario, loop_factory)
    assert by_object["error"] == by_number["error"] == ("PermissionError", "[Errno 1] Operation not permitted")
    assert removed == [False]


def test_a_refused_descriptor_leaves_nothing_behind(loop_factory, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x")

    def scenario(factory):
        loop, seen = factory(), []
        with contextlib.ExitStack() as stack:
            ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
            theirs.send(b"x")
            with path.open("rb") as file:
                number = file.fileno()
                seen.append(raised(lambda: loop.add_reader(file, print)))
                seen.append(loop.remove_reader(file))
                seen.append(loop.remove_writer(file))
                run_once(loop)
            # The same number, now of something that can be watched.
            os.dup2(ours.fileno(), number)
            stack.callback(os.close, number)
            loop.add_reader(number, seen.append, "readable")
            run_once(loop)
            seen.append(loop.remove_reader(number))
        loop.close()
        return seen

    seen = like_asyncio(scenario, loop_factory)
    assert seen[1:] == [False, False, "readable", True]


@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
@pytest.mark.parametrize("what", [None, 42, coroutine_function], ids=["None", "int", "coroutine function"])
def test_a_watcher_that_cannot_be_called(loop_factory, debug, method, what):
    # asyncio checks nothing here, not even in debug mode: the event reports it.
    def scenario(factory):
        with contextlib.ExitStack() as stack:
            ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
            theirs.send(b"x")

            def action(loop):
                getattr(loop, method)(ours, what)
                run_once(loop)
                loop.remove_reader(ours)
                loop.remove_writer(ours)

            return outcome(factory, debug, action)

    seen = like_asyncio(scenario, loop_factory)
    assert seen["error"] is None
    assert seen["reports"] or what is coroutine_function
