# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What other code sees of a stream transport: its classes, extra info, private names that others use, and its repr."""

import asyncio
import copy
import pickle
import socket
import weakref
from asyncio import trsock

import pytest
from helpers.compare import like_asyncio, raised
from helpers.descriptors import found_unclosed
from helpers.peers import KINDS, connected_pair
from helpers.recorder import Recorder
from helpers.scene import anonymous, scene


@pytest.mark.parametrize("kind", KINDS)
def test_extra_info(loop_factory, kind):
    with scene(loop_factory, kind) as stage:
        get = stage.transport.get_extra_info
        theirs = stage.peer
        assert get("sockname") == theirs.getpeername()
        assert get("peername") == theirs.getsockname()
        assert type(get("sockname")) is type(theirs.getpeername())
        assert get("socket") is get("socket")
        assert get("pipe") is None
        assert get("sslcontext") is None
        assert get("nothing") is None
        assert get("nothing", "default") == "default"
        assert get("socket", "default") is get("socket")
        assert get("peername", default=3) == theirs.getsockname()
        stage.call(stage.transport.close)
        stage.step(2)
        # Programs log the peer when it is gone.
        assert get("peername") == theirs.getsockname()
        assert get("sockname") is not None
        assert get("socket").fileno() == -1


def test_the_socket(loop_factory):
    ours, peer = connected_pair("tcp")
    expected = ours.family, ours.type, ours.proto, ours.fileno(), ours.getsockname(), ours.getpeername()
    loop = loop_factory()
    with peer:
        transport, _ = loop.run_until_complete(loop.create_connection(Recorder, sock=ours))
        sock = transport.get_extra_info("socket")
        assert type(sock) is trsock.TransportSocket
        assert (sock.family, sock.type, sock.proto, sock.fileno(), sock.getsockname(), sock.getpeername()) == expected
        assert sock.gettimeout() == 0
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert raised(lambda: sock.setblocking(True)) is not None
        with sock.dup() as duplicate:
            assert duplicate.getpeername() == ours.getpeername()
        sock.shutdown(socket.SHUT_WR)
        assert peer.recv(1) == b""
        transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_names_of_what_has_none(loop_factory):
    with scene(loop_factory, "socketpair") as stage:
        assert stage.transport.get_extra_info("peername") == ""
        assert stage.transport.get_extra_info("sockname") == ""


def test_classes(loop_factory):
    with scene(loop_factory) as stage:
        transport = stage.transport
        for kind in (asyncio.Transport, asyncio.ReadTransport, asyncio.WriteTransport, asyncio.BaseTransport):
            assert isinstance(transport, kind)
        assert not isinstance(transport, asyncio.DatagramTransport)
        assert weakref.ref(transport)() is transport
        assert hash(transport) == hash(transport)
        assert transport == transport
        assert len({transport, transport}) == 1
        # aiohttp and others keep what is theirs on it.
        transport.mine = 3
        assert transport.mine == 3
        assert vars(transport)["mine"] == 3
        with pytest.raises(AttributeError):
            _ = transport.nothing


def test_names_that_asyncio_s_own_tls_uses(loop_factory):
    with scene(loop_factory) as stage:
        assert stage.transport._start_tls_compatible is True
        stage.call(stage.transport._force_close, ConnectionError("mine"))
        stage.step()
        assert stage.trace == [("made",), ("lost", "ConnectionError: mine")]


def test_it_cannot_be_copied_or_made(oneloop):
    with scene(oneloop.new_event_loop) as stage:
        for call in (copy.copy, copy.deepcopy, pickle.dumps):
            assert raised(lambda call=call: call(stage.transport))[0] == "TypeError"
        # Whatever somebody does with the class, there is no crash.
        kind = type(stage.transport)
        for arguments in ((), (None,), (stage.loop,), (stage.loop, None, None)):
            assert raised(lambda arguments=arguments: kind(*arguments)) is not None
        for new in (object.__new__, kind.__new__):
            raised(lambda new=new: [repr(new(kind)), new(kind).write(b"x"), new(kind).close()])
        raised(lambda: stage.transport.__init__())
        stage.peer.send(b"goes on")
        stage.step()
        assert stage.protocol.data == b"goes on"


def test_repr(loop_factory):
    def scenario(factory):
        with scene(factory, send_buffer=8192) as stage:
            transport, seen = stage.transport, []

            def look(*_):
                seen.append(anonymous(repr(transport)))

            stage.protocol.on["lost"] = look
            look()
            transport.pause_reading()
            look()
            stage.call(transport.write, bytes(100_000))
            look()
            transport.resume_reading()
            look()
            stage.call(transport.close)
            look()
            stage.flush()
            stage.step(2)
            look()
            return seen

    seen = like_asyncio(scenario, loop_factory)
    assert seen[0] == "<TRANSPORT fd=N read=polling write=<idle, bufsize=0>>"
    assert seen[-1] == "<TRANSPORT closed fd=N>"


def test_repr_names_the_descriptor(loop_factory):
    with scene(loop_factory) as stage:
        assert f" fd={stage.transport.get_extra_info('socket').fileno()} " in repr(stage.transport)


def test_repr_when_the_loop_is_closed(loop_factory):
    def scenario(factory):
        loop = factory()
        ours, peer = connected_pair("socketpair")
        with peer:
            transport, protocol = loop.run_until_complete(loop.create_connection(Recorder, sock=ours))
            loop.close()
            seen = anonymous(repr(transport))
            with found_unclosed():
                del transport, protocol
            return seen

    assert like_asyncio(scenario, loop_factory) == "<TRANSPORT fd=N>"


def test_debug_mode_says_what_the_transport_does(loop_factory):
    from helpers.compare import logged

    def scenario(factory):
        with scene(factory, debug=True) as stage, logged(10) as lines:
            stage.transport.pause_reading()
            stage.transport.resume_reading()
            stage.peer.shutdown(1)
            stage.step(3)
            return [anonymous(line) for line in lines if "poll" not in line.split(">")[-1]]

    lines = like_asyncio(scenario, loop_factory)
    assert [line.rpartition("> ")[2] for line in lines] == [
        "pauses reading [NoneType: None]",
        "resumes reading [NoneType: None]",
        "received EOF [NoneType: None]",
    ]
