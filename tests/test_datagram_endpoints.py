# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""create_datagram_endpoint: which socket it makes or takes, what it asks of getaddrinfo, what it refuses and how, and
that nothing is left when it fails or is cancelled.
"""

import asyncio
import contextlib
import itertools
import os
import socket
import stat
import sys
import warnings

import pytest
from helpers.compare import like_asyncio, logged
from helpers.connecting import failure
from helpers.datagrams import DatagramRecorder, abstract_name, receive
from helpers.descriptors import none_left
from helpers.loops import goes_on, run_once
from helpers.scene import anonymous, until
from helpers.sweep import Swept, sweep

LOCAL = "127.0.0.1"
# Before, asyncio lets two transports have one descriptor.
CHECKS_DESCRIPTORS = sys.version_info >= (3, 12)


def open_endpoint(loop, *args, factory=DatagramRecorder, **kwargs):
    return loop.run_until_complete(loop.create_datagram_endpoint(factory, *args, **kwargs))


def close(loop, transport):
    transport.abort()
    run_once(loop)
    run_once(loop)


def described(loop, *args, **kwargs):
    """What is made of these arguments, or how they are refused, without the port."""

    def make():
        transport, protocol = open_endpoint(loop, *args, **kwargs)
        sock = transport.get_extra_info("socket")
        seen = (
            protocol.trace,
            sock.family,
            sock.type,
            sock.proto,
            sock.gettimeout(),
            bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)),
            bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)),
            bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)),
            transport.get_extra_info("sockname") and str(transport.get_extra_info("sockname")[0]),
            transport.get_extra_info("peername"),
            transport.is_reading(),
        )
        close(loop, transport)
        return seen

    return failure(make)


@pytest.mark.parametrize("family", [0, socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"local_addr": (LOCAL, 0)},
        {"local_addr": ("::1", 0)},
        {"local_addr": ("localhost", 0)},
        {"local_addr": ("", 0)},
        {"local_addr": (None, 0)},
        {"remote_addr": (LOCAL, 9)},
        {"remote_addr": ("::1", "9")},
        {"remote_addr": ("localhost", 9), "local_addr": (LOCAL, 0)},
        {"remote_addr": ("::1", 9), "local_addr": (LOCAL, 0)},
        {"local_addr": (LOCAL, 0), "reuse_port": True},
        {"local_addr": (LOCAL, 0), "allow_broadcast": True},
        {"remote_addr": (LOCAL, 9), "allow_broadcast": True},
        {"allow_broadcast": True, "reuse_port": True},
        {"local_addr": (LOCAL, 0), "proto": socket.IPPROTO_UDP},
        {"local_addr": (LOCAL, 0), "proto": socket.IPPROTO_TCP},
        {"local_addr": ("localhost", 0), "flags": socket.AI_NUMERICHOST},
        {"local_addr": ("127.0.0.1", 70_000)},
        {"local_addr": ("192.0.2.1", 9)},
        {"local_addr": ("no.such.host.invalid", 9)},
        {"local_addr": ()},
        {"local_addr": (LOCAL,)},
        {"local_addr": (LOCAL, 0, 0)},
        {"local_addr": [LOCAL, 0]},
        {"local_addr": LOCAL},
        {"remote_addr": 5},
        {"remote_addr": (LOCAL, 0)},
        {"remote_addr": (LOCAL, "no-such-service")},
        {"nothing": "known"},
        {"reuse_address": True},
    ],
    ids=str,
)
def test_what_is_made(loop_factory, family, kwargs):
    def scenario(factory):
        # The loop is closed inside: a thread that has just told it of a name lets go of its descriptor a moment later.
        with none_left(), contextlib.closing(factory()) as loop:
            return described(loop, family=family, **kwargs)

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_given_socket_s_kind(loop_factory, kind):
    """Raw ones and those of sequenced packets are taken as well, by asyncio's later patch releases."""

    def scenario(factory):
        with contextlib.closing(factory()) as loop:
            # Connected, since one that is not is readable all the time.
            ours, peer = socket.socketpair(socket.AF_UNIX, kind)
            with ours, peer:
                return described(loop, sock=ours), ours.fileno() == -1

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"local_addr": (LOCAL, 0)},
        {"remote_addr": (LOCAL, 9), "reuse_port": True},
        {"family": 2, "proto": 0},
        {"flags": 1, "allow_broadcast": True},
        {"local_addr": None, "family": 0, "reuse_port": False},
    ],
    ids=str,
)
def test_a_given_socket_and_more(loop_factory, kwargs):
    def scenario(factory):
        with contextlib.closing(factory()) as loop, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            return described(loop, sock=sock, **kwargs), sock.fileno() == -1

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("sock", ["text", 5, object()])
def test_what_is_no_socket(loop_factory, sock):
    def scenario(factory):
        with contextlib.closing(factory()) as loop:
            return described(loop, sock=sock)

    like_asyncio(scenario, loop_factory)


