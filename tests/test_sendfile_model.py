# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs, disallow-untyped-decorators=False
"""Random sequences of writing and of sending files, over a transport or a raw socket: what arrives is what every call
says that it sent, in the order of the calls; the file stands where it should; the connection goes on.

The model is a few lines about bytes, and asyncio has to agree with it. In ours calls may also be cancelled anywhere:
they end in between, and never in the middle of what the file says was sent.
"""

import contextlib
import os
import socket

import pytest
from helpers.descriptors import none_left
from helpers.loops import run_once, steps
from helpers.peers import connected_pair, drain
from helpers.recorder import Recorder
from helpers.scene import until
from helpers.sending import CONTENT, CORRUPTS, NoDescriptor
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from oneloop import _sendfile

SEND_BUFFER = 8_192
CAPACITY = 120_000

FILES = ("real", "unbuffered", "memory")
OFFSETS = st.sampled_from([0, 0, 1, 5_000, 16_384, 70_000, CAPACITY + 1])
COUNTS = st.sampled_from([None, 1, 4_000, 16_384, 16_385, 60_000, CAPACITY * 2])

SENDING = st.tuples(st.just("send"), st.sampled_from(FILES), OFFSETS, COUNTS)
CANCELLED = st.tuples(st.just("cancel"), st.sampled_from(FILES), OFFSETS, COUNTS, st.integers(0, 12))
OTHERS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from([1, 500, 30_000])),
    st.tuples(st.just("resize"), st.sampled_from(FILES), st.sampled_from([0, 10, 50_000, CAPACITY])),
    st.tuples(st.just("seek"), st.sampled_from(FILES), st.sampled_from([0, 7, 30_000])),
    st.tuples(st.just("peer sends"), st.sampled_from([1, 3_000])),
    st.tuples(st.just("peer receives"), st.sampled_from([1_000, 20_000, 1 << 30])),
)

PROFILE = settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)


