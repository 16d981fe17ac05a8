# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs, disallow-untyped-decorators=False
"""Random lives of a connection over TCP (see `helpers.lives`).

How much of a write TCP takes at once depends on its windows and on when it was acknowledged, so two runs can be
compared only as long as everything fits; then ends, resets and what is read are the same on both loops. What happens
when it does not fit is held against the rules of flow control instead, on each loop by itself.
"""

import contextlib
import socket
import time

from helpers.descriptors import none_left
from helpers.lives import LIVES, PROFILE, Life, check, pattern
from helpers.loops import run_once
from helpers.peers import connected_pair, drain
from helpers.recorder import BufferedRecorder, Recorder
from hypothesis import example, given, settings
from hypothesis import strategies as st

KINDS = st.sampled_from(["tcp", "tcp6"])

ESTABLISHED, FIN_WAITS, CLOSED = 1, (4, 5), 7


class Info:
    """What the kernel knows of a TCP socket: fields of its `struct tcp_info`, by their places."""

    def __init__(self, end):
        data = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 216)
        assert len(data) == 216

        def number(place, size):
            return int.from_bytes(data[place : place + size], "little")

        self.state = data[0]
        self.received = number(128, 8)  # in order; an end counts one
        self.unsent = number(144, 4)
        self.sent = number(200, 8) - number(208, 8)  # without what was sent again


class TCPLife(Life):
    """A life in which all that is sent fits into the windows that a connection begins with."""

    MOST = 50_000

    def prepare(self):
        for end in (self.ours, self.peer):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer_has_ended, self.sent_when_peer_closed = False, None

    def settle(self):
        deadline = time.monotonic() + 5
        while not self.has_arrived():
            assert time.monotonic() < deadline, "the kernel did not deliver"
            time.sleep(0)

    def has_arrived(self):
        """Whether each side's kernel has what the other side has sent, and knows how the other side ended."""
        ours, peer = (Info(end) if end.fileno() >= 0 else None for end in (self.ours, self.peer))
        return self.we_know(ours, peer) and self.peer_knows(ours, peer)

    def we_know(self, ours, peer):
        if ours is None or ours.state == CLOSED:
            return True
        if peer is None and ours.sent > self.sent_when_peer_closed:
            return False  # what nobody is there to receive is answered by a reset
        if self.peer_has_ended and ours.state in (ESTABLISHED, *FIN_WAITS):
            return False
        return ours.received >= self.sent_by_peer

    def peer_knows(self, ours, peer):
        if peer is None or peer.state == CLOSED:
            return True
        if ours is None:
            return peer.state not in (ESTABLISHED, *FIN_WAITS)
        return ours.state == CLOSED or (ours.unsent == 0 and peer.received >= ours.sent)

    def peer_does(self, kind, count=0):
        sent = Info(self.ours).sent if self.ours.fileno() >= 0 else 0
        super().peer_does(kind, count)
        if kind in ("peer ends", "peer closes"):
            self.peer_has_ended = True
        if kind == "peer closes" and self.sent_when_peer_closed is None:
            self.sent_when_peer_closed = sent


@PROFILE
@given(KINDS, LIVES)
@example("tcp", [(("callback", [("write", 8_000), ("close",)]), 1), (("peer reads", 1 << 30), 2)])
@example("tcp", [(("peer closes",), 0), (("callback", [("write", 10)]), 0), (("callback", [("write", 10)]), 2)])
@example("tcp", [(("peer writes", 10), 0), (("callback", [("abort",)]), 2), (("peer writes", 10), 1)])
def test_lives(loop_factory, kind, turns):
    check(loop_factory, turns, make=TCPLife, kind=kind)


WRITES = st.sampled_from([0, 1, 1_000, 20_000, 150_000, 1_000_000])
MARKS = st.sampled_from(
    [{}, {"high": 0}, {"high": 10_000}, {"high": 1_000_000, "low": 0}, {"high": 70_000, "low": 70_000}]
)
STEPS = st.one_of(
    st.tuples(st.just("write"), WRITES),
    st.tuples(st.just("peer reads"), st.sampled_from([1, 50_000, 1 << 30])),
    st.tuples(st.just("peer writes"), WRITES),
    st.tuples(st.sampled_from(["pause", "resume", "bytes", "buffers"])),
)


MOST = 3_000_000


class Flow:
    """A connection whose kernel buffers are full at times. What must hold whatever the kernel takes, and when."""

    def __init__(self, loop, kind, marks, recorder):
        self.loop, self.received, self.trace = loop, bytearray(), []
        self.written = self.sent_by_peer = 0
        ours, self.peer = connected_pair(kind)
        for end in (ours, self.peer):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)
        connecting = loop.create_connection(lambda: recorder(None, self.trace), sock=ours)
        self.transport, _ = loop.run_until_complete(connecting)
        self.transport.set_write_buffer_limits(**marks)
        self.low, self.high = self.transport.get_write_buffer_limits()

    def step(self, what, count=0):
        match what:
            case "write":
                count = min(count, MOST - self.written)
                self.transport.write(pattern(self.written, count))
                self.written += count
            case "peer reads":
                self.received += drain(self.peer, count)
            case "peer writes":
                count = min(count, MOST - self.sent_by_peer)
                with contextlib.suppress(BlockingIOError):
                    self.sent_by_peer += self.peer.send(pattern(self.sent_by_peer, count))
            case "pause":
                self.transport.pause_reading()
            case "resume":
                self.transport.resume_reading()
            case "bytes":
                self.transport.set_protocol(Recorder(None, self.trace))
            case "buffers":
                self.transport.set_protocol(BufferedRecorder(None, self.trace))

    def look(self):
        told = [entry[0] for entry in self.trace if entry[0] in ("pause", "resume")]
        assert told == (["pause", "resume"] * len(told))[: len(told)]
        is_paused, size = len(told) % 2 == 1, self.transport.get_write_buffer_size()
        assert size <= self.written - len(self.received)
        assert size > self.low if is_paused else size <= self.high

    def end(self):
        """Everything arrives, in both directions."""
        self.transport.resume_reading()
        self.transport.write_eof()
        deadline = time.monotonic() + 10
        while len(self.received) < self.written or len(self.data()) < self.sent_by_peer:
            assert time.monotonic() < deadline, "not everything arrived"
            self.step("peer reads", 1 << 30)
            run_once(self.loop)
            self.look()
        assert self.received == pattern(0, self.written)
        assert self.data() == pattern(0, self.sent_by_peer)

    def data(self):
        return b"".join(entry[1] for entry in self.trace if entry[0] == "data")


@settings(PROFILE, max_examples=100)
@given(
    KINDS,
    MARKS,
    st.sampled_from([Recorder, BufferedRecorder]),
    st.lists(st.tuples(STEPS, st.integers(0, 2)), max_size=30),
)
def test_flow_control(loop_factory, kind, marks, recorder, steps):
    with none_left(), contextlib.closing(loop_factory()) as loop:
        flow = Flow(loop, kind, marks, recorder)
        with flow.peer:
            for step, iterations in steps:
                loop.call_soon(flow.step, *step)
                for _ in range(1 + iterations):
                    run_once(loop)
                    flow.look()
            flow.end()
            flow.transport.abort()
            run_once(loop)