def test_a_given_socket_keeps_its_peer(loop):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((LOCAL, 0))
        ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ours.connect(peer.getsockname())
        transport, _ = open_endpoint(loop, sock=ours)
        assert transport.get_extra_info("peername") == peer.getsockname()
        transport.sendto(b"to the peer")
        # Whatever address is named: the socket is connected, and the transport was not made with one.
        transport.sendto(b"to the peer as well", (LOCAL, 9))
        until(loop, lambda: transport.get_write_buffer_size() == 0)
        peer.setblocking(False)
        assert receive(peer) == [b"to the peer", b"to the peer as well"]
        close(loop, transport)


def test_a_socket_that_blocks_no_longer_does(loop):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    assert sock.gettimeout() is None
    transport, _ = open_endpoint(loop, sock=sock)
    assert sock.gettimeout() == 0
    close(loop, transport)
    assert sock.fileno() == -1


def test_a_descriptor_that_another_transport_has(loop_factory):
    def scenario(factory):
        with contextlib.closing(factory()) as loop:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            transport, _ = open_endpoint(loop, sock=sock)
            seen = [failure(lambda method=method: method(sock, print)) for method in (loop.add_reader, loop.add_writer)]
            for method in (loop.remove_reader, loop.remove_writer):
                seen.append(failure(lambda method=method: method(sock)))
            if CHECKS_DESCRIPTORS or factory is not asyncio.SelectorEventLoop:
                with pytest.raises(RuntimeError, match="is used by transport"):
                    open_endpoint(loop, sock=sock)
            close(loop, transport)
            return seen

    like_asyncio(scenario, loop_factory)


# The one address.


@pytest.mark.parametrize("allow_broadcast", [False, True])
def test_another_address_is_refused(loop_factory, allow_broadcast):
    def scenario(factory):
        with contextlib.closing(factory()) as loop, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind((LOCAL, 0))
            peer.setblocking(False)
            address = peer.getsockname()
            transport, protocol = open_endpoint(loop, remote_addr=address, allow_broadcast=allow_broadcast)
            others = (None, address, list(address), (LOCAL, 9), "x", (), 0)
            seen = [failure(lambda other=other: transport.sendto(b"x", other)) for other in others]
            until(loop, lambda: transport.get_write_buffer_size() == 0)
            seen.append((receive(peer), protocol.trace, transport.get_extra_info("peername") == address))
            close(loop, transport)
            return [str(each).replace(str(address[1]), "PORT") for each in seen]

    like_asyncio(scenario, loop_factory)


def test_an_address_that_cannot_be_compared(loop_factory):
    class Sulky:
        def __eq__(self, other):
            raise LookupError("I compare with nobody")

    def scenario(factory):
        with contextlib.closing(factory()) as loop:
            transport, _ = open_endpoint(loop, remote_addr=(LOCAL, 9))
            seen = failure(lambda: transport.sendto(b"x", Sulky())), transport.is_closing()
            close(loop, transport)
            return seen

    like_asyncio(scenario, loop_factory)


def test_broadcast_hears_everybody(loop):
    """It sends to one address, and is not connected to it."""
    transport, protocol = open_endpoint(
        loop, local_addr=(LOCAL, 0), remote_addr=("127.255.255.255", 9), allow_broadcast=True
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"hello", transport.get_extra_info("sockname"))
        until(loop, lambda: protocol.data)
        assert protocol.data == [b"hello"]
    assert transport.get_extra_info("peername") is None
    transport.sendto(b"everybody")
    run_once(loop)
    assert protocol.names == ["made", "received"]
    close(loop, transport)


def test_reuse_port(loop):
    first, _ = open_endpoint(loop, local_addr=(LOCAL, 0), reuse_port=True)
    second, _ = open_endpoint(loop, local_addr=first.get_extra_info("sockname"), reuse_port=True)
    assert first.get_extra_info("sockname") == second.get_extra_info("sockname")
    for transport in (first, second):
        close(loop, transport)
    taken, _ = open_endpoint(loop, local_addr=(LOCAL, 0))
    with pytest.raises(OSError, match="in use"):
        open_endpoint(loop, local_addr=taken.get_extra_info("sockname"), reuse_port=True)
    close(loop, taken)


