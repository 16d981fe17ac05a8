# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""create_connection and connect_accepted_socket: arguments, addresses, failures, and nothing left of what failed."""

import asyncio
import contextlib
import gc
import socket
import ssl

import pytest
from helpers.compare import like_asyncio, raised
from helpers.connecting import connect, failure
from helpers.descriptors import found_unclosed, none_left
from helpers.loops import goes_on
from helpers.peers import connected_pair
from helpers.recorder import Recorder

HOST = "127.0.0.1"


@pytest.fixture
def listener():
    with socket.create_server((HOST, 0)) as made:
        yield made


def udp():
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


ARGUMENTS = {
    "nothing": dict,
    "host and sock": lambda: {"host": HOST, "port": 1, "sock": socket.socket()},
    "port and sock": lambda: {"port": 1, "sock": socket.socket()},
    "a datagram socket": lambda: {"sock": udp()},
    "server_hostname without ssl": lambda: {"host": HOST, "port": 1, "server_hostname": "x"},
    "ssl without a host": lambda: {"ssl": True, "sock": socket.socket()},
    "ssl with an empty host": lambda: {"host": "", "port": 1, "ssl": True},
    "ssl_handshake_timeout": lambda: {"host": HOST, "port": 1, "ssl_handshake_timeout": 1},
    "ssl_shutdown_timeout": lambda: {"host": HOST, "port": 1, "ssl_shutdown_timeout": 1},
    "an unknown argument": lambda: {"host": HOST, "port": 1, "no_such_argument": 1},
    "a family without addresses": lambda: {"host": HOST, "port": 1, "family": socket.AF_INET6},
    "an unknown family": lambda: {"host": HOST, "port": 1, "family": 12345},
    "a port that is too large": lambda: {"host": HOST, "port": 65536 * 4},
    "a negative port": lambda: {"host": HOST, "port": -1},
    "an unknown service": lambda: {"host": HOST, "port": "no-such-service"},
    "a float as port": lambda: {"host": HOST, "port": 1.5},
    "a list as host": lambda: {"host": [HOST], "port": 1},
    "a host with a null": lambda: {"host": "127.0.0.1\0b", "port": 1, "flags": socket.AI_NUMERICHOST},
    "a host of surrogates": lambda: {"host": "\udc80", "port": 1},
    "a label too long": lambda: {"host": "a" * 64 + ".example", "port": 1},
    "a local address that is none": lambda: {"host": HOST, "port": 1, "local_addr": 3},
    "a short local address": lambda: {"host": HOST, "port": 1, "local_addr": (HOST,)},
    "another family's local address": lambda: {"host": HOST, "port": 1, "local_addr": ("::1", 0)},
    "a stranger's local address": lambda: {"host": HOST, "port": 1, "local_addr": ("192.0.2.1", 0)},
    "a closed socket": lambda: {"sock": closed_socket()},
    "a string as socket": lambda: {"sock": "socket"},
}


def closed_socket():
    end = socket.socket()
    end.close()
    return end


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_wrong_arguments(loop_factory, arguments):
    def scenario(factory):
        loop, given = factory(), ARGUMENTS[arguments]()
        made = []
        seen = failure(lambda: connect(loop, factory=lambda: made.append(1), **given))
        if isinstance(given.get("sock"), socket.socket):
            # It stays the caller's.
            seen = seen, given["sock"].fileno() == -1
            given["sock"].close()
        loop.close()
        return seen, made

    with none_left():
        seen, made = like_asyncio(scenario, loop_factory)
    assert made == []
    assert seen not in (None, True)


def test_an_ssl_socket_is_refused(loop_factory):
    def scenario(factory):
        loop = factory()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        with context.wrap_socket(socket.socket(), do_handshake_on_connect=False) as wrapped:
            seen = [failure(lambda: connect(loop, sock=wrapped))]
            accepted = loop.connect_accepted_socket(Recorder, wrapped)
            seen.append(failure(lambda: loop.run_until_complete(accepted)))
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == [("TypeError", None, "Socket cannot be of type SSLSocket")] * 2


@pytest.mark.parametrize("host", [HOST, HOST.encode(), "localhost", "", None], ids=repr)
@pytest.mark.parametrize("port", [int, str, lambda port: str(port).encode()], ids=["int", "str", "bytes"])
def test_hosts_and_ports(loop_factory, listener, host, port):
    def scenario(factory):
        loop = factory()
        seen = failure(lambda: connect(loop, host, port(listener.getsockname()[1]), family=socket.AF_INET))
        loop.close()
        return seen

    with none_left():
        seen = like_asyncio(scenario, loop_factory)
    # An empty host is no host, but for a server.
    assert seen == ((True, listener.getsockname(), True) if host != "" else seen)
    assert (seen[0] == "gaierror") is (host == "")


