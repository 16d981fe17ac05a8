# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The sock_ calls given what they cannot use: asyncio's exceptions and messages; objects that are nearly sockets."""

import array
import asyncio
import contextlib
import os
import re
import socket
import ssl

import pytest
from helpers.compare import like_asyncio
from helpers.connecting import failure
from helpers.descriptors import none_left
from helpers.loops import goes_on, steps
from helpers.peers import abstract_name, connected_pair, drain, fill
from helpers.recorder import Recorder

CALLS = {
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 10),
    "sock_recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(10)),
    "sock_recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 10),
    "sock_recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(10)),
    "sock_sendall": lambda loop, sock: loop.sock_sendall(sock, b"x"),
    "sock_sendto": lambda loop, sock: loop.sock_sendto(sock, b"x", ("127.0.0.1", 1)),
    "sock_connect": lambda loop, sock: loop.sock_connect(sock, ("127.0.0.1", 1)),
    "sock_accept": lambda loop, sock: loop.sock_accept(sock),
}


@pytest.fixture(params=CALLS)
def call(request):
    return request.param


def outcome(loop, coroutine):
    seen = failure(lambda: loop.run_until_complete(coroutine))
    goes_on(loop)
    return seen


def test_an_ssl_socket(loop_factory, call):
    def scenario(factory):
        loop = factory()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        with context.wrap_socket(socket.socket(), do_handshake_on_connect=False) as wrapped:
            wrapped.setblocking(False)
            seen = outcome(loop, CALLS[call](loop, wrapped))
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == ("TypeError", None, "Socket cannot be of type SSLSocket")


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_a_blocking_socket_in_debug_mode(loop_factory, call, timeout):
    def scenario(factory):
        loop = factory()
        loop.set_debug(True)
        with socket.socket() as sock:
            sock.settimeout(timeout)
            seen = outcome(loop, CALLS[call](loop, sock))
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == ("ValueError", None, "the socket must be non-blocking")


def test_a_blocking_socket_that_need_not_block(loop_factory):
    def scenario(factory):
        loop = factory()
        ours, theirs = connected_pair("socketpair")
        with ours, theirs:
            ours.setblocking(True)
            theirs.send(b"x")
            seen = [outcome(loop, loop.sock_recv(ours, 10)), outcome(loop, loop.sock_sendall(ours, b"y"))]
            # It is not the loop's business to change it.
            seen.append(ours.getblocking())
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == [b"x", None, True]


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_a_closed_socket(loop_factory, call, debug):
    def scenario(factory):
        loop = factory()
        loop.set_debug(debug)
        sock = socket.socket()
        sock.setblocking(False)
        sock.close()
        seen = outcome(loop, CALLS[call](loop, sock))
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == ("OSError", 9, "[Errno 9] Bad file descriptor")


def test_an_unconnected_socket(loop_factory, call):
    if call == "sock_connect":
        return

    def scenario(factory):
        loop = factory()
        with socket.socket() as sock:
            sock.setblocking(False)
            seen = outcome(loop, CALLS[call](loop, sock))
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory)[1] in (22, 32, 107)


@pytest.mark.parametrize("wrong", [None, 3, "socket", object()], ids=lambda wrong: type(wrong).__name__)
def test_what_is_no_socket(loop_factory, call, wrong):
    def scenario(factory):
        loop = factory()
        seen = outcome(loop, CALLS[call](loop, wrong))
        loop.close()
        return seen[0]

    assert like_asyncio(scenario, loop_factory) in ("AttributeError", "TypeError")


