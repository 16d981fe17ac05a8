# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Flow control over TLS: a peer that reads slowly stops the writer, a protocol that pauses stops the peer.

asyncio encrypts whatever is written at once, ours as much as the transport below takes; so when exactly a writer is
stopped differs, and these tests ask for what holds for both: the marks, the order, that nothing grows without end, and
that everything arrives.
"""

import os

import pytest
from helpers.compare import like_asyncio
from helpers.recorder import Recorder
from helpers.tls import SIDES, buffered, tls_scene

SEND_BUFFER = 8192
KIB = 1024


@pytest.mark.parametrize("side", SIDES)
def test_a_peer_that_does_not_read_stops_the_writer(loop_factory, side):
    with tls_scene(loop_factory, side, send_buffer=SEND_BUFFER) as stage:
        piece, written = os.urandom(64 * KIB), 0
        while "pause" not in stage.protocol.names:
            stage.call(stage.transport.write, piece)
            written += len(piece)
            assert written < 8 << 20
        assert stage.transport._protocol_paused is True
        low, high = stage.transport.get_write_buffer_limits()
        assert stage.transport.get_write_buffer_size() >= high
        while "resume" not in stage.protocol.names:
            stage.peer.read()
            stage.step()
        assert stage.transport._protocol_paused is False
        assert stage.transport.get_write_buffer_size() <= low
        stage.until(lambda: (stage.peer.read(), len(stage.peer.data) == written)[1])
        assert stage.peer.data == piece * (written // len(piece))
        assert stage.protocol.names == ["made", "pause", "resume"]
        assert stage.reports == []


def test_one_large_write_counts_as_much_as_many_small_ones(oneloop):
    # On ours only: asyncio gives it all to the transport below, and tells nobody.
    with tls_scene(oneloop.new_event_loop, send_buffer=SEND_BUFFER) as stage:
        data = os.urandom(4 << 20)
        stage.call(stage.transport.write, data)
        assert stage.protocol.names == ["made", "pause"]
        assert stage.transport.get_write_buffer_size() > len(data) - 512 * KIB
        stage.until(lambda: (stage.peer.read(), len(stage.peer.data) == len(data))[1])
        assert stage.peer.data == data
        assert stage.protocol.names == ["made", "pause", "resume"]
        assert stage.transport.get_write_buffer_size() == 0


def test_writing_again_as_soon_as_it_may(loop_factory):
    """A protocol that writes whenever it may, and never otherwise."""
    left = [12 << 20]
    piece = os.urandom(100_000)

    def write(transport):
        # As many as it takes to be told to pause.
        while left[0] > 0 and not transport._protocol_paused:
            left[0] -= len(piece)
            transport.write(piece)

    protocol = Recorder(made=lambda transport: transport._loop.call_soon(write, transport), resume=write)
    with tls_scene(loop_factory, protocol=protocol, send_buffer=SEND_BUFFER) as stage:
        stage.until(lambda: (stage.peer.read(), left[0] <= 0 and stage.transport.get_write_buffer_size() == 0)[1])
        total = (12 << 20) - left[0]
        stage.until(lambda: (stage.peer.read(), len(stage.peer.data) >= total)[1])
        assert stage.peer.data == piece * (total // len(piece))
        names = stage.protocol.names[1:]
        assert names == ["pause", "resume"] * (len(names) // 2)


@pytest.mark.parametrize("recorder", [Recorder, buffered])
def test_a_protocol_that_pauses_reading_stops_the_peer(loop_factory, recorder):
    with tls_scene(loop_factory, protocol=recorder()) as stage:
        assert stage.transport.is_reading()
        stage.call(stage.transport.pause_reading)
        assert not stage.transport.is_reading()
        piece, written = os.urandom(16 * KIB), 0
        # Until the peer's own socket is full, and stays so.
        while not stage.peer.outgoing.pending:
            stage.peer.write(piece)
            written += len(piece)
            stage.step(2)
            assert written < 16 << 20
        assert stage.trace == [("made",)]
        low, high = stage.transport.get_read_buffer_limits()
        assert (low, high) == (64 * KIB, 256 * KIB)
        # No more than the mark and what was received in one go.
        assert high <= stage.transport.get_read_buffer_size() <= 2 * high
        stage.call(stage.transport.resume_reading)
        assert stage.transport.is_reading()

        def all_arrived():
            stage.peer._send()
            return len(stage.protocol.data) == written

        stage.until(all_arrived)
        assert stage.protocol.data == piece * (written // len(piece))


def test_paused_again_in_the_middle(loop_factory):
    """Each time it is resumed it gets something, and after it has paused nothing."""
    with tls_scene(loop_factory, protocol=Recorder(data=lambda transport: transport.pause_reading())) as stage:
        data = os.urandom(200_000)
        rest = memoryview(data)
        resumed = 0
        while len(stage.protocol.data) < len(data):
            if rest and not stage.peer.outgoing.pending:
                stage.peer.write(rest[:10_000])
                rest = rest[10_000:]
            stage.peer._send()
            before = len(stage.protocol.trace), len(stage.protocol.data)
            stage.step(3)
            if not stage.transport.is_reading():
                quiet = len(stage.protocol.data)
                stage.step(2)
                assert len(stage.protocol.data) == quiet
                stage.call(stage.transport.resume_reading)
                resumed += 1
            assert len(stage.protocol.data) >= before[1]
        assert stage.protocol.data == data
        assert resumed > 1


def test_resuming_what_is_not_paused_and_pausing_twice(loop_factory):
    with tls_scene(loop_factory) as stage:
        assert stage.call(stage.transport.resume_reading) is None
        stage.call(stage.transport.pause_reading)
        assert stage.call(stage.transport.pause_reading) is None
        stage.peer.write(b"later")
        stage.step(5)
        assert stage.trace == [("made",)]
        stage.call(stage.transport.resume_reading)
        stage.call(stage.transport.resume_reading)
        stage.until(lambda: stage.protocol.data)
        assert stage.trace == [("made",), ("data", b"later")]


MARKS = [
    {},
    {"high": 1000},
    {"low": 1000},
    {"high": 1000, "low": 10},
    {"high": 0},
    {"low": 0},
    {"high": 1.5},
    {"high": True},
    {"high": 10, "low": 11},
    {"high": -1},
    {"low": -1},
    {"high": "1"},
    {"high": 1 << 70},
]


@pytest.mark.parametrize("which", ["write", "read"])
def test_water_marks(loop_factory, which):
    def scenario(factory):
        seen = []
        with tls_scene(factory) as stage:
            show = getattr(stage.transport, f"get_{which}_buffer_limits")
            seen.append(show())
            for marks in MARKS:
                change = getattr(stage.transport, f"set_{which}_buffer_limits")
                seen.append((stage.call(lambda change=change, marks=marks: change(**marks)), show()))
        return seen

    like_asyncio(scenario, loop_factory)


def test_a_writer_that_wants_nothing_buffered(oneloop):
    # On ours only: at a mark of zero asyncio stops the writer though nothing waits, and nothing ever lets it go on.
    with tls_scene(oneloop.new_event_loop, send_buffer=SEND_BUFFER) as stage:
        stage.call(stage.transport.set_write_buffer_limits, 0)
        for _ in range(3):
            stage.call(stage.transport.write, b"small")
        assert stage.trace == [("made",)]
        stage.call(stage.transport.write, os.urandom(1 << 20))
        assert stage.protocol.names == ["made", "pause"]
        stage.until(lambda: (stage.peer.read(), "resume" in stage.protocol.names)[1])
        assert stage.transport.get_write_buffer_size() == 0


def test_lower_marks_count_at_once(oneloop):
    with tls_scene(oneloop.new_event_loop, send_buffer=SEND_BUFFER) as stage:
        stage.call(stage.transport.set_write_buffer_limits, 1 << 30)
        stage.call(stage.transport.write, os.urandom(2 << 20))
        assert stage.trace == [("made",)]
        stage.call(stage.transport.set_write_buffer_limits, 1000)
        assert stage.trace == [("made",), ("pause",)]
        stage.call(stage.transport.set_write_buffer_limits, 1 << 30, 1 << 29)
        assert stage.trace == [("made",), ("pause",), ("resume",)]


@pytest.mark.parametrize("callback", ["pause", "resume"])
def test_a_flow_control_callback_that_raises(loop_factory, callback):
    """It is reported, and the connection goes on."""

    def fail(transport):
        raise ValueError("as told")

    with tls_scene(loop_factory, protocol=Recorder(**{callback: fail}), send_buffer=SEND_BUFFER) as stage:
        piece, written = os.urandom(64 * KIB), 0
        while "pause" not in stage.protocol.names:
            stage.call(stage.transport.write, piece)
            written += len(piece)
        stage.until(lambda: (stage.peer.read(), len(stage.peer.data) == written)[1])
        (report,) = stage.reports
        assert report["message"] == f"protocol.{callback}_writing() failed"
        assert report["exception"] == "ValueError('as told')"
        assert (report["transport"], report["protocol"]) == ("<TLS TRANSPORT>", "<TLS PROTOCOL>")
        assert stage.protocol.names == ["made", "pause", "resume"]


def test_the_transport_below_is_full_when_its_protocol_is_told_twice(loop_factory):
    """What CPython's own tests do by hand: nothing is sent while the transport below is full, and all of it after."""
    with tls_scene(loop_factory) as stage:
        layer = stage.transport._ssl_protocol
        stage.call(layer.pause_writing)
        stage.call(stage.transport.write, b"one")
        stage.call(stage.transport.write, b"two")
        stage.step(3)
        assert stage.peer.read() == b""
        assert stage.transport.get_write_buffer_size() >= 6
        stage.call(layer.resume_writing)
        stage.until(lambda: (stage.peer.read(), len(stage.peer.data) == 6)[1])
        assert stage.transport.get_write_buffer_size() == 0


