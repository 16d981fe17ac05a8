# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""A transport and its protocol: changed in the middle of a stream, of either kind; callbacks that raise; protocols
that lack methods; the contexts in which callbacks run."""

import asyncio
import contextvars
import gc
import weakref

import pytest
from helpers.compare import like_asyncio
from helpers.loops import run_once
from helpers.peers import connected_pair, drain
from helpers.recorder import BufferedRecorder, Recorder
from helpers.scene import scene

LARGE = 100_000


@pytest.mark.parametrize("first", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("second", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("when", ["between", "inside data", "inside made", "paused"])
def test_a_changed_protocol_gets_what_comes_next(loop_factory, first, second, when):
    def scenario(factory):
        trace = []
        later = second("later", trace)
        protocol = first("first", trace)
        change = lambda transport: transport.set_protocol(later)  # noqa: E731
        if when.startswith("inside"):
            protocol.on[when.removeprefix("inside ")] = change
        with scene(factory, protocol=protocol) as stage:
            stage.peer.send(b"one")
            if when == "paused":
                stage.transport.pause_reading()
                change(stage.transport)
                stage.transport.resume_reading()
            stage.step()
            if when == "between":
                assert stage.transport.get_protocol() is protocol
                change(stage.transport)
            assert stage.transport.get_protocol() is later
            stage.peer.send(b"two")
            stage.step()
            stage.peer.close()
            stage.step(3)
            return list(trace)

    trace = like_asyncio(scenario, loop_factory)
    # connection_made is called once, and not for the later one.
    assert [entry for entry in trace if "made" in entry] == [("first", "made")]
    assert trace[-3:] == [("later", "data", trace[-3][2]), ("later", "eof"), ("later", "lost", None)]
    assert b"".join(entry[2] for entry in trace if "data" in entry) == b"onetwo"


def test_a_changed_protocol_is_told_to_resume(loop_factory):
    def scenario(factory):
        trace = []
        with scene(factory, protocol=Recorder("first", trace), send_buffer=8192) as stage:
            stage.call(stage.transport.write, bytes(LARGE))
            stage.call(stage.transport.set_protocol, Recorder("later", trace))
            stage.flush()
            stage.step()
            return list(trace)

    assert like_asyncio(scenario, loop_factory) == [("first", "made"), ("first", "pause"), ("later", "resume")]


def test_changed_after_the_end(loop_factory):
    def scenario(factory):
        trace = []
        with scene(factory, protocol=Recorder("first", trace)) as stage:
            stage.call(stage.transport.close)
            # The call is on its way, to whoever is the protocol then.
            stage.call(stage.transport.set_protocol, Recorder("later", trace))
            stage.step()
            return list(trace), stage.transport.get_protocol() is None

    like_asyncio(scenario, loop_factory)


def test_the_protocol_is_let_go_at_the_end(loop):
    ours, peer = connected_pair("socketpair")
    with peer:
        transport, protocol = loop.run_until_complete(loop.create_connection(Recorder, sock=ours))
        protocol, trace = weakref.ref(protocol), protocol.trace
        assert protocol() is transport.get_protocol()
        transport.close()
        run_once(loop)
        gc.collect()
        assert trace == [("made",), ("lost", None)]
        assert transport.get_protocol() is protocol() is None


class Bare:
    """Not even a Protocol: asyncio calls what it needs, and finds out then."""

    def __init__(self):
        self.trace = []

    names = property(lambda self: [entry[0] for entry in self.trace])

    def connection_made(self, transport):
        self.trace.append(("made",))

    def connection_lost(self, exc):
        self.trace.append(("lost", type(exc).__name__))


@pytest.mark.parametrize("what", ["data", "eof", "pause"])
def test_a_protocol_without_the_method(loop_factory, what):
    def scenario(factory):
        with scene(factory, protocol=Bare(), send_buffer=8192) as stage:
            if what == "data":
                stage.peer.send(b"x")
            elif what == "eof":
                stage.peer.close()
            else:
                stage.call(stage.transport.write, bytes(LARGE))
                stage.flush()
            stage.step(3)
            return stage.trace, stage.reports, stage.transport.is_closing()

    _, reports, closing = like_asyncio(scenario, loop_factory)
    assert closing is (what != "pause")
    assert "AttributeError" in reports[0]["exception"]


def test_changed_to_something_that_is_no_protocol(loop_factory):
    def scenario(factory):
        with scene(factory) as stage:
            results = [stage.call(stage.transport.set_protocol, wrong) for wrong in (None, 3, object())]
            stage.peer.send(b"x")
            stage.step(3)
            messages = [report["message"].partition(" callback ")[0] for report in stage.reports]
            return results, messages, stage.transport.is_closing()

    like_asyncio(scenario, loop_factory)


FAILURES = {
    "an error": lambda: ValueError("mine"),
    "a system's error": lambda: OSError(5, "mine"),
    "a broken pipe": lambda: BrokenPipeError(),
    "a cancellation": lambda: asyncio.CancelledError("mine"),
    "a group": lambda: BaseExceptionGroup("mine", [ValueError(1)]),
    "StopIteration": lambda: StopIteration(3),
}

# What brings the transport to the callback.
PROVOKED = {
    "made": lambda stage: None,
    "data": lambda stage: stage.peer.send(b"x"),
    "eof": lambda stage: stage.peer.shutdown(1),
    "lost": lambda stage: stage.transport.close(),
    "pause": lambda stage: stage.transport.write(bytes(LARGE)),
    "resume": lambda stage: (stage.transport.write(bytes(LARGE)), stage.flush()),
    "get_buffer": lambda stage: stage.peer.send(b"x"),
    "updated": lambda stage: stage.peer.send(b"x"),
}

FATAL = {
    "data": "Fatal error: protocol.data_received() call failed.",
    "eof": "Fatal error: protocol.eof_received() call failed.",
    "get_buffer": "Fatal error: protocol.get_buffer() call failed.",
    "updated": "Fatal error: protocol.buffer_updated() call failed.",
}


def failing(callback, failure):
    def fail(transport):
        raise FAILURES[failure]()

    buffered = callback in ("get_buffer", "updated")
    return (BufferedRecorder if buffered else Recorder)(**{"data" if callback == "updated" else callback: fail})


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("callback", PROVOKED)
def test_a_callback_that_raises(loop_factory, callback, failure):
    def scenario(factory):
        with scene(factory, protocol=failing(callback, failure), send_buffer=8192) as stage:
            PROVOKED[callback](stage)
            stage.step(3)
            for report in stage.reports:
                if report["message"].startswith("Exception in callback"):
                    # Its words and its handle name the function inside asyncio that called the protocol.
                    report["message"] = "Exception in callback"
                    report["handle"] = "handle"
                    # Ours says whose it was.
                    report.pop("transport", None)
            return stage.trace, stage.reports, stage.state()

    trace, reports, state = like_asyncio(scenario, loop_factory)
    if callback in FATAL:
        assert trace[-1][0] == "lost"
        assert trace[-1][1].startswith(type(FAILURES[failure]()).__name__)
        assert state == (0, False, True)
        if isinstance(FAILURES[failure](), OSError):
            # It is taken for the connection's own, which nobody needs to hear about.
            assert reports == []
        else:
            assert [report["message"] for report in reports] == [FATAL[callback]]
            assert set(reports[0]) == {"message", "exception", "transport", "protocol"}
    elif callback != "lost":
        assert state[1:] == (True, False)
    else:
        assert trace == [("made",), ("lost", None)]


@pytest.mark.parametrize("leave", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("callback", [name for name in PROVOKED if name != "made"])
def test_an_exit_from_a_callback_ends_the_run_and_not_the_connection(loop_factory, callback, leave):
    def scenario(factory):
        protocol = failing(callback, "an error")

        def exit_once(transport):
            protocol.on.clear()
            raise leave

        protocol.on[next(iter(protocol.on))] = exit_once
        with scene(factory, protocol=protocol, send_buffer=8192) as stage:

            def provoke():
                PROVOKED[callback](stage)
                stage.step(3)

            with pytest.raises(leave):
                provoke()
            stage.step()
            seen = stage.state()[1:], stage.reports, list(stage.trace)
            if callback not in ("lost", "eof"):
                stage.peer.send(b"goes on")
                stage.step(2)
            return seen, stage.trace, stage.reports

    like_asyncio(scenario, loop_factory)


def test_connection_made_that_raises_does_not_fail_the_connection(loop_factory):
    with scene(loop_factory, protocol=failing("made", "an error")) as stage:
        assert stage.state() == (0, True, False)
        (report,) = stage.reports
        assert set(report) == {"message", "exception", "handle"}
        assert report["message"].startswith("Exception in callback _Records.connection_made(")
        stage.protocol.on.clear()
        stage.peer.send(b"x")
        stage.step()
        assert stage.protocol.data == b"x"


VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


class Contexts(Recorder):
    """Writes down what each callback sees, and leaves its own name in its context."""

    def note(self, what, *details):
        self.trace.append((what, VARIABLE.get()))
        VARIABLE.set(what)
        return self.on[what](self.transport) if what in self.on else None


def within(value, function, *args):
    context = contextvars.copy_context()
    context.run(VARIABLE.set, value)
    return context.run(function, *args)


def reads(stage):
    for _ in range(2):
        stage.peer.send(b"x")
        stage.step()
    within("pauser", stage.transport.pause_reading)
    within("resumer", stage.transport.resume_reading)
    for _ in range(2):
        stage.peer.send(b"x")
        stage.step()
    stage.peer.close()
    stage.step(2)


def pauses(stage):
    within("writer", stage.transport.write, bytes(LARGE))
    within("other writer", stage.transport.write, bytes(LARGE))
    stage.flush()
    stage.step()
    within("third writer", stage.transport.write, bytes(LARGE))
    stage.flush()
    within("closer", stage.transport.close)
    stage.step()


def closes_with_data_left(stage):
    within("writer", stage.transport.write, bytes(LARGE))
    within("closer", stage.transport.close)
    while "lost" not in stage.protocol.names:
        drain(stage.peer)
        stage.step()


def aborts(stage):
    within("aborter", stage.transport.abort)
    stage.step()


def fails(stage):
    stage.protocol.on["data"] = lambda transport: 1 / 0
    stage.peer.send(b"x")
    stage.step(2)


@pytest.mark.parametrize("program", [reads, pauses, closes_with_data_left, aborts, fails], ids=lambda p: p.__name__)
def test_contexts(loop_factory, program):
    def scenario(factory):
        with scene(factory, protocol=Contexts(), send_buffer=8192) as stage:
            program(stage)
            return stage.trace

    context = contextvars.copy_context()
    context.run(VARIABLE.set, "test")
    trace = context.run(like_asyncio, scenario, loop_factory)
    assert trace[0] == ("made", "test")
    assert trace[-1][0] == "lost"
