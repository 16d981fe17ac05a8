# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""How the transports of pipes end: by either side, in any order, with or without something left; by a callback that
raises; or because nobody closed them.
"""

import logging
import os

import pytest
from helpers.compare import like_asyncio, logged
from helpers.descriptors import found_unclosed, none_left
from helpers.loops import goes_on
from helpers.pipes import LARGE, pipe, piped
from helpers.recorder import Recorder

CLOSERS = {
    "close": lambda stage: stage.transport.close(),
    "close twice": lambda stage: (stage.transport.close(), stage.transport.close()),
    "the peer closes": lambda stage: stage.theirs.close(),
    "closes and the peer closes": lambda stage: (stage.transport.close(), stage.theirs.close()),
    "the peer closes and close": lambda stage: (stage.theirs.close(), stage.transport.close()),
}
WRITERS = {
    "abort": lambda stage: stage.transport.abort(),
    "write_eof": lambda stage: stage.transport.write_eof(),
    "write_eof and close": lambda stage: (stage.transport.write_eof(), stage.transport.close()),
    "close and abort": lambda stage: (stage.transport.close(), stage.transport.abort()),
    "the peer closes and write": lambda stage: (stage.theirs.close(), stage.transport.write(b"x")),
    "the peer closes and two writes": lambda stage: (
        stage.theirs.close(),
        stage.transport.write(b"x"),
        stage.transport.write(b"y"),
    ),
}


@pytest.mark.parametrize("unsent", [0, LARGE])
@pytest.mark.parametrize("how", [*CLOSERS, *WRITERS])
@pytest.mark.parametrize("end", ["pipe", "socket"])
def test_ends_of_writing(loop_name, loop_factory, end, how, unsent):
    def scenario(factory):
        with none_left(), piped(factory, "write", end) as stage, logged(logging.WARNING) as lines:
            seen = []

            def look():
                transport = stage.transport
                seen.append((transport.is_closing(), transport.get_write_buffer_size(), stage.trace))

            stage.transport.write(bytes(unsent))
            look()
            {**CLOSERS, **WRITERS}[how](stage)
            look()
            for _ in range(4):
                stage.step()
                look()
            for _ in range(8):
                stage.transport.write(b"late")
                look()
            if not stage.theirs.closed if end == "pipe" else stage.theirs.fileno() >= 0:
                for _ in range(12):
                    stage.drain()
                    stage.step()
                    look()
            return seen, lines, stage.reports, stage.trace

    if how == "close and abort" and not unsent:
        # asyncio calls connection_lost twice, and fails the second time.
        if loop_name == "asyncio":
            return
        _, _, reports, trace = scenario(loop_factory)
    else:
        _, _, reports, trace = like_asyncio(scenario, loop_factory)
    assert trace.count(("made",)) == trace.count(trace[-1]) == 1
    assert trace[-1][0] == "lost"
    assert reports == []


@pytest.mark.parametrize("how", CLOSERS)
@pytest.mark.parametrize("left", [b"", b"left"])
@pytest.mark.parametrize("paused", [False, True])
def test_ends_of_reading(loop_factory, how, left, paused):
    def scenario(factory):
        with none_left(), piped(factory, "read") as stage:
            seen = []
            if paused:
                stage.transport.pause_reading()
            os.write(stage.theirs.fileno(), left)
            CLOSERS[how](stage)
            for _ in range(4):
                seen.append((stage.transport.is_closing(), stage.transport.is_reading(), stage.trace))
                stage.step()
            stage.transport.resume_reading()
            stage.step(4)
            return seen, stage.reports, stage.trace

    *_, trace = like_asyncio(scenario, loop_factory)
    assert [entry[0] for entry in trace].count("lost") == 1


@pytest.mark.parametrize("callback", ["made", "data", "eof", "lost"])
@pytest.mark.parametrize("error", [ValueError("mine"), OSError(5, "mine")], ids=repr)
def test_callbacks_of_reading_that_raise(loop_factory, callback, error):
    def scenario(factory):
        def fail(transport):
            raise error

        with none_left(), piped(factory, "read", protocol=Recorder(**{callback: fail})) as stage:
            os.write(stage.theirs.fileno(), b"x")
            stage.step(2)
            stage.theirs.close()
            stage.step(4)
            return stage.trace, [(report["message"][:21], sorted(report)) for report in stage.reports]

    trace, reports = like_asyncio(scenario, loop_factory)
    assert trace[-1] == ("lost", None)
    assert len(reports) == 1


@pytest.mark.parametrize("direction", ["read", "write"])
def test_a_transport_that_nobody_closed(loop_factory, direction):
    with none_left():
        loop = loop_factory()
        reader, writer = pipe()
        end = writer if direction == "write" else reader
        other = reader if direction == "write" else writer
        with other:
            transport, protocol = loop.run_until_complete(getattr(loop, f"connect_{direction}_pipe")(Recorder, end))
            if direction == "read":
                transport.pause_reading()
            else:
                # It is watched for the end of its reader, and so the loop keeps it.
                loop.close()
            with found_unclosed() as messages:
                del transport, protocol, reader, writer, end
        assert [message for message in messages if message.startswith("unclosed transport <")]
        if not loop.is_closed():
            goes_on(loop)
            loop.close()
