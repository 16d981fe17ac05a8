# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""When there is no room for a datagram: what waits, when the protocol is told to pause, and how it ends.

A Unix socket has room for what its receiver has not received yet, and no more; so how much is sent at once is the
kernel's same answer on every loop.
"""

import pytest
from helpers.compare import like_asyncio
from helpers.datagrams import (
    HEADER,
    QUEUEING,
    DatagramRecorder,
    datagram_scene,
    fill,
    needs_sound_sizes,
    receive,
)

SIZE = 100


def send_until_one_waits(stage, size=SIZE):
    """Send numbered datagrams until one has to wait; how many that were."""
    count = 0
    while not stage.waits():
        stage.transport.sendto(count.to_bytes(4, "big") + bytes(size - 4))
        count += 1
        assert count < 10_000
    return count


def numbers(datagrams):
    return [int.from_bytes(data[:4], "big") for data in datagrams]


def flush(stage):
    """Receive at the peer until the transport has sent all it has."""
    received = []

    def sent():
        received.extend(receive(stage.peer))
        return not stage.waits()

    stage.until(sent)
    stage.step()
    return received + receive(stage.peer)


@pytest.mark.parametrize("kind", QUEUEING)
def test_what_waits_is_sent_in_order(loop_factory, kind):
    with datagram_scene(loop_factory, kind) as stage:
        count = send_until_one_waits(stage)
        for number in range(count, count + 20):
            stage.transport.sendto(number.to_bytes(4, "big") + bytes(SIZE - 4))
        assert stage.size() == 21 * (SIZE + HEADER)
        received = flush(stage)
        assert numbers(received) == list(range(count + 20))
        assert all(len(data) == SIZE for data in received)
        assert stage.trace == [("made",)]


def test_what_waits_is_a_copy(loop_factory):
    with datagram_scene(loop_factory, "abstract") as stage:
        send_until_one_waits(stage)
        array = bytearray(b"original")
        stage.transport.sendto(array)
        stage.transport.sendto(memoryview(array))
        stage.transport.sendto(memoryview(array)[::2])
        array[:] = b"changed!"
        assert flush(stage)[-3:] == [b"original", b"original", b"oiia"]


@pytest.mark.parametrize("empties", [1, 3])
def test_empty_ones_wait_too(loop_factory, empties):
    with datagram_scene(loop_factory, "abstract") as stage:
        send_until_one_waits(stage)
        before = stage.size()
        for _ in range(empties):
            stage.transport.sendto(b"")
        assert stage.size() == before + empties * HEADER
        assert flush(stage)[-empties - 1 :].count(b"") == (empties if HEADER else 0)


def test_pause_and_resume(loop_factory):
    needs_sound_sizes(loop_factory)
    with datagram_scene(loop_factory, "abstract") as stage:
        each = SIZE + HEADER
        stage.transport.set_write_buffer_limits(high=3 * each, low=each)
        send_until_one_waits(stage)
        stage.transport.sendto(bytes(SIZE))
        stage.transport.sendto(bytes(SIZE))
        assert (stage.size(), stage.protocol.names) == (3 * each, ["made"])
        stage.transport.sendto(bytes(SIZE))
        assert (stage.size(), stage.protocol.names) == (4 * each, ["made", "pause"])
        stage.transport.sendto(bytes(SIZE))
        assert stage.protocol.names == ["made", "pause"]
        while stage.size() > each:
            assert stage.protocol.names == ["made", "pause"]
            assert len(receive(stage.peer, 1)) == 1
            stage.step(2)
        assert stage.protocol.names == ["made", "pause", "resume"]
        flush(stage)
        assert stage.protocol.names == ["made", "pause", "resume"]


def test_the_default_limits(loop_factory):
    needs_sound_sizes(loop_factory)
    with datagram_scene(loop_factory, "abstract") as stage:
        assert stage.transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        count = send_until_one_waits(stage, 1000)
        while stage.protocol.names == ["made"]:
            stage.transport.sendto(bytes(1000))
            count += 1
        assert 64 * 1024 < stage.size() <= 64 * 1024 + 1000 + HEADER
        assert len(flush(stage)) == count
        assert stage.protocol.names == ["made", "pause", "resume"]


@pytest.mark.parametrize("limits", [{"high": 50}, {"low": 10}, {"high": 0}, {"high": 20, "low": 5}])
def test_limits_that_are_changed(loop_factory, limits):
    def scenario(factory):
        with datagram_scene(factory, "abstract") as stage:
            send_until_one_waits(stage)
            stage.call(lambda: stage.transport.set_write_buffer_limits(**limits))
            return stage.transport.get_write_buffer_limits(), stage.trace

    _, trace = like_asyncio(scenario, loop_factory)
    assert trace[-1] == ("pause",)


@pytest.mark.parametrize("limits", [{"high": 1, "low": 2}, {"low": -1}, {"high": "x"}, {"high": 1.5}])
def test_wrong_limits(loop_factory, limits):
    def scenario(factory):
        with datagram_scene(factory, "abstract") as stage:
            result = stage.call(lambda: stage.transport.set_write_buffer_limits(**limits))
            return result, stage.transport.get_write_buffer_limits()

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("callback", ["pause", "resume"])
@pytest.mark.parametrize("error", [ValueError("wrong"), OSError(5, "five")])
def test_flow_control_that_raises(loop_factory, callback, error):
    needs_sound_sizes(loop_factory)

    def react(_):
        raise error

    with datagram_scene(loop_factory, "abstract", DatagramRecorder(**{callback: react})) as stage:
        stage.transport.set_write_buffer_limits(high=0)
        send_until_one_waits(stage)
        flush(stage)
        assert stage.protocol.names == ["made", "pause", "resume"]
        assert stage.state() == (0, True, False)
        (report,) = stage.reports
        assert report["message"] == f"protocol.{callback}_writing() failed"
        assert report["exception"] == repr(error)
        assert sorted(report) == ["exception", "message", "protocol", "transport"]


def test_what_waits_is_counted_until_it_is_sent(loop_factory):
    needs_sound_sizes(loop_factory)
    with datagram_scene(loop_factory, "abstract") as stage:
        send_until_one_waits(stage)
        for size in (0, 1, SIZE):
            before = stage.size()
            stage.transport.sendto(bytes(size))
            assert stage.size() == before + (size + HEADER if size or HEADER else 0)
            assert f"bufsize={stage.size()}>" in repr(stage.transport)
        flush(stage)
        assert stage.size() == 0
        assert "write=<idle, bufsize=0>" in repr(stage.transport)


def test_a_protocol_that_sends_when_it_may_again(loop_factory):
    needs_sound_sizes(loop_factory)
    with datagram_scene(
        loop_factory, "abstract", DatagramRecorder(resume=lambda transport: transport.sendto(b"resumed"))
    ) as stage:
        stage.transport.set_write_buffer_limits(high=0)
        send_until_one_waits(stage)
        received = flush(stage)
        stage.until(lambda: (received.extend(receive(stage.peer)), b"resumed" in received)[1])
        assert received.index(b"resumed") == len(received) - 1


# The end.


def test_close_sends_what_waits(loop_factory):
    with datagram_scene(loop_factory, "abstract") as stage:
        count = send_until_one_waits(stage)
        stage.call(stage.transport.close)
        assert stage.state() == (SIZE + HEADER, False, True)
        stage.call(stage.transport.close)
        # It is not too late before all is sent.
        stage.call(stage.transport.sendto, count.to_bytes(4, "big"))
        stage.peer.sendto(b"too late", stage.transport.get_extra_info("sockname"))
        received = []
        stage.until(lambda: (received.extend(receive(stage.peer)), "lost" in stage.protocol.names)[1])
        received += receive(stage.peer)
        assert numbers(received) == list(range(count + 1))
        assert stage.trace == [("made",), ("lost", None)]
        assert stage.transport.get_extra_info("socket").fileno() == -1


@pytest.mark.parametrize("before", ["nothing", "close"])
def test_abort_drops_what_waits(loop_factory, before):
    with datagram_scene(loop_factory, "abstract") as stage:
        count = send_until_one_waits(stage)
        if before == "close":
            stage.call(stage.transport.close)
        stage.call(stage.transport.abort)
        stage.step()
        assert numbers(receive(stage.peer)) == list(range(count - 1))
        assert stage.trace == [("made",), ("lost", None)]
        assert stage.transport.is_closing()


def test_a_peer_that_goes_away_while_datagrams_wait(loop_factory):
    """Each of them fails for itself, one in an iteration."""

    def scenario(factory):
        with datagram_scene(factory, "abstract") as stage:
            stage.transport.set_write_buffer_limits(high=2 * SIZE)
            send_until_one_waits(stage)
            for _ in range(3):
                stage.transport.sendto(bytes(SIZE))
            stage.peer.close()
            seen = []
            for _ in range(8):
                stage.step()
                seen.append([entry[:3] for entry in stage.trace])
            return seen, "write=<idle" in repr(stage.transport), stage.transport.is_closing()

    seen, *_ = like_asyncio(scenario, loop_factory)
    assert [entry[0] for entry in seen[-1]] == ["made", "pause", "error", "error", "error", "error", "resume"]


@pytest.mark.parametrize("action", ["close", "abort"])
def test_the_end_in_the_middle_of_an_error(loop_factory, action):
    def scenario(factory):
        protocol = DatagramRecorder(error=lambda transport: getattr(transport, action)())
        with datagram_scene(factory, "abstract", protocol) as stage:
            send_until_one_waits(stage)
            stage.transport.sendto(bytes(SIZE))
            stage.peer.close()
            stage.step(8)
            return [entry[:3] for entry in stage.trace], stage.transport.is_closing(), stage.reports

    trace, *_ = like_asyncio(scenario, loop_factory)
    assert trace[-1] == ("lost", None)


def test_error_received_raises_while_datagrams_wait(loop_factory):
    def react(_):
        raise ValueError("from error_received")

    def scenario(factory):
        with datagram_scene(factory, "abstract", DatagramRecorder(error=react)) as stage:
            send_until_one_waits(stage)
            stage.transport.sendto(bytes(SIZE))
            stage.peer.close()
            stage.step(6)
            reports = [(each["message"].partition(" callback ")[0], each["exception"]) for each in stage.reports]
            return [entry[:3] for entry in stage.trace], reports, stage.transport.is_closing()

    _, reports, _ = like_asyncio(scenario, loop_factory)
    assert len(reports) == 2


@pytest.mark.parametrize("mistake", [("not", "an address"), object(), 5])
def test_a_mistake_that_is_found_late(loop_factory, mistake):
    """The address of a datagram that waits is looked at when it is sent; the transport ends with it."""

    def scenario(factory):
        with datagram_scene(factory, "abstract", connected=False) as stage:
            filled = fill(stage.peer, stage.address)
            stage.transport.sendto(b"waits", stage.address)
            assert stage.size() == len(b"waits") + HEADER
            stage.transport.sendto(b"mistaken", mistake)
            stage.transport.sendto(b"never", stage.address)
            received = []
            stage.until(lambda: (received.extend(receive(stage.peer)), "lost" in stage.protocol.names)[1])
            received += receive(stage.peer)
            reports = [(each["message"], each["exception"]) for each in stage.reports]
            return received[filled:], stage.trace, reports

    received, *_ = like_asyncio(scenario, loop_factory)
    assert received == [b"waits"]


def test_a_mistake_at_once_while_nothing_waits(loop_factory):
    def scenario(factory):
        with datagram_scene(factory, "abstract", connected=False) as stage:
            stage.call(stage.transport.sendto, b"x", 5)
            stage.call(stage.transport.sendto, b"x", stage.address)
            stage.step(2)
            return stage.trace, [(each["message"], each["exception"]) for each in stage.reports], receive(stage.peer)

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("connected", [True, False])
def test_sending_too_late(loop_factory, how, when, connected):
    """Between the end and its announcement datagrams still go out, unless the transport was made with one address."""

    def scenario(factory):
        with datagram_scene(factory, "abstract", connected=connected) as stage:
            address = None if connected else stage.address

            def end():
                getattr(stage.transport, how)()
                if when == "before":
                    stage.transport.sendto(b"late", address)

            stage.call(end)
            stage.step(2)
            return receive(stage.peer), stage.trace, stage.reports

    received, *_ = like_asyncio(scenario, loop_factory)
    assert received == ([b"late"] if when == "before" else [])


def test_sending_after_the_end_is_ignored(oneloop):
    """asyncio's transport fails there by accident, since it has no socket any more."""
    with datagram_scene(oneloop.new_event_loop) as stage:
        stage.call(stage.transport.abort)
        stage.step()
        for _ in range(10):
            assert stage.call(stage.transport.sendto, b"late") is None
        assert stage.trace == [("made",), ("lost", None)]
        assert stage.reports == []