@pytest.mark.parametrize(
    "host", ["fe80::1%lo", "fe80::1%1", "fe80::1%nosuch", "fe80::1%99", "fe80::1%", "127.0.0.1%lo"]
)
def test_zones(loop_factory, host):
    # The zone reaches the kernel, which has no such address, or refuses it before.
    def scenario(factory):
        loop = factory()
        seen = failure(lambda: connect(loop, host, 1))
        loop.close()
        return seen

    with none_left():
        seen = like_asyncio(scenario, loop_factory)
    assert seen[0] == ("gaierror" if host in ("fe80::1%nosuch", "fe80::1%", "127.0.0.1%lo") else "OSError")


@pytest.mark.parametrize(("host", "family"), [("::1", 0), ("::1", socket.AF_INET6), ("0:0:0:0:0:0:0:1", 0)])
def test_ipv6(loop_factory, host, family):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:

        def scenario(factory):
            loop = factory()
            seen = connect(loop, host, listener.getsockname()[1], family=family)
            loop.close()
            return seen

        assert like_asyncio(scenario, loop_factory)[1][:2] == listener.getsockname()[:2]


def test_options_of_the_socket(loop, listener):
    async def main():
        transport, _ = await loop.create_connection(Recorder, HOST, listener.getsockname()[1])
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert sock.proto == socket.IPPROTO_TCP
        assert sock.type == socket.SOCK_STREAM
        assert sock.get_inheritable() is False
        with sock.dup() as duplicate:
            assert duplicate.getblocking() is False
        transport.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("local", [(HOST, 0), ("127.0.0.2", 0), ("127.0.0.3", "0")])
def test_local_address(loop, listener, local):
    async def main():
        transport, _ = await loop.create_connection(Recorder, HOST, listener.getsockname()[1], local_addr=local)
        assert transport.get_extra_info("sockname")[0] == local[0]
        transport.close()

    with none_left(loop):
        loop.run_until_complete(main())
        end, (address, _) = listener.accept()
        assert address == local[0]
        end.close()


def test_local_address_that_is_taken(loop_factory, listener):
    def scenario(factory):
        loop = factory()
        port = listener.getsockname()[1]
        seen = failure(lambda: connect(loop, HOST, port, local_addr=(HOST, port)))
        loop.close()
        return seen

    with none_left():
        kind, number, text = like_asyncio(scenario, loop_factory)
    assert (kind, number) == ("OSError", 98)
    assert "error while attempting to bind on address" in text


def test_an_unreachable_address(loop_factory):
    # Answered by the kernel itself, without a packet.
    def scenario(factory):
        loop = factory()
        seen = [failure(lambda host=host: connect(loop, host, 1)) for host in ("255.255.255.255", "ff02::1")]
        loop.close()
        return seen

    with none_left():
        like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("sock", [False, True], ids=["host", "sock"])
@pytest.mark.parametrize("error", [ValueError("mine"), OSError(5, "mine"), asyncio.CancelledError("mine")], ids=repr)
def test_a_protocol_factory_that_raises(loop_factory, listener, error, sock):
    def scenario(factory):
        loop = factory()

        def make():
            raise error

        with contextlib.ExitStack() as stack:
            given = {"host": HOST, "port": listener.getsockname()[1]}
            if sock:
                given = {"sock": stack.enter_context(socket.create_connection(listener.getsockname()))}
            seen = raised(lambda: loop.run_until_complete(loop.create_connection(make, **given)))
            error.__traceback__ = None
            # asyncio leaves the connected socket to the collector, with a warning; nothing says that it must.
            gc.collect()
            goes_on(loop)
        loop.close()
        return seen

    with pytest.MonkeyPatch.context() as patch, none_left(collect=True):
        patch.setattr("sys.unraisablehook", lambda *_: None)
        assert like_asyncio(scenario, loop_factory) == (type(error).__name__, str(error))


@pytest.mark.parametrize("call", ["create_connection", "create_unix_connection", "connect_accepted_socket"])
@pytest.mark.parametrize("wrong", ["factory", "context"])
def test_a_socket_whose_transport_is_never_made(loop_factory, call, wrong):
    # From some patch of 3.14 on asyncio closes it; before, it stays the user's.
    def scenario(factory):
        loop = factory()
        ours, peer = connected_pair("socketpair")
        with ours, peer:
            given = {"sock": ours}
            if wrong == "context":
                given["ssl"] = ssl.SSLContext(
                    ssl.PROTOCOL_TLS_CLIENT if call == "connect_accepted_socket" else ssl.PROTOCOL_TLS_SERVER
                )
                if call != "connect_accepted_socket":
                    given["server_hostname"] = "x"
            make = Recorder if wrong == "context" else None
            seen = raised(lambda: loop.run_until_complete(getattr(loop, call)(make, **given)))
            is_open = ours.fileno() >= 0
        goes_on(loop)
        loop.close()
        gc.collect()
        return seen and seen[0], is_open

    with none_left():
        seen = like_asyncio(scenario, loop_factory)
    # A context of the wrong side has had two names.
    assert seen[0] in ({"SSLError", "ValueError"} if wrong == "context" else {"TypeError"})


