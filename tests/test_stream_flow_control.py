# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Water marks: what the limits may be, how much waits after each step, and when a protocol is told to pause and resume.

All is compared with asyncio's own transport over a socket pair whose kernel buffer has a set size, so that how much of
a write the kernel takes is the same on both sides.
"""

import contextlib
import sys

import pytest
from helpers.compare import like_asyncio
from helpers.peers import drain
from helpers.recorder import Recorder
from helpers.scene import anonymous, scene

SEND_BUFFER = 8192
LARGE = 100_000

LIMITS = {
    "defaults": {},
    "both None": {"high": None, "low": None},
    "high": {"high": 1000},
    "high not divisible": {"high": 1001},
    "high of three": {"high": 3},
    "low": {"low": 1000},
    "low of zero": {"low": 0},
    "both": {"high": 2000, "low": 500},
    "equal": {"high": 500, "low": 500},
    "zero": {"high": 0},
    "both zero": {"high": 0, "low": 0},
    "low above high": {"high": 10, "low": 11},
    "low above the default": {"low": 1 << 20},
    "negative high": {"high": -1},
    "negative low": {"low": -1},
    "negative low below high": {"high": 10, "low": -1},
    "maxsize": {"high": sys.maxsize},
    "low of maxsize": {"low": sys.maxsize},
    "beyond a machine word": {"high": 2**70},
    "True": {"high": True},
    "floats": {"high": 10.5, "low": 2.5},
    "infinite": {"high": float("inf")},
    "not a number": {"high": float("nan")},
    "str": {"high": "10"},
    "low of str": {"low": "10"},
    "list": {"high": []},
}


@pytest.mark.parametrize("limits", LIMITS)
def test_limits(loop_factory, limits):
    def scenario(factory):
        with scene(factory) as stage:
            results = [stage.transport.get_write_buffer_limits()]
            result = stage.call(lambda: stage.transport.set_write_buffer_limits(**LIMITS[limits]))
            # The interpreter's own TypeErrors are no promise in their wording.
            results.append(result[0] if result and result[0] == "TypeError" else result)
            results.append(anonymous(stage.transport.get_write_buffer_limits()))
            return results

    seen = like_asyncio(scenario, loop_factory)
    assert seen[0] == (16384, 65536)
    if limits == "low above high":
        assert seen[1] == ("ValueError", "high (10) must be >= low (11) must be >= 0")


def test_limits_by_position(loop_factory):
    with scene(loop_factory) as stage:
        stage.transport.set_write_buffer_limits(100, 50)
        assert stage.transport.get_write_buffer_limits() == (50, 100)


class Steps:
    """Do something in a callback, run one more iteration, and write down all that can be seen."""

    def __init__(self, stage):
        self.stage, self.seen = stage, []

    def __call__(self, function, *args):
        stage = self.stage
        result = stage.call(lambda: (function(*args), stage.state())[1])
        between = stage.state()
        stage.step()
        self.seen.append((result, between, stage.state(), list(stage.protocol.names)))

    def read(self, count):
        """Let the peer receive this much, and give the transport the time to send more."""
        received = drain(self.stage.peer, count)
        self.stage.step(2)
        self.seen.append((len(received), self.stage.state(), list(self.stage.protocol.names)))


def traced(factory, program, protocol=None, **limits):
    with scene(factory, protocol=protocol, send_buffer=SEND_BUFFER) as stage:
        if limits:
            stage.transport.set_write_buffer_limits(**limits)
        steps = Steps(stage)
        program(steps, stage.transport)
        while stage.size():
            steps.read(1 << 20)
        return steps.seen, stage.trace, stage.reports


def paused(step, transport):
    step(transport.write, bytes(LARGE))
    step(transport.write, b"more")


def one_by_one(step, transport):
    # First the kernel's buffer is filled, exactly; then the transport's, byte by byte.
    step(transport.write, bytes(LARGE))
    waiting = step.stage.size()
    transport.set_write_buffer_limits(high=waiting + 3, low=waiting)
    for _ in range(5):
        step(transport.write, b"x")


def in_pieces(step, transport):
    step(transport.write, bytes(LARGE))
    for _ in range(40):
        step.read(3000)


def several(step, transport):
    step(transport.write, bytes(LARGE))

    def write():
        for size in (1, 100, 50_000, 7):
            transport.write(bytes(size))

    step(write)
    step.read(1 << 20)
    step(write)


def raised_while_paused(step, transport):
    step(transport.write, bytes(LARGE))
    # To raise the limits resumes nobody; the next write to the kernel does.
    step(transport.set_write_buffer_limits, 1 << 30)
    step.read(1)
    step.read(1 << 20)


def lowered_while_waiting(step, transport):
    transport.set_write_buffer_limits(high=1 << 30)
    step(transport.write, bytes(LARGE))
    step(transport.set_write_buffer_limits, 1000)
    step(transport.set_write_buffer_limits, 500)


def high_of_zero(step, transport):
    transport.set_write_buffer_limits(high=0)
    step(transport.write, b"goes at once")
    step(transport.write, bytes(LARGE))
    step(transport.write, b"")


def paused_twice(step, transport):
    for _ in range(3):
        step(transport.write, bytes(LARGE))
        step.read(1 << 20)
        step.read(1 << 20)


def closed_while_paused(step, transport):
    step(transport.write, bytes(LARGE))
    step(transport.close)
    step.read(1 << 20)


def aborted_while_paused(step, transport):
    step(transport.write, bytes(LARGE))
    step(transport.abort)


def ended_while_paused(step, transport):
    step(transport.write, bytes(LARGE))
    step(transport.write_eof)
    step.read(1 << 20)


def lost_while_paused(step, transport):
    step(transport.write, bytes(LARGE))
    step.stage.peer.close()
    step.stage.step(2)


def reading_stopped_meanwhile(step, transport):
    step(transport.write, bytes(LARGE))
    step(transport.pause_reading)
    step.stage.peer.send(b"unheard")
    step.read(1 << 20)
    step(transport.resume_reading)
    step.read(1 << 20)


PROGRAMS = [
    paused,
    one_by_one,
    in_pieces,
    several,
    raised_while_paused,
    lowered_while_waiting,
    high_of_zero,
    paused_twice,
    closed_while_paused,
    aborted_while_paused,
    ended_while_paused,
    lost_while_paused,
    reading_stopped_meanwhile,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
@pytest.mark.parametrize("limits", [{}, {"high": 20_000}, {"high": 80_000, "low": 80_000}, {"high": 1, "low": 0}])
def test_steps(loop_factory, program, limits):
    *_, trace, _ = like_asyncio(lambda factory: traced(factory, program, **limits), loop_factory)
    pauses = [entry[0] for entry in trace if entry[0] in ("pause", "resume")]
    assert pauses[0] == "pause"
    # Never two of a kind in a row.
    assert pauses[:2] != ["pause", "pause"]
    assert pauses == ["pause", "resume"] * (len(pauses) // 2) + ["pause"] * (len(pauses) % 2)


REACTIONS = {
    "writes more": lambda transport: transport.write(bytes(30_000)),
    "writes lines": lambda transport: transport.writelines([b"a", bytes(30_000)]),
    "writes nothing": lambda transport: transport.write(b""),
    "closes": lambda transport: transport.close(),
    "aborts": lambda transport: transport.abort(),
    "ends": lambda transport: transport.write_eof(),
    "raises the limits": lambda transport: transport.set_write_buffer_limits(1 << 30),
    "lowers the limits": lambda transport: transport.set_write_buffer_limits(0),
    "pauses reading": lambda transport: transport.pause_reading(),
    "changes the protocol": lambda transport: transport.set_protocol(Recorder()),
    "raises": lambda transport: 1 / 0,
    "raises OSError": lambda transport: (_ for _ in ()).throw(OSError(5, "mine")),
}


@pytest.mark.parametrize("reaction", REACTIONS)
@pytest.mark.parametrize("callback", ["pause", "resume"])
def test_what_the_protocol_does_when_told(loop_name, loop_factory, callback, reaction):
    def scenario(factory):
        protocol, asked = Recorder(), []

        def once(transport):
            if not asked:
                asked.append(True)
                return REACTIONS[reaction](transport)
            return None

        protocol.on[callback] = once
        with scene(factory, protocol=protocol, send_buffer=SEND_BUFFER) as stage:
            steps = Steps(stage)
            steps(stage.transport.write, bytes(LARGE))
            for _ in range(30):
                steps.read(20_000)
            return steps.seen, stage.trace, stage.reports

    if (callback, reaction) == ("resume", "aborts"):
        # asyncio calls connection_lost twice, and fails the second time.
        if loop_name == "oneloop":
            _, trace, reports = scenario(loop_factory)
            assert trace == [("made",), ("pause",), ("resume",), ("lost", None)]
            assert reports == []
        return
    *_, reports = like_asyncio(scenario, loop_factory)
    if reaction == "raises":
        (report,) = reports
        assert report["message"] == f"protocol.{callback}_writing() failed"
        assert set(report) == {"message", "exception", "transport", "protocol"}


@pytest.mark.parametrize("leave", [KeyboardInterrupt, SystemExit])
def test_an_exit_while_told_to_pause_leaves_the_run(loop_factory, leave):
    def scenario(factory):
        protocol = Recorder()
        protocol.on["pause"] = lambda transport: (_ for _ in ()).throw(leave())
        with scene(factory, protocol=protocol, send_buffer=SEND_BUFFER) as stage:
            stage.loop.call_soon(stage.transport.write, bytes(LARGE))
            with pytest.raises(leave):
                stage.loop.run_forever()
            before = stage.state()
            flushed = len(stage.flush())
            stage.step()
            return before, flushed, stage.trace, stage.reports

    assert like_asyncio(scenario, loop_factory)[1] == LARGE


def test_writelines_pause_as_one_write_of_them_all_does(oneloop):
    # asyncio's own writelines() forgot it from 3.12 until a later patch release.
    def told(write):
        with scene(oneloop.new_event_loop, send_buffer=SEND_BUFFER) as stage:
            steps = Steps(stage)
            steps(write, stage.transport, [bytes(LARGE), b"more"])
            steps(stage.transport.write, b"x")
            for _ in range(8):
                steps.read(50_000)
            return steps.seen, stage.trace

    lines = told(lambda transport, lines: transport.writelines(lines))
    assert lines == told(lambda transport, lines: transport.write(b"".join(lines)))
    assert lines[1] == [("made",), ("pause",), ("resume",)]


def test_drain_of_streams_waits_for_the_low_mark(loop_factory):
    import asyncio
    from asyncio import streams

    def scenario(factory):
        loop = factory()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        protocol.trace, protocol.names = [], []
        with contextlib.closing(loop), scene(lambda: loop, protocol=protocol, send_buffer=SEND_BUFFER) as stage:
            writer = streams.StreamWriter(stage.transport, protocol, reader, loop)
            writer.write(bytes(LARGE))
            draining, sizes = loop.create_task(writer.drain()), []
            while not draining.done():
                sizes.append(stage.size())
                drain(stage.peer)
                stage.step()
            return sizes

    sizes = like_asyncio(scenario, loop_factory)
    assert sizes[0] > 65536
    assert sizes[-1] <= 16384 + SEND_BUFFER
