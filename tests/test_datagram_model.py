# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs, disallow-untyped-decorators=False
"""Random lives of a datagram transport, the same on asyncio's and on ours: the same callbacks in the same order, the
same that waits at the end of each callback and after each iteration, the same datagrams at the peer.

A life is a list of turns: what the program does in one callback, what the peer does, what the protocol does when it is
called next. The peer has a Unix socket, so how many datagrams there is room for is the kernel's same answer to both.
Where asyncio itself is known to fail, the life is kept from going.
"""

import contextlib
import socket
from asyncio import SelectorEventLoop

import pytest
from helpers.compare import logged, plain
from helpers.datagrams import FORGETS_HEADERS, DatagramRecorder, abstract_name, receive
from helpers.descriptors import none_left
from helpers.loops import run_once
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

SEND_BUFFER = 16_384

SIZES = st.sampled_from([0, 1, 10, 500, 2_000, 6_000])
MARKS = st.sampled_from([None, 0, 1, 100, 5_000, 60_000])

# What a program does with its transport in a callback.
CALLS = st.one_of(
    st.tuples(st.just("send"), SIZES, st.integers(1, 30)),
    st.tuples(st.sampled_from(["pause", "resume", "close", "abort", "protocol"])),
    st.tuples(st.just("limits"), MARKS, MARKS),
)
# What the peer does.
PEER = st.one_of(
    st.tuples(st.just("peer sends"), SIZES),
    st.tuples(st.just("peer receives"), st.sampled_from([1, 3, 20, 1 << 30])),
    st.tuples(st.just("peer closes")),
)
# What the protocol does the next time it is called.
REACTIONS = st.tuples(
    st.just("next time"),
    st.sampled_from(["received", "error", "pause", "resume", "lost"]),
    st.one_of(CALLS, st.just(("raise",))),
)
TURNS = st.one_of(
    st.lists(CALLS, min_size=1, max_size=3).map(lambda calls: ("callback", calls)),
    st.tuples(st.just("callback"), st.just([("send", 500, 30)])),
    PEER,
    REACTIONS,
)
LIVES = st.lists(st.tuples(TURNS, st.integers(0, 2)), max_size=30)


class Life:
    """One run of a life on one loop; `log` is all that could be seen of it."""

    def __init__(self, factory, *, fixed):
        self.loop, self.fixed = factory(), fixed
        self.log, self.trace, self.reports = [], [], []
        self.received = []
        self.sent = self.sent_by_peer = 0
        self.reactions = {}
        self.loop.set_exception_handler(self.report)

    def report(self, _, context):
        exception = context.get("exception")
        # In a handle's message the callback is named, which is asyncio's own method or ours.
        message = context["message"].partition(" callback ")[0]
        self.reports.append((message, f"{type(exception).__name__}: {plain(exception)}"))

    def protocol(self):
        made = DatagramRecorder(self.trace)
        for callback in ("received", "error", "pause", "resume", "lost"):
            made.on[callback] = lambda _, callback=callback: self.called(callback)
        return made

    def called(self, callback):
        reaction = self.reactions.pop(callback, None)
        if reaction == ("raise",):
            raise ValueError(callback)
        if reaction is not None:
            self.call(*reaction)
            self.look("in " + callback)

    def live(self, turns):
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.closing(self.loop))
            lines = stack.enter_context(logged())
            self.peer = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            self.peer.bind(abstract_name())
            self.peer.setblocking(False)
            self.open(self.peer.getsockname())
            for turn, iterations in turns:
                self.turn(*turn)
                for _ in range(iterations):
                    run_once(self.loop)
                    self.look("iteration")
            self.end()
        return self.log, self.reports, self.received, lines

    def open(self, address):
        if self.fixed:
            ends = {"local_addr": abstract_name(), "remote_addr": address.decode(), "family": socket.AF_UNIX}
        else:
            ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            ours.bind(abstract_name())
            ours.connect(address)
            ends = {"sock": ours}
        opening = self.loop.create_datagram_endpoint(self.protocol, **ends)
        self.transport, _ = self.loop.run_until_complete(opening)
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if FORGETS_HEADERS:
            self.transport.set_write_buffer_limits(1 << 40)

    def turn(self, kind, *details):
        match kind:
            case "callback":
                self.loop.call_soon(self.callback, *details)
                run_once(self.loop)
            case "next time":
                callback, reaction = details
                # In these asyncio ends the transport a second time.
                if not (callback in ("resume", "lost") and reaction[0] in ("abort", "close", "raise")):
                    self.reactions[callback] = reaction
            case _:
                try:
                    self.peer_does(kind, *details)
                except OSError as exc:
                    self.log.append((kind, type(exc).__name__))
        self.look(kind)

    def peer_does(self, kind, count=0):
        match kind:
            case "peer sends":
                data = self.sent_by_peer.to_bytes(4, "big") * count
                self.peer.sendto(data[: max(count, 0)], self.transport.get_extra_info("sockname"))
                self.sent_by_peer += 1
            case "peer receives":
                self.received += receive(self.peer, count)
            case "peer closes":
                self.received += receive(self.peer)
                self.peer.close()

    def callback(self, calls):
        for call in calls:
            self.call(*call)
        self.look("callback")

    @property
    def lost(self):
        return any(entry[0] == "lost" for entry in self.trace)

    @property
    def waits(self):
        return "write=<polling" in repr(self.transport)

    def call(self, name, *details):
        transport = self.transport
        try:
            match name:
                case "send":
                    self.send(*details)
                case "pause":
                    transport.pause_reading()
                case "resume":
                    transport.resume_reading()
                case "close":
                    transport.close()
                case "abort":
                    # After the end asyncio's fails, if something waited when it was closed.
                    if not self.lost:
                        transport.abort()
                case "limits":
                    # asyncio's goes on counting what an abort has dropped.
                    if not (FORGETS_HEADERS or transport.is_closing()):
                        transport.set_write_buffer_limits(*details)
                case "protocol":
                    if not self.lost:
                        transport.set_protocol(self.protocol())
        except ValueError as exc:
            self.log.append((name, type(exc).__name__, plain(exc)))

    def send(self, size, count):
        for _ in range(count):
            # asyncio's watches a socket that it is about to close, or has no socket any more.
            if self.transport.is_closing() and not self.waits and not self.fixed:
                return
            self.transport.sendto((self.sent.to_bytes(4, "big") * size)[:size])
            self.sent += 1

    def look(self, where):
        transport = self.transport
        size = None if FORGETS_HEADERS or transport.is_closing() else transport.get_write_buffer_size()
        state = size, transport.is_reading(), transport.is_closing()
        trace = [tuple(map(self.named, entry)) for entry in self.trace]
        self.log.append((where, state, transport.get_write_buffer_limits(), trace))
        self.trace.clear() if not self.lost else None

    def named(self, detail):
        """Names are new for each life."""
        return "the peer" if isinstance(detail, bytes) and detail.startswith(b"\0oneloop") else detail

    def end(self):
        """Let the peer receive all that is left, and close."""
        self.reactions.clear()
        with contextlib.suppress(OSError):
            for _ in range(60):
                self.received += receive(self.peer)
                run_once(self.loop)
        self.look("settled")
        if not self.lost:
            self.transport.abort()
        run_once(self.loop)
        run_once(self.loop)
        self.look("end")


