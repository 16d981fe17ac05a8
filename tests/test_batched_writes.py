# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What several callbacks write to several connections leaves together, and nobody who does not look for it can tell.

Where callbacks take long enough for a peer to fall asleep in between, a loop that has several ready has the system hold
back what each of them writes, until the last one has ended or a millisecond is over.
"""

import contextlib
import os
import random
import select
import socket
import subprocess
import sys
import time

import pytest
from helpers.loops import run_once, steps
from helpers.peers import connected_pair
from helpers.recorder import Recorder
from helpers.scene import Scene

SWITCH = "ONELOOP_GATHER_WRITES"
ON_LINUX = sys.platform == "linux"
ONLY_LINUX = pytest.mark.skipif(not ON_LINUX, reason="only Linux can be asked to hold bytes back")

# More writes than a loop times before it judges, and longer than it takes a peer to fall asleep.
LESSON, SLOW = 600, 40e-6
# A machine that stands still lets a limit of time pass: what is shown is shown by one of so many.
TRIES = 20


def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def has_arrived(stage):
    """Whether the peer has got something by now; of what is on its way the system tells at once."""
    return bool(select.select([stage.peer], [], [], 0)[0])


def received(stage, size):
    """So many bytes, waited for."""
    stage.peer.settimeout(10)
    data = b""
    while len(data) < size:
        piece = stage.peer.recv(size - len(data))
        assert piece, data
        data += piece
    stage.peer.setblocking(False)
    return data


def in_one_tick(loop, *callbacks):
    """Have each of them called by an entry of one tick; what they returned."""
    results = []
    for callback in callbacks:
        loop.call_soon(lambda callback=callback: results.append(callback()))
    run_once(loop)
    return results


def learn(stage):
    """Callbacks that take long: from now on those that are ready together send together."""

    def answer():
        spin(SLOW)
        stage.transport.write(b".")

    in_one_tick(stage.loop, *[answer] * LESSON)
    got = stage.flush()
    assert got + received(stage, LESSON - len(got)) == b"." * LESSON


@contextlib.contextmanager
def crowd(factory, count=2, kind="tcp"):
    """Connections of one loop that has learnt to send together."""
    with contextlib.closing(factory()) as loop, contextlib.ExitStack() as held:
        stages = []
        for _ in range(count):
            ours, peer = connected_pair(kind)
            held.enter_context(peer)
            if kind != "unix":
                # As of every connection that is made by its protocol's number; otherwise bytes may wait for an answer.
                ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stages.append(Scene(loop, ours, peer, Recorder()))
        learn(stages[0])
        try:
            yield stages
        finally:
            for stage in stages:
                if "lost" not in stage.protocol.names:
                    stage.transport.abort()
            steps(loop, 2)


def looks_of_two_writes(factory):
    """Whether the first one's peer has its bytes: after the first write, after the second, and after both callbacks."""
    with crowd(factory) as (first, second):

        def write(stage, data):
            stage.transport.write(data)
            return has_arrived(first)

        looks = in_one_tick(first.loop, lambda: write(first, b"one"), lambda: write(second, b"two"))
        looks.append(has_arrived(first))
        assert received(first, 3) == b"one"
        assert received(second, 3) == b"two"
        return looks


@ONLY_LINUX
def test_what_callbacks_write_leaves_together(oneloop, monkeypatch):
    monkeypatch.setenv(SWITCH, "1")
    assert any(looks_of_two_writes(oneloop.new_event_loop) == [False, False, True] for _ in range(TRIES))


def test_the_switch_turns_it_off(oneloop, monkeypatch):
    monkeypatch.setenv(SWITCH, "0")
    assert any(looks_of_two_writes(oneloop.new_event_loop) == [True, True, True] for _ in range(TRIES))


@ONLY_LINUX
def test_lines_wait_as_well(oneloop, monkeypatch):
    """From 3.12 on they are sent with one call; before, `writelines` is `write` of everything."""
    monkeypatch.setenv(SWITCH, "1")

    def look():
        with crowd(oneloop.new_event_loop) as (stage, _):

            def write():
                stage.transport.writelines([b"one", b"two"])
                return has_arrived(stage)

            looks = in_one_tick(stage.loop, write, lambda: None)
            assert received(stage, 6) == b"onetwo"
            return looks[0]

    assert any(look() is False for _ in range(TRIES))


def test_quick_callbacks_send_at_once(oneloop):
    def look():
        with contextlib.closing(oneloop.new_event_loop()) as loop:
            ours, peer = connected_pair("tcp")
            with peer:
                stage = Scene(loop, ours, peer, Recorder())
                in_one_tick(loop, *[lambda: stage.transport.write(b".")] * LESSON)
                received(stage, LESSON)

                def write():
                    stage.transport.write(b"!")
                    return has_arrived(stage)

                looks = in_one_tick(loop, write, lambda: None)
                stage.transport.abort()
                steps(loop, 2)
                return looks[0]

    assert any(look() for _ in range(TRIES))


