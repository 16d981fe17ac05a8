# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs, disallow-untyped-decorators=False
"""Random lives of one TLS connection, the same on asyncio's transport and on ours: the same callbacks in the same order
with the same bytes, the same state after each turn, the same bytes and the same goodbye at the peer.

A life is a list of turns: what the program does in one callback, what the peer does, what the protocol does when it is
called next. After each turn both sides go on until all is quiet: how many iterations something takes is not compared.
The kernel takes all that is written in a turn, since asyncio encrypts at once what ours keeps until it can be sent;
lives in which it does not are judged by what arrives. Where asyncio itself is known to fail, the life is kept from
going.
"""

import contextlib
import socket
import ssl
from asyncio import SelectorEventLoop

import pytest
from helpers.descriptors import none_left
from helpers.loops import run_once
from helpers.peers import connected_pair
from helpers.recorder import Recorder
from helpers.scene import until
from helpers.tls import SIDES, Peer, buffered, client_context, same, server_context, start
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

# In all that a callback can write, less than what the kernel takes.
SIZES = st.sampled_from([0, 1, 100, 16_384, 16_385, 40_000])
# At a mark of nothing asyncio is full when it is empty.
MARKS = st.sampled_from([None, 1, 10_000, 600_000])

# What a program does with its transport in a callback.
CALLS = st.one_of(
    st.tuples(st.just("write"), SIZES),
    st.tuples(st.just("writelines"), st.lists(st.sampled_from([0, 1, 10, 5_000]), max_size=4)),
    st.tuples(st.sampled_from(["pause", "resume", "write_eof", "close", "abort"])),
    st.tuples(st.just("write limits"), MARKS, MARKS),
    st.tuples(st.just("read limits"), MARKS, MARKS),
    st.tuples(st.just("protocol"), st.sampled_from(["bytes", "buffers"])),
)
# What the peer does.
PEER = st.one_of(
    st.tuples(st.just("peer writes"), SIZES),
    st.tuples(st.sampled_from(["peer says goodbye", "peer ends", "peer closes", "peer writes nonsense"])),
)
# What the protocol does the next time it is called.
REACTIONS = st.tuples(
    st.just("next time"),
    st.sampled_from(["data", "eof", "lost"]),
    st.one_of(CALLS, st.just(("raise",)), st.just(("keep open",))),
)
TURNS = st.one_of(
    st.lists(CALLS, min_size=1, max_size=3).map(lambda calls: ("callback", calls)),
    PEER,
    REACTIONS,
)
LIVES = st.lists(TURNS, max_size=20)

CONTEXTS = {"client": client_context(), "server": server_context()}
QUIET = 8