def check(factory, turns, fixed):
    with none_left():
        log, *rest = Life(factory, fixed=fixed).live(turns)
        expected, *expected_rest = Life(SelectorEventLoop, fixed=fixed).live(turns)
    # The log first: it says where they part.
    for number, (entry, other) in enumerate(zip(log, expected, strict=False)):
        assert entry == other, f"entry {number} of {len(log)}"
    assert (log, *rest) == (expected, *expected_rest)
    lost = [entry for *_, trace in (each for each in log if len(each) == 4) for entry in trace if entry[0] == "lost"]
    assert len(set(lost)) == 1


PROFILE = settings(
    max_examples=250,
    deadline=None,
    database=None,
    derandomize=True,
    # A failure is made small, and that is enough: to explain it costs minutes.
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FULL = ("callback", [("send", 500, 30), ("send", 500, 30)])


@PROFILE
@given(turns=LIVES, fixed=st.booleans())
@example(turns=[(FULL, 1), (("peer receives", 3), 2), (FULL, 0), (("peer closes",), 2)], fixed=False)
@example(
    turns=[(FULL, 0), (("callback", [("close",), ("send", 1, 1)]), 1), (("peer receives", 1 << 30), 2)], fixed=True
)
@example(turns=[(("next time", "error", ("abort",)), 0), (FULL, 0), (("peer closes",), 2)], fixed=False)
@example(turns=[(("callback", [("abort",), ("send", 1, 10)]), 1), (("callback", [("send", 1, 10)]), 1)], fixed=True)
def test_lives(loop_factory, turns, fixed):
    check(loop_factory, turns, fixed)


MIDDLE = st.one_of(
    CALLS.filter(lambda call: call[0] not in ("close", "abort")).map(lambda call: ("callback", [call])),
    st.tuples(st.just("callback"), st.just([("send", 500, 30)])),
    st.tuples(st.just("peer receives"), st.sampled_from([1, 10, 1 << 30])),
    st.tuples(st.just("peer sends"), SIZES),
)


@PROFILE
@given(turns=st.lists(st.tuples(MIDDLE, st.integers(0, 1)), min_size=5, max_size=40), fixed=st.booleans())
def test_long_lives(loop_factory, turns, fixed):
    # Without ends, there is more of the middle: flow control.
    check(loop_factory, turns, fixed)


@pytest.mark.parametrize("fixed", [False, True])
def test_a_life_has_something_in_it(loop_factory, fixed):
    """The lives do wait for room, and go on after it."""
    life = Life(loop_factory, fixed=fixed)
    log, _, received, _ = life.live([(FULL, 1), (("peer receives", 1 << 30), 2), (("peer sends", 10), 2)])
    assert len(received) == life.sent == 60
    assert [entry[:2] for entry in log[-3][3] + log[-4][3] if entry[0] == "received"] == [("received", bytes(10))]
    assert FORGETS_HEADERS or log[0][1][0] > 0


def test_a_life_sees_a_difference(loop_factory):
    # The comparison itself must be able to fail.
    def different():
        loop = loop_factory()
        made = loop.create_datagram_endpoint

        async def create_datagram_endpoint(*args, **kwargs):
            transport, protocol = await made(*args, **kwargs)
            transport.pause_reading()
            return transport, protocol

        loop.create_datagram_endpoint = create_datagram_endpoint
        return loop

    with pytest.raises(AssertionError, match="entry 0"):
        check(different, [(("callback", [("send", 1, 1)]), 1)], fixed=False)
