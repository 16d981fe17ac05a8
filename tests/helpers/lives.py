# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Random lives of one connection, to be compared between asyncio's transport and ours: the same callbacks in the same
order, the same bytes waiting at the end of each callback and after each iteration, the same bytes at the peer.

A life is a list of turns: what the program does in one callback, what the peer does, what the protocol does when it is
called next. Where asyncio itself is known to fail, the life is kept from going.
"""

import contextlib
import socket
from asyncio import SelectorEventLoop, selector_events

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from helpers.compare import plain
from helpers.descriptors import none_left
from helpers.loops import run_once
from helpers.peers import connected_pair, drain
from helpers.recorder import BufferedRecorder, Recorder
from helpers.scene import scene

SEND_BUFFER = 8192
OWN_WRITELINES = "writelines" in vars(vars(selector_events)["_SelectorSocketTransport"])


def _forgets_to_pause():
    """Whether asyncio's writelines() does not look at the high-water mark, as before some patch release."""
    with scene(SelectorEventLoop, send_buffer=SEND_BUFFER) as stage:
        stage.transport.writelines([bytes(1_000_000)])
        return "pause" not in stage.protocol.names


FORGETS_TO_PAUSE = _forgets_to_pause()

SIZES = st.sampled_from([0, 1, 10, 1_000, 8_000, 20_000, 70_000, 150_000])
SMALL = st.sampled_from([1, 10, 1_000, 5_000])
MARKS = st.sampled_from([None, 0, 1, 100, 10_000, 60_000])

# What a program does with its transport in a callback.
CALLS = st.one_of(
    st.tuples(st.just("write"), SIZES),
    st.tuples(st.just("writelines"), st.lists(SMALL, max_size=4)),
    st.tuples(st.sampled_from(["pause", "resume", "write_eof", "close", "abort"])),
    st.tuples(st.just("limits"), MARKS, MARKS),
    st.tuples(st.just("protocol"), st.sampled_from(["bytes", "buffers"])),
)
# What the peer does.
PEER = st.one_of(
    st.tuples(st.just("peer writes"), SIZES),
    st.tuples(st.just("peer reads"), st.sampled_from([1, 3_000, 10_000, 1 << 30])),
    st.tuples(st.sampled_from(["peer ends", "peer closes"])),
)
# What the protocol does the next time it is called.
REACTIONS = st.tuples(
    st.just("next time"),
    st.sampled_from(["data", "eof", "pause", "resume", "lost"]),
    st.one_of(CALLS, st.just(("raise",)), st.just(("keep open",))),
)
TURNS = st.one_of(
    st.lists(CALLS, min_size=1, max_size=3).map(lambda calls: ("callback", calls)),
    PEER,
    REACTIONS,
)
# Mostly not the end at once.
LIVES = st.lists(st.tuples(TURNS, st.integers(0, 2)), max_size=30)


_NUMBERS = bytes(number % 251 for number in range(251 * 2_000))