# Unix sockets.


def test_unix_sockets(loop, tmp_path):
    paths = [str(tmp_path / "server"), str(tmp_path / "client")]
    server, heard = open_endpoint(loop, local_addr=paths[0], family=socket.AF_UNIX)
    client, answered = open_endpoint(loop, local_addr=paths[1], remote_addr=paths[0], family=socket.AF_UNIX)
    heard.on["received"] = lambda it: it.sendto(b"answer", heard.trace[-1][2])
    client.sendto(b"question")
    until(loop, lambda: answered.data)
    assert heard.trace == [("made",), ("received", b"question", paths[1])]
    assert answered.trace == [("made",), ("received", b"answer", paths[0])]
    assert client.get_extra_info("peername") == paths[0]
    for transport in (server, client):
        close(loop, transport)
    # As with asyncio the files stay behind.
    assert all(stat.S_ISSOCK(os.stat(path).st_mode) for path in paths)


def test_abstract_names(loop):
    name = abstract_name()
    server, heard = open_endpoint(loop, local_addr=name, family=socket.AF_UNIX)
    client, _ = open_endpoint(loop, remote_addr=name, family=socket.AF_UNIX)
    client.sendto(b"from nobody")
    until(loop, lambda: heard.data)
    assert heard.trace == [("made",), ("received", b"from nobody", None)]
    assert server.get_extra_info("sockname") == name.encode()
    for transport in (server, client):
        close(loop, transport)


@pytest.mark.parametrize("stale", ["socket", "file", "directory", "nothing", "no permission"])
def test_what_an_earlier_program_left(loop_factory, tmp_path, stale, monkeypatch):
    names = itertools.count()

    def scenario(factory):
        path = tmp_path / str(next(names))
        match stale:
            case "socket":
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                    sock.bind(str(path))
            case "file":
                path.write_text("precious")
            case "directory":
                path.mkdir()
            case "no permission":
                monkeypatch.setattr(os, "stat", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "no")))
        with contextlib.closing(factory()) as loop, logged() as lines:
            seen = described(loop, local_addr=str(path), family=socket.AF_UNIX)
        monkeypatch.undo()
        return str((seen, lines, path.exists(), path.is_socket())).replace(str(path), "PATH")

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"local_addr": (LOCAL, 0)},
        {"local_addr": b"bytes"},
        {"remote_addr": 5},
        {"remote_addr": "/no/such/socket"},
        {"local_addr": "/no/such/directory/socket"},
        {"local_addr": "/" + "x" * 200},
        {"local_addr": ""},
        {},
    ],
    ids=str,
)
def test_wrong_unix_arguments(loop_factory, kwargs):
    def scenario(factory):
        with contextlib.closing(factory()) as loop, none_left(loop):
            return described(loop, family=socket.AF_UNIX, **kwargs)

    like_asyncio(scenario, loop_factory)


# Names.


def info(host, port, family=socket.AF_INET, proto=socket.IPPROTO_UDP):
    return family, socket.SOCK_DGRAM, proto, "", (host, port)


@pytest.mark.parametrize("where", ["class", "instance"])
def test_getaddrinfo_may_be_overridden(loop_class, where):
    asked = []

    async def getaddrinfo(host, port, **hints):
        asked.append((host, port, hints))
        return [info(LOCAL, 0 if port == 1 else 9)]

    if where == "class":
        method = lambda self, *args, **hints: getaddrinfo(*args, **hints)  # noqa: E731
        loop = type("Overriding", (loop_class,), {"getaddrinfo": method})()
    else:
        loop = loop_class()
        loop.getaddrinfo = getaddrinfo
    with contextlib.closing(loop):
        transport, _ = open_endpoint(loop, local_addr=("here", 1), remote_addr=("there", 2), flags=4)
        hints = {"family": 0, "type": socket.SOCK_DGRAM, "proto": 0, "flags": 4}
        assert asked == [("here", 1, hints), ("there", 2, hints)]
        assert transport.get_extra_info("peername") == (LOCAL, 9)
        close(loop, transport)