class Life:
    """One run of a sequence on one loop: over a transport, or over the socket itself."""

    def __init__(self, factory, stack, *, raw):
        self.raw = raw
        self.loop = stack.enter_context(contextlib.closing(factory()))
        ours, theirs = connected_pair("socketpair")
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.peer = stack.enter_context(theirs)
        self.protocol, self.transport, self.sock = Recorder(), None, ours
        if raw:
            stack.enter_context(ours).setblocking(False)
        else:
            opening = self.loop.create_connection(lambda: self.protocol, sock=ours)
            self.transport, _ = self.loop.run_until_complete(opening)
            stack.callback(steps, self.loop, 3)
            stack.callback(self.transport.abort)
        descriptors = [os.memfd_create("file") for _ in range(2)]
        self.files = {
            "real": stack.enter_context(os.fdopen(descriptors[0], "r+b")),
            "unbuffered": stack.enter_context(os.fdopen(descriptors[1], "r+b", 0)),
            "memory": NoDescriptor(),
        }
        self.sizes = {}
        for name in FILES:
            self.resize(name, 60_000)
        # What the program knows that it has sent, what the peer has, and what the peer has sent.
        self.expected, self.received, self.answers = bytearray(), bytearray(), b""

    def live(self, turns):
        for kind, *details in turns:
            getattr(self, kind.replace(" ", "_"))(*details)

    def call(self, file, offset, count):
        if self.raw:
            return self.loop.sock_sendfile(self.sock, file, offset, count)
        return self.loop.sendfile(self.transport, file, offset, count)

    def begin(self, name, offset, count):
        """Begin to send a file; the task, and what it is to send."""
        file = self.files[name]
        start = offset
        if name == "memory" and offset == 0 and not _sendfile._ALWAYS_SEEKS:
            # It is sent from where it stands.
            start = file.tell()
        expected = CONTENT[: self.sizes[name]][start:][:count]
        return self.loop.create_task(self.call(file, offset, count)), expected

    def send(self, name, offset, count):
        task, expected = self.begin(name, offset, count)
        until(self.loop, lambda: (self.receive(10_000), task.done())[1])
        assert task.result() == len(expected)
        if expected:
            assert self.files[name].tell() == offset + len(expected)
        self.expected += expected

    def cancel(self, name, offset, count, turns):
        """Give it up after so many iterations, in some of which the peer receives."""
        task, expected = self.begin(name, offset, count)
        before = self.files[name].tell()
        for turn in range(turns):
            run_once(self.loop)
            if turn % 3 == 2:
                self.receive(5_000)
        task.cancel()
        until(self.loop, task.done)
        # A thread may still read from the file, but it sends nothing.
        self.loop.run_until_complete(self.loop.run_in_executor(None, int))
        self.flush()
        if not task.cancelled():
            assert task.result() == len(expected)
        sent = bytes(self.received[len(self.expected) :])
        assert expected.startswith(sent)
        if name != "memory" and sent:
            assert self.files[name].tell() == offset + len(sent)
        elif name != "memory":
            assert self.files[name].tell() in (before, offset)
        self.expected += sent
        assert self.received == self.expected

    def write(self, size):
        data = bytes([size % 251]) * size
        if self.raw:
            task = self.loop.create_task(self.loop.sock_sendall(self.sock, data))
            until(self.loop, lambda: (self.receive(10_000), task.done())[1])
            task.result()
        else:
            self.transport.write(data)
        self.expected += data

    def resize(self, name, size):
        file = self.files[name]
        if name == "memory":
            here = file.tell()
            file.seek(0)
            file.truncate()
            file.write(CONTENT[:size])
            file.seek(min(here, size))
        else:
            os.ftruncate(file.fileno(), 0)
            os.pwrite(file.fileno(), CONTENT[:size], 0)
        self.sizes[name] = size

    def seek(self, name, position):
        if name != "memory":
            os.lseek(self.files[name].fileno(), position, os.SEEK_SET)
        self.files[name].seek(position)

    def peer_sends(self, size):
        with contextlib.suppress(BlockingIOError):
            self.answers += (data := b"a" * size)[: self.peer.send(data)]
        steps(self.loop, 2)

    def peer_receives(self, size):
        self.receive(size)
        steps(self.loop, 1)

    def receive(self, size):
        self.received += drain(self.peer, size)

    def flush(self):
        """Receive until the transport has sent all it has."""
        if self.transport is not None:
            until(self.loop, lambda: (self.receive(1 << 30), self.transport.get_write_buffer_size() == 0)[1])
        self.receive(1 << 30)

    def end(self):
        """Everything has arrived in both directions, and it goes on."""
        self.write(3)
        self.flush()
        if self.transport is None:
            answers = bytearray()
            while len(answers) < len(self.answers):
                answers += self.loop.run_until_complete(self.loop.sock_recv(self.sock, 100_000))
        else:
            assert self.transport.is_reading()
            assert self.transport.get_protocol() is self.protocol
            until(self.loop, lambda: len(self.protocol.data) == len(self.answers))
            answers = self.protocol.data
        assert answers == self.answers
        self.loop.run_until_complete(self.loop.shutdown_default_executor())


def check(factory, turns, *, raw):
    with none_left(), contextlib.ExitStack() as stack:
        life = Life(factory, stack, raw=raw)
        life.live(turns)
        life.end()
        assert len(life.received) == len(life.expected)
        return life


@PROFILE
@given(turns=st.lists(st.one_of(SENDING, OTHERS), max_size=15), raw=st.booleans())
def test_lives(loop_factory, loop_name, turns, raw):
    life = check(loop_factory, turns, raw=raw)
    # On some versions asyncio's fallback reads into memory that is not sent yet.
    if loop_name == "oneloop" or raw or not CORRUPTS:
        assert life.received == life.expected


@PROFILE
@given(turns=st.lists(st.one_of(SENDING, CANCELLED, CANCELLED, OTHERS), max_size=15), raw=st.booleans())
def test_lives_in_which_calls_are_cancelled(oneloop, turns, raw):
    life = check(oneloop.new_event_loop, turns, raw=raw)
    assert life.received == life.expected


@pytest.mark.parametrize("raw", [False, True])
def test_a_life_has_something_in_it(oneloop, raw):
    """Files are sent in parts, and given up half way."""
    turns = [("resize", "real", CAPACITY), ("write", 500), ("send", "real", 1, None), ("cancel", "real", 0, None, 5)]
    life = check(oneloop.new_event_loop, turns, raw=raw)
    assert CAPACITY + 500 < len(life.received) < CAPACITY * 2


def test_a_life_sees_a_difference(oneloop):
    # The model itself must be able to disagree.
    class Forgetful(oneloop.Loop):
        async def sock_sendfile(self, sock, file, offset=0, count=None, *, fallback=True):
            return 1 + await super().sock_sendfile(sock, file, offset, count, fallback=fallback)

    for raw in (False, True):
        with pytest.raises(AssertionError):
            check(Forgetful, [("send", "real", 0, None)], raw=raw)