@ONLY_LINUX
def test_connections_are_sent_on_in_the_order_of_their_writes(oneloop, monkeypatch):
    """Who writes again has what was written to others in between sent on first."""
    monkeypatch.setenv(SWITCH, "1")

    def looks():
        with crowd(oneloop.new_event_loop) as (first, second):

            def write(stage, data):
                stage.transport.write(data)
                return has_arrived(second)

            seen = in_one_tick(
                first.loop,
                lambda: write(first, b"one"),
                lambda: write(second, b"two"),
                lambda: write(first, b"three"),
                lambda: None,
            )
            assert received(first, 8) == b"onethree"
            assert received(second, 3) == b"two"
            return seen[:3]

    assert any(looks() == [False, False, True] for _ in range(TRIES))


def test_a_large_write_does_not_overtake(oneloop):
    def looks():
        with crowd(oneloop.new_event_loop) as (first, second):

            def write(stage, data):
                stage.transport.write(data)
                return has_arrived(first)

            large = bytes(40_000)
            seen = in_one_tick(first.loop, lambda: write(first, b"one"), lambda: write(second, large), lambda: None)
            assert received(second, len(large)) == large
            return seen[1]

    assert any(looks() for _ in range(TRIES))


def test_others_that_take_long_keep_nobody_waiting(oneloop):
    """A millisecond at most, or until the callback ends that runs then."""

    def look():
        with crowd(oneloop.new_event_loop) as (stage, _):
            write = lambda: stage.transport.write(b"!")  # noqa: E731
            others = [lambda: spin(0.0006)] * 2
            return in_one_tick(stage.loop, write, *others, lambda: has_arrived(stage), lambda: None)[-2]

    assert any(look() for _ in range(TRIES))


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt])
def test_what_was_written_is_on_its_way_whatever_ends_the_run(oneloop, ending):
    def look():
        with crowd(oneloop.new_event_loop) as (stage, _):

            def end():
                raise ending

            stage.loop.call_soon(stage.transport.write, b"last words")
            stage.loop.call_soon(end)
            stage.loop.call_soon(lambda: None)
            with pytest.raises(ending):
                run_once(stage.loop)
            return has_arrived(stage)

    assert any(look() for _ in range(TRIES))


@pytest.mark.parametrize("end", ["close", "abort", "write_eof"])
def test_the_end_comes_after_what_was_written(loop_factory, end):
    with crowd(loop_factory) as (stage, other):

        def write():
            stage.transport.write(b"one")

        def finish():
            getattr(stage.transport, end)()

        in_one_tick(stage.loop, write, lambda: other.transport.write(b"two"), finish, lambda: None)
        steps(stage.loop, 2)
        assert received(stage, 3) == b"one"
        stage.peer.settimeout(10)
        assert stage.peer.recv(1) == b""
        assert received(other, 3) == b"two"


@pytest.mark.parametrize("kind", ["tcp", "tcp6", "unix"])
@pytest.mark.parametrize("seed", range(5))
def test_everything_arrives_in_order(loop_factory, kind, seed):
    numbers = random.Random(seed)
    with crowd(loop_factory, 3, kind) as stages:
        for tick in range(30):
            expected = [b"", b"", b""]
            callbacks = []
            for _ in range(numbers.randrange(6)):
                pieces = []
                for _ in range(numbers.choice([0, 1, 1, 2, 3])):
                    number = numbers.randrange(3)
                    data = bytes([tick]) * numbers.choice([1, 7, 1500, 40_000])
                    expected[number] += data
                    pieces.append((number, data, numbers.random() < 0.3))

                def callback(pieces=pieces):
                    spin(SLOW)
                    for number, data, lines in pieces:
                        transport = stages[number].transport
                        transport.writelines([data[:1], data[1:]]) if lines else transport.write(data)

                callbacks.append(callback)
            in_one_tick(stages[0].loop, *callbacks)
            for stage, data in zip(stages, expected, strict=True):
                got = stage.flush()
                assert got + received(stage, len(data) - len(got)) == data


def test_the_process_may_end_without_a_word(loop_name):
    """What was written is the system's: it is sent, as from asyncio, when the process is gone."""
    program = f"""
import asyncio, os, sys, time
from helpers.loops import loop_factory
def answer(transport):
    end = time.perf_counter() + {SLOW}
    while time.perf_counter() < end:
        pass
    transport.write(b".")
async def main():
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", int(sys.argv[2]))
    for _ in range({LESSON}):
        loop.call_soon(answer, transport)
    await asyncio.sleep(0)
    loop.call_soon(transport.write, b"bye")
    loop.call_soon(os._exit, 0)
    await asyncio.sleep(60)
loop_factory(sys.argv[1])().run_until_complete(main())
"""
    directory = os.path.dirname(os.path.abspath(__file__))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        with subprocess.Popen([sys.executable, "-c", program, loop_name, port], cwd=directory):
            peer, _ = server.accept()
            with peer:
                peer.settimeout(30)
                got = b""
                while piece := peer.recv(65536):
                    got += piece
    assert got == b"." * LESSON + b"bye"