def test_the_memory_to_receive_into_is_lent_one_at_a_time(oneloop):
    """Whoever keeps it cannot write into what another connection receives."""
    with tls_scene(oneloop.new_event_loop) as one, tls_scene(oneloop.new_event_loop) as other:
        layer, second = one.transport._ssl_protocol, other.transport._ssl_protocol
        view = layer.get_buffer(-1)
        assert layer.get_buffer(-1) is view
        view[:4] = b"mark"
        layer.buffer_updated(0)
        with pytest.raises(ValueError, match="released"):
            view[0] = 1
        # It is lent again, to whoever is next.
        view = second.get_buffer(-1)
        assert view[:4] == b"mark"
        # What can still be reached is not.
        kept = [view[:16]]
        second.buffer_updated(0)
        view = layer.get_buffer(-1)
        kept.append(view.obj)
        kept[0][:4] = b"MINE"
        assert view[:4] != b"MINE"
        view[:4] = b"mine"
        layer.buffer_updated(0)
        assert second.get_buffer(-1)[:4] not in (b"MINE", b"mine")
        with memoryview(second.get_buffer(-1)) as held, pytest.raises(BufferError):
            held.obj.clear()
        second.buffer_updated(0)
        # And nothing of it was noticed.
        for stage in (one, other):
            stage.exchange(os.urandom(100_000), os.urandom(100_000))