def pattern(start, size):
    """Part of a stream in which no two near places look the same."""
    first = start % 251
    return (_NUMBERS * ((first + size) // len(_NUMBERS) + 1))[first : first + size]


_NUMBERS = bytes(number % 251 for number in range(251 * 200))


class Life:
    """One run of a life on one loop; `log` is all that could be seen of it."""

    send_buffer = 1 << 20

    def __init__(self, factory, side):
        self.loop, self.side = factory(), side
        self.log, self.trace, self.known, self.reports = [], [], [], []
        self.written = self.sent_by_peer = 0
        self.goodbye = self.gone = self.closed = False
        self.reactions = {}
        self.loop.set_exception_handler(self.report)

    def report(self, _, context):
        exception = context.get("exception")
        message = context["message"].partition(" callback ")[0]
        self.reports.append((same(message), f"{type(exception).__name__}: {same(exception)}"))

    def protocol(self, kind):
        made = buffered() if kind == "buffers" else Recorder()
        made.name, made.trace = kind, self.trace
        for callback in ("data", "eof", "lost"):
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
        return None

    def live(self, turns):
        ours, theirs = connected_pair("socketpair")
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.send_buffer)
        other = "server" if self.side == "client" else "client"
        self.peer = Peer(theirs, CONTEXTS[other], other)
        with contextlib.closing(self.loop), theirs:
            starting = start(self.loop, ours, self.side, CONTEXTS[self.side], self.protocol("bytes"))
            until(self.loop, lambda: self.peer.handshake() and starting.done())
            self.transport, _ = starting.result()
            self.settle("made")
            for turn in turns:
                self.turn(*turn)
                self.settle(turn[0])
            self.end()
        return self.log, self.reports, bytes(self.peer.data)

    def turn(self, kind, *details):
        match kind:
            case "callback":
                self.loop.call_soon(lambda: [self.call(*call) for call in details[0]])
            case "next time":
                callback, reaction = details
                self.reactions[callback] = reaction
            case _ if not self.gone:
                with contextlib.suppress(OSError):
                    self.peer_does(kind, *details)

    def peer_does(self, kind, size=0):
        match kind:
            case "peer writes" if not self.goodbye and not self.peer.outgoing.pending:
                self.peer.write(pattern(self.sent_by_peer, size))
                self.sent_by_peer += size
            case "peer says goodbye":
                self.goodbye = True
                self.peer.unwrap()
            case "peer ends":
                self.goodbye = True
                self.peer.sock.shutdown(socket.SHUT_WR)
            case "peer closes":
                self.gone = True
                self.peer._receive()
                self.peer.sock.close()
                self.peer.ended = True
            case "peer writes nonsense" if not self.goodbye:
                self.peer.sock.send(b"nonsense")

    @property
    def lost(self):
        return any("lost" in entry[:2] for entry in (*self.known, *self.trace))

    def pieces(self, *sizes):
        for size in sizes:
            yield pattern(self.written, size)
            self.written += size

    def call(self, name, *details):
        # asyncio's transport forgets its connection when it is closed again, and its protocol when that is lost; then
        # most of its methods fail. What ours do is in test_tls_ends.
        if self.lost or (name == "close" and self.closed):
            return
        transport = self.transport
        self.closed = self.closed or name in ("close", "abort")
        try:
            match name:
                case "write":
                    transport.write(*self.pieces(*details))
                case "writelines":
                    transport.writelines(list(self.pieces(*details[0])))
                case "pause":
                    transport.pause_reading()
                case "resume":
                    transport.resume_reading()
                case "write_eof":
                    transport.write_eof()
                case "close":
                    transport.close()
                case "abort":
                    transport.abort()
                case "write limits":
                    transport.set_write_buffer_limits(*details)
                case "read limits":
                    transport.set_read_buffer_limits(*details)
                case "protocol":
                    transport.set_protocol(self.protocol(*details))
        except Exception as exc:
            self.log.append((name, type(exc).__name__, same(exc)))

    def settle(self, where):
        for _ in range(QUIET):
            run_once(self.loop)
            if not self.gone:
                with contextlib.suppress(ssl.SSLError):
                    self.peer.read()
        transport, peer = self.transport, self.peer
        state = self.lost or transport.is_reading(), transport.is_closing(), peer.told_end, peer.ended
        self.log.append((where, state, [self.seen(entry) for entry in self.trace], bytes(peer.data)))
        self.known += self.trace
        self.trace.clear()

    @staticmethod
    def seen(entry):
        return tuple(same(part) if isinstance(part, str) else part for part in entry)

    def end(self):
        """Let the peer receive all that is left and answer, and close."""
        self.reactions.clear()
        for _ in range(40):
            if not self.gone:
                self.peer.go_along()
            run_once(self.loop)
        self.settle("settled")
        self.call("abort")
        self.settle("end")


def check(factory, side, turns):
    with none_left():
        log, reports, received = Life(factory, side).live(turns)
        expected = Life(SelectorEventLoop, side).live(turns)
    # The log first: it says where they part.
    for number, (entry, other) in enumerate(zip(log, expected[0], strict=False)):
        assert entry == other, f"entry {number} of {len(log)}"
    assert (log, reports, received) == expected
    # Nothing that arrives was invented, or out of its place.
    assert received == pattern(0, len(received))


PROFILE = settings(
    max_examples=100,
    deadline=None,
    database=None,
    derandomize=True,
    # A failure is made small, and that is enough: to explain it costs minutes.
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@PROFILE
@given(st.sampled_from(SIDES), LIVES)
@example("client", [("callback", [("write", 40_000), ("close",)]), ("peer says goodbye",)])
def test_lives(loop_factory, side, turns):
    check(loop_factory, side, turns)


class LongLife(Life):
    """A life without ends over a connection that takes little at once: all that was written arrives, both ways."""

    send_buffer = 8192

    def arrived(self):
        self.peer.read()
        self.peer._send()
        ours = sum(len(entry[-1]) for entry in (*self.known, *self.trace) if "data" in entry[:2])
        return len(self.peer.data) == self.written and ours == self.sent_by_peer

    def end(self):
        self.transport.resume_reading()
        until(self.loop, self.arrived)
        self.settle("settled")
        self.call("close")
        until(self.loop, lambda: (self.peer.go_along(), self.lost)[1])


MIDDLE = st.one_of(
    CALLS.filter(lambda call: call[0] not in ("close", "abort")).map(lambda call: ("callback", [call])),
    st.sampled_from([70_000, 300_000]).map(lambda size: ("callback", [("write", size)])),
    st.tuples(st.just("peer writes"), st.one_of(SIZES, st.just(200_000))),
)


@PROFILE
@given(st.sampled_from(SIDES), st.lists(MIDDLE, min_size=5, max_size=30))
def test_long_lives(loop_factory, side, turns):
    with none_left():
        life = LongLife(loop_factory, side)
        _, reports, received = life.live(turns)
    assert reports == []
    assert received == pattern(0, life.written)
    trace = life.known + life.trace
    assert b"".join(entry[-1] for entry in trace if entry[1] == "data") == pattern(0, life.sent_by_peer)
    told = [entry[1] for entry in trace if entry[1] in ("pause", "resume")]
    assert told == ["pause", "resume"] * (len(told) // 2)
    others = [entry[1] for entry in trace if entry[1] not in ("pause", "resume", "data")]
    assert others in (["made", "lost"], ["made", "eof", "lost"])


def test_a_life_sees_a_difference(loop_factory):
    # The comparison itself must be able to fail.
    def different():
        loop = loop_factory()
        made = loop.create_connection

        async def create_connection(*args, **kwargs):
            transport, protocol = await made(*args, **kwargs)
            transport.pause_reading()
            return transport, protocol

        loop.create_connection = create_connection
        return loop

    with pytest.raises(AssertionError, match="entry 0"):
        check(different, "client", [])