@pytest.mark.parametrize("answer", [[], [info("192.0.2.1", 9)], [info("192.0.2.1", 9), info(LOCAL, 0)], None, [()]])
def test_what_getaddrinfo_answers(loop_class, answer):
    """The first address that works is taken; if none does, the first failure is told."""

    def scenario(factory):
        loop = factory()

        async def getaddrinfo(*_, **__):
            return answer

        loop.getaddrinfo = getaddrinfo
        with contextlib.closing(loop), none_left(loop):
            return described(loop, local_addr=("name", 1))

    like_asyncio(scenario, loop_class)


def test_of_several_addresses_of_a_family_the_last_one_counts(loop_class):
    def scenario(factory):
        loop = factory()

        async def getaddrinfo(host, port, **_):
            if host == "here":
                return [info("127.0.0.2", 0), info("127.0.0.3", 0), info("::1", 0, socket.AF_INET6)]
            return [info("127.0.0.4", 9), info("127.0.0.5", 9)]

        loop.getaddrinfo = getaddrinfo
        with contextlib.closing(loop), none_left(loop):
            return described(loop, local_addr=("here", 0), remote_addr=("there", 9))

    like_asyncio(scenario, loop_class)


def test_literals_are_not_looked_up(loop_class):
    loop = loop_class()

    def getaddrinfo(*args, **_):
        raise AssertionError(args)

    loop.getaddrinfo = getaddrinfo
    with contextlib.closing(loop):
        for host in (LOCAL, "::1"):
            transport, _ = open_endpoint(loop, local_addr=(host, 0), remote_addr=(host, 9))
            assert transport.get_extra_info("peername")[:2] == (host, 9)
            close(loop, transport)


# What is made or not made.


@pytest.mark.parametrize("error", [ValueError("no protocol"), OSError(5, "five")])
def test_a_factory_that_raises(loop_factory, error):
    def make():
        raise error

    def scenario(factory):
        with contextlib.closing(factory()) as loop, warnings.catch_warnings():
            # asyncio leaves the socket to the collector.
            warnings.simplefilter("ignore", ResourceWarning)
            return failure(lambda: open_endpoint(loop, local_addr=(LOCAL, 0), factory=make))

    like_asyncio(scenario, loop_factory)


def test_a_factory_that_raises_leaves_no_socket(oneloop):
    def make():
        raise ValueError("no protocol")

    with contextlib.closing(oneloop.new_event_loop()) as loop, none_left(loop):
        with pytest.raises(ValueError, match="no protocol"):
            open_endpoint(loop, local_addr=(LOCAL, 0), factory=make)
        # What was given is the caller's until there is a transport.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            with pytest.raises(ValueError, match="no protocol"):
                open_endpoint(loop, sock=sock, factory=make)
            assert sock.fileno() >= 0


@pytest.mark.parametrize("protocol", [object(), None, 5])
def test_what_is_no_protocol(loop_factory, protocol):
    def scenario(factory):
        with contextlib.closing(factory()) as loop, warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            return failure(lambda: open_endpoint(loop, local_addr=(LOCAL, 0), factory=lambda: protocol))

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("kwargs", [{"local_addr": (LOCAL, 0)}, {"remote_addr": (LOCAL, 9)}])
def test_what_debug_mode_logs(loop_factory, kwargs):
    def scenario(factory):
        with contextlib.closing(factory()) as loop:
            loop.set_debug(True)
            loop.slow_callback_duration = 100
            with logged(1) as lines:
                transport, _ = open_endpoint(loop, **kwargs)
                transport.pause_reading()
                transport.resume_reading()
            close(loop, transport)
            return [anonymous(line) for line in lines if "selector" not in line]

    like_asyncio(scenario, loop_factory)


def test_cancelled_anywhere(loop, loop_name):
    """No socket is left, whatever it waits for."""

    def make(loop, stack):
        async def call():
            transport, _ = await loop.create_datagram_endpoint(
                DatagramRecorder, local_addr=("localhost", 0), remote_addr=("localhost", 9), family=socket.AF_INET
            )
            return transport

        return Swept(call, finished=lambda transport: transport.abort())

    assert sweep(loop, make, collect=loop_name == "asyncio") > 0


def test_many_endpoints(loop):
    with none_left(loop):
        transports = [open_endpoint(loop, local_addr=(LOCAL, 0))[0] for _ in range(200)]
        addresses = {transport.get_extra_info("sockname") for transport in transports}
        assert len(addresses) == 200
        for transport in transports:
            transport.close()
        run_once(loop)
        run_once(loop)
    goes_on(loop)