ARGUMENTS = {
    "recv of zero": lambda loop, sock: loop.sock_recv(sock, 0),
    "recv of a negative number": lambda loop, sock: loop.sock_recv(sock, -1),
    "recv of far too much": lambda loop, sock: loop.sock_recv(sock, 1 << 70),
    "recv of a str": lambda loop, sock: loop.sock_recv(sock, "10"),
    "recv of None": lambda loop, sock: loop.sock_recv(sock, None),
    "recv of a float": lambda loop, sock: loop.sock_recv(sock, 10.0),
    "recv of True": lambda loop, sock: loop.sock_recv(sock, True),
    "recv_into nothing": lambda loop, sock: loop.sock_recv_into(sock, bytearray()),
    "recv_into bytes": lambda loop, sock: loop.sock_recv_into(sock, b"12345"),
    "recv_into a str": lambda loop, sock: loop.sock_recv_into(sock, "12345"),
    "recv_into None": lambda loop, sock: loop.sock_recv_into(sock, None),
    "recv_into with gaps": lambda loop, sock: loop.sock_recv_into(sock, memoryview(bytearray(10))[::2]),
    "recv_into an array": lambda loop, sock: loop.sock_recv_into(sock, array.array("H", [0, 0])),
    "recvfrom of zero": lambda loop, sock: loop.sock_recvfrom(sock, 0),
    "recvfrom of a negative number": lambda loop, sock: loop.sock_recvfrom(sock, -1),
    "recvfrom_into of zero": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(4), 0),
    "recvfrom_into of less": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(4), 2),
    "recvfrom_into of more": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(4), 5),
    "recvfrom_into of a negative number": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(4), -1),
    "recvfrom_into nothing": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray()),
    "recvfrom_into bytes": lambda loop, sock: loop.sock_recvfrom_into(sock, b"12345"),
    "sendall of nothing": lambda loop, sock: loop.sock_sendall(sock, b""),
    "sendall of a bytearray": lambda loop, sock: loop.sock_sendall(sock, bytearray(b"abc")),
    "sendall of a view": lambda loop, sock: loop.sock_sendall(sock, memoryview(b"xabcx")[1:4]),
    "sendall of a str": lambda loop, sock: loop.sock_sendall(sock, "abc"),
    "sendall of None": lambda loop, sock: loop.sock_sendall(sock, None),
    "sendall of an int": lambda loop, sock: loop.sock_sendall(sock, 3),
    "sendall with gaps": lambda loop, sock: loop.sock_sendall(sock, memoryview(b"aXbXcX")[::2]),
    "sendto a str": lambda loop, sock: loop.sock_sendto(sock, "abc", "address"),
    "sendto of None": lambda loop, sock: loop.sock_sendto(sock, None, "address"),
    "connect to None": lambda loop, sock: loop.sock_connect(sock, None),
    "connect to an int": lambda loop, sock: loop.sock_connect(sock, 3),
    "connect to a tuple": lambda loop, sock: loop.sock_connect(sock, ("127.0.0.1", 1)),
    "too few arguments": lambda loop, sock: loop.sock_recv(sock),
    "too many arguments": lambda loop, sock: loop.sock_recv(sock, 1, 2),
}


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_arguments(loop_factory, arguments):
    def scenario(factory):
        loop = factory()
        ours, theirs = connected_pair("socketpair")
        with ours, theirs:
            theirs.send(b"0123456789")
            seen = failure(lambda: outcome(loop, ARGUMENTS[arguments](loop, ours)))
            # Wrong types are the interpreter's to explain, in its own words.
            seen = seen[0] if isinstance(seen, tuple) and seen[0] == "TypeError" else seen
            # What is not taken is still there.
            seen = seen, drain(theirs), drain(ours)
        loop.close()
        return seen

    seen, _, left = like_asyncio(scenario, loop_factory)
    if seen in ("TypeError", "ValueError", b""):
        assert left == b"0123456789"


INTERNET = {
    "a name without a port": ("localhost",),
    "an unknown service": ("127.0.0.1", "no-such-service"),
    "an unknown literal": ("fe80::1%nosuch", 1),
    "the other family": ("::1", 1),
    "a str": "127.0.0.1",
    "a bytes address": b"127.0.0.1",
    "an int": 3,
    "None": None,
    "an empty tuple": (),
    "a port that is too large": ("127.0.0.1", 1 << 20),
    "a negative port": ("127.0.0.1", -1),
    "a port of None": ("127.0.0.1", None),
}


@pytest.mark.parametrize("address", INTERNET)
def test_addresses_to_connect_to(loop_factory, address):
    def scenario(factory):
        loop = factory()
        with socket.socket() as sock:
            sock.setblocking(False)
            seen = outcome(loop, loop.sock_connect(sock, INTERNET[address]))
        loop.close()
        return seen[0] if seen and seen[0] == "TypeError" else seen

    with none_left():
        assert like_asyncio(scenario, loop_factory) is not None


def test_accepting_from_what_does_not_listen(loop_factory):
    def scenario(factory):
        loop = factory()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(abstract_name())
            sock.setblocking(False)
            seen = outcome(loop, loop.sock_accept(sock))
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == ("OSError", 22, "[Errno 22] Invalid argument")


WAITING = [name for name in CALLS if name not in ("sock_accept", "sock_connect", "sock_sendto")]


@pytest.mark.parametrize("method", WAITING)
def test_a_descriptor_that_a_transport_has(loop, method):
    ours, theirs = connected_pair("socketpair")
    with theirs:
        transport, protocol = loop.run_until_complete(loop.create_connection(Recorder, sock=ours))
        fill(ours)
        coroutine = CALLS[method](loop, ours)
        expected = f"File descriptor {ours.fileno()!r} is used by transport {transport!r}"
        with pytest.raises(RuntimeError, match=re.escape(expected)):
            loop.run_until_complete(coroutine)
        for watch in (loop.add_reader, loop.add_writer, loop.remove_reader, loop.remove_writer):
            # These say what they were given.
            for given in (ours, ours.fileno()):
                expected = f"File descriptor {given!r} is used by transport {transport!r}"
                with pytest.raises(RuntimeError, match=re.escape(expected)):
                    watch(given, *([print] if "add" in watch.__name__ else []))
        theirs.send(b"goes on")
        steps(loop, 1)
        assert protocol.data == b"goes on"
        transport.abort()
        # It is free as soon as the transport closes.
        assert loop.remove_reader(ours) is False
        steps(loop, 2)