def test_a_socket_of_the_loop_s_own_whose_transport_is_never_made(oneloop, listener):
    # asyncio leaves it to the collector, up to some patch of 3.14.
    loop = oneloop.new_event_loop()
    connect_really, sockets = loop.sock_connect, []

    async def sock_connect(sock, address):
        sockets.append(sock)
        await connect_really(sock, address)

    loop.sock_connect = sock_connect
    with pytest.raises(TypeError):
        connect(loop, HOST, listener.getsockname()[1], factory=None)
    assert [sock.fileno() for sock in sockets] == [-1]
    loop.close()


@pytest.mark.parametrize("wrong", [None, 3, "protocol", object], ids=repr)
def test_a_protocol_factory_that_makes_none(loop_factory, listener, wrong):
    def scenario(factory):
        loop = factory()
        make = (lambda: wrong) if wrong is not object else object
        seen = raised(lambda: connect(loop, HOST, listener.getsockname()[1], factory=make))
        gc.collect()
        goes_on(loop)
        loop.close()
        return seen and seen[0]

    with pytest.MonkeyPatch.context() as patch, none_left(collect=True):
        patch.setattr("sys.unraisablehook", lambda *_: None)
        assert like_asyncio(scenario, loop_factory) == "AttributeError"


def test_a_factory_that_cannot_be_called(loop_factory, listener):
    def scenario(factory):
        loop = factory()
        seen = raised(lambda: connect(loop, HOST, listener.getsockname()[1], factory=None))
        gc.collect()
        loop.close()
        return seen

    with pytest.MonkeyPatch.context() as patch, none_left(collect=True):
        patch.setattr("sys.unraisablehook", lambda *_: None)
        assert like_asyncio(scenario, loop_factory)[0] == "TypeError"


def test_a_blocking_socket_is_made_non_blocking(loop, listener):
    with socket.create_connection(listener.getsockname()) as client:
        assert client.getblocking()
        transport, _ = loop.run_until_complete(loop.create_connection(Recorder, sock=client))
        assert not client.getblocking()
        transport.abort()
        loop.run_until_complete(asyncio.sleep(0))


def test_a_socket_that_another_transport_has(loop_factory):
    # asyncio looks at this from 3.12 on, and from some patch of 3.14 on it closes what it then refuses.
    def scenario(factory):
        loop = factory()
        ours, peer = connected_pair("socketpair")
        with peer:
            transport, _ = loop.run_until_complete(loop.create_connection(Recorder, sock=ours))

            async def again():
                return [type(each).__name__ for each in await loop.create_connection(Recorder, sock=ours)]

            seen = failure(lambda: loop.run_until_complete(again()))
            if is_open := ours.fileno() >= 0:
                transport.write(b"still there")
                assert peer.recv(100) == b"still there"
            seen = seen, is_open
            transport.abort()
            loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        with found_unclosed():
            del transport
        return seen

    expected, seen = scenario(asyncio.SelectorEventLoop), scenario(loop_factory)
    if expected[0][0] == "RuntimeError":
        assert seen == expected
    else:
        assert seen[1]


def test_an_unconnected_socket(loop_factory):
    def scenario(factory):
        loop, protocol = factory(), Recorder()
        with socket.socket() as client:
            transport, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=client))
            seen = [transport.get_extra_info("peername")]
            while "lost" not in protocol.names:
                loop.run_until_complete(asyncio.sleep(0))
            seen.append([entry for entry in protocol.trace if entry[0] != "eof"])
        loop.close()
        return seen

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("kind", ["tcp", "tcp6", "unix", "socketpair"])
def test_an_accepted_socket(loop, kind):
    async def main():
        ours, peer = connected_pair(kind)
        ours.setblocking(True)
        with peer:
            transport, protocol = await loop.connect_accepted_socket(Recorder, ours)
            assert protocol.trace == [("made",)]
            assert transport.get_extra_info("peername") == peer.getsockname()
            transport.write(b"hello")
            transport.close()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            peer.setblocking(True)
            assert peer.recv(100) == b"hello"
            assert peer.recv(100) == b""
            assert protocol.trace[-1] == ("lost", None)

    with none_left(loop):
        loop.run_until_complete(main())


@pytest.mark.parametrize(
    "arguments",
    [
        {"sock": None},
        {"sock": 3},
        {"sock": udp},
        {"sock": closed_socket},
        {"sock": socket.socket, "ssl_handshake_timeout": 1},
        {"sock": socket.socket, "ssl_shutdown_timeout": 1},
        {"sock": socket.socket, "no_such_argument": 1},
    ],
    ids=["None", "int", "datagrams", "closed", "ssl_handshake_timeout", "ssl_shutdown_timeout", "unknown"],
)
def test_wrong_accepted_sockets(loop_factory, arguments):
    def scenario(factory):
        loop = factory()
        given = dict(arguments)
        with contextlib.ExitStack() as stack:
            if callable(given["sock"]):
                given["sock"] = stack.enter_context(given["sock"]())
            seen = failure(lambda: loop.run_until_complete(loop.connect_accepted_socket(Recorder, **given)))
        loop.close()
        return seen

    with none_left():
        like_asyncio(scenario, loop_factory)
