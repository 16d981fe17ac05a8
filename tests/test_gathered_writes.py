# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Several writes in one callback leave together, and nobody who does not look for it can tell.

On TCP the system is asked to hold back what is written while more is expected before the callback ends. When it has
ended everything is on its way, and at no time does the transport itself keep what the system would have taken.
"""

import os
import random
import select
import socket
import subprocess
import sys
import threading

import pytest
from helpers.compare import like_asyncio
from helpers.loops import run_once
from helpers.peers import connected_pair
from helpers.recorder import Recorder
from helpers.scene import Scene, scene

SWITCH = "ONELOOP_GATHER_WRITES"
ON_LINUX = sys.platform == "linux"


def has_arrived(peer):
    """What the peer has got by now; of what is on its way the system tells at once."""
    return bool(select.select([peer], [], [], 0)[0])


def received(peer, size):
    """So many bytes, waited for."""
    peer.settimeout(10)
    data = b""
    while len(data) < size:
        piece = peer.recv(size - len(data))
        assert piece, data
        data += piece
    return data


def write_in_turn(stage, *pieces, look=lambda: None):
    """Write each piece in one callback; what `look` saw after each."""

    def turn():
        looks = []
        for piece in pieces:
            stage.transport.write(piece)
            looks.append(look())
        return looks

    return stage.call(turn)


def learn(stage, writes=2):
    """A turn of so many writes: the next is expected to be like it."""
    write_in_turn(stage, *[b"."] * writes)
    assert received(stage.peer, writes) == b"." * writes


def looks_of_a_head_and_a_body(oneloop):
    """Whether the peer has something after the head and after the body, in the second turn of that kind."""
    with scene(oneloop.new_event_loop, "tcp") as stage:
        learn(stage)
        looks = write_in_turn(stage, b"head", b"body", look=lambda: has_arrived(stage.peer))
        assert received(stage.peer, 8) == b"headbody"
        return looks


@pytest.mark.skipif(not ON_LINUX, reason="only Linux can be asked to hold bytes back")
def test_a_head_leaves_with_its_body(oneloop, monkeypatch):
    monkeypatch.setenv(SWITCH, "1")
    # The system itself lets go of the head after a fifth of a second: a machine that stands still for so long hides
    # what is shown.
    assert any(looks_of_a_head_and_a_body(oneloop)[0] is False for _ in range(20))


def test_the_switch_turns_it_off(oneloop, monkeypatch):
    monkeypatch.setenv(SWITCH, "0")
    assert any(looks_of_a_head_and_a_body(oneloop) == [True, True] for _ in range(20))


@pytest.mark.parametrize("kind", ["tcp", "tcp6", "unix", "socketpair"])
def test_what_a_callback_wrote_is_on_its_way_when_it_has_ended(loop_factory, kind):
    """Whatever number of writes was expected: also if the loop then stands still."""
    numbers = random.Random(11)
    with scene(loop_factory, kind) as stage:
        for turn in range(60):
            count = numbers.choice([0, 1, 1, 2, 2, 3, 5])
            pieces = [bytes([turn]) * numbers.choice([0, 1, 7, 1500, 40_000]) for _ in range(count)]
            write_in_turn(stage, *pieces)
            expected = b"".join(pieces)
            assert stage.size() == 0
            assert received(stage.peer, len(expected)) == expected
            stage.peer.setblocking(False)


def test_a_wrong_guess_is_made_once(oneloop):
    def looks():
        with scene(oneloop.new_event_loop, "tcp") as stage:
            learn(stage)
            seen = []
            for _ in range(2):
                seen += write_in_turn(stage, b"alone", look=lambda: has_arrived(stage.peer))
                assert received(stage.peer, 5) == b"alone"
            return seen

    assert any(looks()[1] for _ in range(20))


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt, RuntimeError])
def test_what_was_written_is_on_its_way_whatever_the_callback_raises(loop_factory, ending):
    with scene(loop_factory, "tcp") as stage:
        learn(stage)

        def callback():
            stage.transport.write(b"last words")
            raise ending

        stage.loop.call_soon(callback)
        if issubclass(ending, Exception):
            run_once(stage.loop)
            assert len(stage.reports) == 1
        else:
            with pytest.raises(ending):
                run_once(stage.loop)
        assert received(stage.peer, 10) == b"last words"


@pytest.mark.parametrize("end", ["close", "abort", "write_eof"])
def test_the_end_comes_after_what_was_written(loop_factory, end):
    with scene(loop_factory, "tcp") as stage:
        learn(stage, 3)

        def callback():
            stage.transport.write(b"one")
            stage.transport.write(b"two")
            getattr(stage.transport, end)()

        stage.call(callback)
        stage.step(2)
        assert received(stage.peer, 6) == b"onetwo"
        assert stage.peer.recv(1) == b""


def test_a_write_to_another_connection_sends_on_what_is_held(oneloop, monkeypatch):
    """Connections of one loop are written to in the order of the writes."""
    monkeypatch.setenv(SWITCH, "1")

    def looks():
        with scene(oneloop.new_event_loop, "tcp") as first:
            ours, peer = connected_pair("tcp")
            second = Scene(first.loop, ours, peer, Recorder())
            learn(first)
            looks = []

            def callback():
                first.transport.write(b"first")
                looks.append(has_arrived(first.peer))
                second.transport.write(b"second")
                looks.append(has_arrived(first.peer))

            first.call(callback)
            assert received(first.peer, 5) == b"first"
            assert received(peer, 6) == b"second"
            peer.close()
            second.transport.abort()
            return looks

    # The first look is False where bytes can be held back at all.
    wanted = [not ON_LINUX, True]
    assert any(looks() == wanted for _ in range(20))


@pytest.mark.skipif(not ON_LINUX, reason="these options are Linux's")
@pytest.mark.parametrize("cork", [0, 1])
@pytest.mark.parametrize("nodelay", [0, 1])
def test_the_options_of_the_socket_stay_as_they_are(loop_factory, nodelay, cork):
    with scene(loop_factory, "tcp") as stage:
        learn(stage)
        shown = stage.transport.get_extra_info("socket")
        shown.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
        shown.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, cork)
        write_in_turn(stage, b"alone")
        options = [shown.getsockopt(socket.IPPROTO_TCP, name) for name in (socket.TCP_NODELAY, socket.TCP_CORK)]
        assert [bool(option) for option in options] == [bool(nodelay), bool(cork)]
        # The program's own cork lets go of it after a fifth of a second.
        assert received(stage.peer, 5) == b"alone"


def test_writes_outside_a_callback_leave_at_once(loop_factory):
    with scene(loop_factory, "tcp") as stage:
        learn(stage)
        stage.transport.write(b"while it stands still")
        assert received(stage.peer, 21) == b"while it stands still"


def test_a_callback_that_waits_for_the_answer_gets_it(loop_factory):
    """Who blocks the loop until the peer has answered waits a little longer, and not for ever."""
    with scene(loop_factory, "tcp") as stage:
        learn(stage)

        def answer():
            stage.peer.setblocking(True)
            stage.peer.sendall(stage.peer.recv(8).upper())

        def callback():
            peer = threading.Thread(target=answer)
            peer.start()
            stage.transport.write(b"question")
            peer.join(10)
            return peer.is_alive()

        assert stage.call(callback) is False
        stage.until(lambda: stage.protocol.data)
        assert stage.protocol.data == b"QUESTION"


def test_the_process_may_end_without_a_word(loop_name):
    """What was written is the system's: it is sent, as from asyncio, when the process is gone."""
    program = """
import asyncio, os, sys
from helpers.loops import loop_factory
class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(b"he")
        if data == b"end":
            os._exit(0)
        self.transport.write(b"ad")
async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(60)
loop_factory(sys.argv[1])().run_until_complete(main())
"""
    directory = os.path.dirname(os.path.abspath(__file__))
    child = subprocess.Popen([sys.executable, "-c", program, loop_name], stdout=subprocess.PIPE, cwd=directory)
    with child:
        assert child.stdout is not None
        with socket.create_connection(("127.0.0.1", int(child.stdout.readline()))) as peer:
            peer.sendall(b"begin")
            assert received(peer, 4) == b"head"
            peer.sendall(b"end")
            assert received(peer, 2) == b"he"
            assert peer.recv(1) == b""


def test_a_peer_that_is_gone_is_told_of_as_by_asyncio(loop_factory):
    def scenario(factory):
        with scene(factory, "tcp") as stage:
            learn(stage)
            stage.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            stage.peer.close()
            closing = write_in_turn(stage, b"head", b"body", look=stage.transport.is_closing)
            stage.step(2)
            return closing, stage.trace, stage.reports

    like_asyncio(scenario, loop_factory)