def pattern(start, size):
    """Part of a stream in which no two near places look the same."""
    first = start % 251
    return (_NUMBERS * ((first + size) // len(_NUMBERS) + 1))[first : first + size]


class Life:
    """One run of a life on one loop; `log` is all that could be seen of it.

    The connection's kernel buffers have a set size, so that how much of a write is taken at once is the kernel's same
    answer to both loops: that is so of Unix sockets, whatever way they were connected.
    """

    # All that either side may send in its life.
    MOST = 1 << 30

    def __init__(self, factory, kind="socketpair"):
        self.kind, self.loop = kind, factory()
        self.log, self.trace, self.reports = [], [], []
        self.received = bytearray()
        self.written = self.sent_by_peer = 0
        self.reactions = {}
        self.buffer = bytearray(3_000)
        self.loop.set_exception_handler(self.report)

    def report(self, _, context):
        exception = context.get("exception")
        # In a handle's message the callback is named, which is asyncio's own method or ours.
        message = context["message"].partition(" callback ")[0]
        self.reports.append((message, f"{type(exception).__name__}: {plain(exception)}"))

    def protocol(self, kind):
        made = (BufferedRecorder if kind == "buffers" else Recorder)(kind, self.trace)
        made.buffer = self.buffer
        for callback in ("data", "eof", "pause", "resume", "lost"):
            made.on[callback] = lambda transport, callback=callback: self.called(callback)
        return made

    def called(self, callback):
        reaction = self.reactions.pop(callback, None)
        if reaction is None:
            return None
        if reaction == ("keep open",):
            return True
        if reaction == ("raise",):
            raise ValueError(callback)
        self.call(*reaction)
        self.look("in " + callback)
        return None

    def live(self, turns):
        self.ours, self.peer = connected_pair(self.kind)
        self.prepare()
        with contextlib.closing(self.loop), self.peer:
            connecting = self.loop.create_connection(lambda: self.protocol("bytes"), sock=self.ours)
            self.transport, _ = self.loop.run_until_complete(connecting)
            for turn, iterations in turns:
                self.turn(*turn)
                for _ in range(iterations):
                    self.iterate()
                    self.look("iteration")
            self.end()
        return self.log, self.reports, bytes(self.received)

    def prepare(self):
        """What the sockets need before they are used."""
        for end in (self.ours, self.peer):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def settle(self):
        """Wait until the kernel has done what it was told: of Unix sockets it does so at once."""

    def iterate(self):
        run_once(self.loop)
        self.settle()

    def turn(self, kind, *details):
        match kind:
            case "callback":
                self.loop.call_soon(self.callback, *details)
                self.iterate()
            case "next time":
                callback, reaction = details
                # In these asyncio ends the connection a second time.
                if not (callback in ("resume", "lost") and reaction[0] in ("abort", "close", "write_eof", "raise")):
                    self.reactions[callback] = reaction
            case _:
                with contextlib.suppress(BlockingIOError):
                    try:
                        self.peer_does(kind, *details)
                    except OSError as exc:
                        self.log.append((kind, type(exc).__name__))
                self.settle()
        self.look(kind)

    def peer_does(self, kind, count=0):
        match kind:
            case "peer writes":
                count = min(count, 20_000, self.MOST - self.sent_by_peer)
                self.sent_by_peer += self.peer.send(pattern(self.sent_by_peer, count))
            case "peer reads":
                self.received += drain(self.peer, count)
            case "peer ends":
                self.peer.shutdown(socket.SHUT_WR)
            case "peer closes":
                self.received += drain(self.peer)
                self.peer.close()

    def callback(self, calls):
        for call in calls:
            self.call(*call)
        self.look("callback")

    @property
    def lost(self):
        return any("lost" in entry[:2] for entry in self.trace)

    def pieces(self, *sizes):
        for wanted in sizes:
            size = min(wanted, self.MOST - self.written)
            yield pattern(self.written, size)
            self.written += size

    def call(self, name, *details):
        transport = self.transport
        try:
            match name:
                case "write":
                    transport.write(*self.pieces(*details))
                case "writelines":
                    # asyncio's own, where it has one, does not know the end.
                    if not (OWN_WRITELINES and transport.is_closing()):
                        # asyncio of some patch releases never gets rid of an empty piece.
                        transport.writelines([piece for piece in self.pieces(*details[0]) if piece])
                        if FORGETS_TO_PAUSE and isinstance(self.loop, SelectorEventLoop):
                            transport._maybe_pause_protocol()
                case "pause":
                    transport.pause_reading()
                case "resume":
                    transport.resume_reading()
                case "write_eof":
                    transport.write_eof()
                case "close":
                    transport.close()
                case "abort":
                    # After the end asyncio's fails, if data was left when it was closed.
                    if not self.lost:
                        transport.abort()
                case "limits":
                    transport.set_write_buffer_limits(*details)
                case "protocol":
                    transport.set_protocol(self.protocol(*details))
        except (ValueError, RuntimeError) as exc:
            self.log.append((name, type(exc).__name__, plain(exc)))

    def look(self, where):
        transport = self.transport
        state = transport.get_write_buffer_size(), transport.is_reading(), transport.is_closing()
        self.log.append((where, state, transport.get_write_buffer_limits(), list(self.trace)))
        self.trace.clear() if not self.lost else None

    def end(self):
        """Let the peer receive all that is left, and close."""
        self.reactions.clear()
        with contextlib.suppress(OSError):
            for _ in range(60):
                self.received += drain(self.peer)
                self.iterate()
        self.look("settled")
        if not self.lost:
            self.transport.abort()
        self.iterate()
        self.iterate()
        self.look("end")


def check(factory, turns, make=Life, **kwargs):
    """Live a life on both loops, and expect the same to be seen."""
    with none_left():
        log, reports, received = make(factory, **kwargs).live(turns)
        expected = make(SelectorEventLoop, **kwargs).live(turns)
    # The log first: it says where they part.
    for number, (entry, other) in enumerate(zip(log, expected[0], strict=False)):
        assert entry == other, f"entry {number} of {len(log)}"
    assert (log, reports, received) == expected
    lost = [entry for *_, trace in (each for each in log if len(each) == 4) for entry in trace if "lost" in entry[:2]]
    assert len(set(lost)) == 1
    # Nothing that arrives was invented, or out of its place.
    assert received == pattern(0, len(received))


PROFILE = settings(
    max_examples=250,
    deadline=None,
    database=None,
    derandomize=True,
    # A failure is made small, and that is enough: to explain it costs minutes.
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