class Overriding(socket.socket):
    """A socket whose methods do something of their own, as those of proxies and tests do."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = []

    def recv(self, *args):
        self.calls.append("recv")
        return super().recv(*args)

    def recv_into(self, *args):
        self.calls.append("recv_into")
        return super().recv_into(*args)

    def recvfrom(self, *args):
        self.calls.append("recvfrom")
        return super().recvfrom(*args)

    def send(self, *args):
        self.calls.append("send")
        return super().send(*args)

    def connect(self, address):
        self.calls.append(("connect", address))
        return super().connect(self.instead)

    def accept(self):
        self.calls.append("accept")
        return super().accept()


def test_overridden_methods_are_called(loop):
    with none_left(loop), socket.create_server(("127.0.0.1", 0)) as real:
        listener = Overriding(fileno=os.dup(real.fileno()))
        with listener, Overriding() as client:
            for sock in (listener, client):
                sock.setblocking(False)
            client.instead = real.getsockname()
            loop.run_until_complete(loop.sock_connect(client, ("192.0.2.1", 7)))
            accepted, _ = loop.run_until_complete(loop.sock_accept(listener))
            with accepted:
                accepted.send(b"onetwothree")
                assert loop.run_until_complete(loop.sock_recv(client, 3)) == b"one"
                assert loop.run_until_complete(loop.sock_recv_into(client, bytearray(3))) == 3
                assert loop.run_until_complete(loop.sock_recvfrom(client, 5))[0] == b"three"
                loop.run_until_complete(loop.sock_sendall(client, b"x"))
            assert client.calls == [("connect", ("192.0.2.1", 7)), "recv", "recv_into", "recvfrom", "send"]
            assert listener.calls == ["accept"]


class Nearly:
    """Not a socket at all, but it has what is called."""

    def __init__(self, real):
        self.real, self.family, self.type, self.proto = real, real.family, real.type, real.proto

    def fileno(self):
        return self.real.fileno()

    def gettimeout(self):
        return 0

    def recv(self, count):
        return self.real.recv(count).upper()

    def send(self, data):
        return self.real.send(bytes(data).upper())


def test_what_is_nearly_a_socket_is_good_enough(loop):
    ours, theirs = connected_pair("socketpair")
    with ours, theirs:
        task = loop.create_task(loop.sock_recv(Nearly(ours), 10))
        steps(loop, 2)
        theirs.send(b"x")
        assert loop.run_until_complete(task) == b"X"
        loop.run_until_complete(loop.sock_sendall(Nearly(ours), b"y"))
        assert theirs.recv(10) == b"Y"


@pytest.mark.parametrize("error", [ValueError("mine"), OSError(5, "mine"), KeyboardInterrupt("mine")], ids=repr)
def test_methods_that_raise(loop_factory, error):
    class Raising(Nearly):
        def recv(self, count):
            if self.quiet:
                raise BlockingIOError
            raise error

    def scenario(factory):
        loop, seen = factory(), []
        for quiet in (False, True):
            ours, theirs = connected_pair("socketpair")
            with ours, theirs:
                odd = Raising(ours)
                odd.quiet = quiet
                task = loop.create_task(loop.sock_recv(odd, 10))
                try:
                    steps(loop, 2)
                    theirs.send(b"x")
                    odd.quiet = False
                    steps(loop, 3)
                except KeyboardInterrupt as exc:
                    # Whether the task ends with it, too, depends on who called recv(): the loop or the task.
                    seen.append(str(exc))
                else:
                    with contextlib.suppress(asyncio.CancelledError):
                        seen.append(failure(task.result))
                task.cancel()
                steps(loop, 2)
        goes_on(loop)
        loop.close()
        error.__traceback__ = None
        return seen

    like_asyncio(scenario, loop_factory)


def test_a_method_is_replaced_between_two_calls(loop, monkeypatch):
    """Whether it is Python's own is known of the class as it was: each change of the class is seen."""
    original, asked = socket.socket.recv, []

    def recv(sock, size):
        asked.append(size)
        return original(sock, size)

    async def receive(size):
        theirs.send(b"x")
        assert await loop.sock_recv(ours, size) == b"x"

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        for size in (1, 2):
            loop.run_until_complete(receive(size))
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "sendto", recv, raising=False)
            loop.run_until_complete(receive(3))
            patch.setattr(socket.socket, "recv", recv, raising=False)
            for size in (4, 5):
                loop.run_until_complete(receive(size))
        loop.run_until_complete(receive(6))
        assert asked == [4, 5]
