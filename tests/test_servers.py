# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""create_server: where it listens, what its sockets are, and what is refused."""

import asyncio
import inspect
import socket
import ssl
import weakref

import pytest
from helpers.compare import like_asyncio, logged
from helpers.connecting import failure
from helpers.descriptors import none_left
from helpers.loops import goes_on, run_once
from helpers.recorder import Recorder
from helpers.scene import anonymous

HOST = "127.0.0.1"
PARAMETERS = inspect.signature(asyncio.SelectorEventLoop.create_server).parameters


def listening(loop, *args, protocol_factory=Recorder, **kwargs):
    return loop.run_until_complete(loop.create_server(protocol_factory, *args, **kwargs))


def shut(loop, server):
    server.close()
    run_once(loop)


def without_port(address):
    return (*address[:1], *address[2:])


HOSTS = {
    "a literal": HOST,
    "another": "127.0.0.2",
    "IPv6": "::1",
    "a name": "localhost",
    "None": None,
    "empty": "",
    "any IPv4": "0.0.0.0",
    "any IPv6": "::",
    "two": [HOST, "127.0.0.2"],
    "both families": (HOST, "::1"),
    "the same twice": [HOST, HOST],
    "a generator": None,
    "bytes": b"127.0.0.1",
    "a list of an empty one": [""],
    "an unknown literal": "fe80::1%nosuch",
    "a list with a wrong one": [HOST, "fe80::1%nosuch"],
    "an int": 3,
    "a list of None": [None],
}


@pytest.mark.parametrize("host", HOSTS)
def test_hosts(loop_factory, host):
    def scenario(factory):
        loop = factory()
        given = (each for each in (HOST, "127.0.0.3")) if host == "a generator" else HOSTS[host]
        seen = failure(lambda: listening(loop, given, 0))
        if isinstance(seen, asyncio.Server):
            server = seen
            # One for each address, in no order, each with a port of its own.
            seen = sorted(
                (without_port(sock.getsockname()), sock.family, sock.type, sock.proto) for sock in server.sockets
            )
            for sock in server.sockets:
                assert sock.getsockname()[1] > 0
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
                assert sock.get_inheritable() is False
                if sock.family == socket.AF_INET6:
                    assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
            shut(loop, server)
        loop.close()
        return seen

    with none_left():
        seen = like_asyncio(scenario, loop_factory)
    if isinstance(seen, list):
        two = ("two", "both families", "None", "empty", "a list of None", "a generator")
        assert len(seen) == (2 if host in two else 1)


OPTIONS = {
    "defaults": {},
    "reuse_address": {"reuse_address": True},
    "no reuse_address": {"reuse_address": False},
    "reuse_port": {"reuse_port": True},
    "keep_alive": {"keep_alive": True},
    "no keep_alive": {"keep_alive": False},
    "family": {"family": socket.AF_INET},
    "wrong family": {"family": socket.AF_INET6},
    "flags": {"flags": 0},
    "backlog": {"backlog": 1},
    "backlog of zero": {"backlog": 0},
    "negative backlog": {"backlog": -1},
    "ssl is True": {"ssl": True},
    "ssl is False": {"ssl": False},
    "ssl_handshake_timeout": {"ssl_handshake_timeout": 1},
    "ssl_shutdown_timeout": {"ssl_shutdown_timeout": 1},
    "unknown": {"no_such_argument": 1},
}


@pytest.mark.parametrize("options", OPTIONS)
def test_options(loop_factory, options):
    if not OPTIONS[options].keys() - {"no_such_argument"} <= PARAMETERS.keys():
        return  # a later version's

    def scenario(factory):
        loop = factory()
        seen = failure(lambda: listening(loop, HOST, 0, **OPTIONS[options]))
        if isinstance(seen, asyncio.Server):
            server = seen
            names = (socket.SO_REUSEADDR, socket.SO_REUSEPORT, socket.SO_KEEPALIVE)
            seen = [bool(server.sockets[0].getsockopt(socket.SOL_SOCKET, name)) for name in names]
            shut(loop, server)
        elif seen[0] == "TypeError" and "ssl" not in seen[2]:
            seen = "TypeError"
        loop.close()
        return seen

    with none_left():
        seen = like_asyncio(scenario, loop_factory)
    if options == "keep_alive":
        assert seen == [True, False, True]
    elif options == "reuse_port":
        assert seen == [True, True, False]


def test_reuse_port_lets_two_servers_listen(loop):
    first = listening(loop, HOST, 0, reuse_port=True)
    second = listening(loop, HOST, first.sockets[0].getsockname()[1], reuse_port=True)
    assert first.sockets[0].getsockname() == second.sockets[0].getsockname()
    shut(loop, first)
    shut(loop, second)


def test_an_address_that_is_taken(loop_factory):
    with socket.create_server((HOST, 0)) as taken:

        def scenario(factory):
            loop = factory()
            hosts = ["127.0.0.5", HOST, "127.0.0.6"]
            seen = [failure(lambda host=host: listening(loop, host, taken.getsockname()[1])) for host in (HOST, hosts)]
            loop.close()
            return seen

        with none_left():
            seen = like_asyncio(scenario, loop_factory)
        text = f"error while attempting to bind on address {taken.getsockname()}: "
        for kind, number, message in seen:
            assert (kind, number) == ("OSError", 98)
            assert text in message


def test_an_address_of_somebody_else(loop_factory):
    def scenario(factory):
        loop = factory()
        seen = [failure(lambda: listening(loop, "192.0.2.1", 0))]
        both = failure(lambda: listening(loop, ["192.0.2.1", HOST], 0))
        if isinstance(both, asyncio.Server):
            seen.append([sock.getsockname()[0] for sock in both.sockets])
            shut(loop, both)
        else:
            seen.append(both)
        loop.close()
        return seen

    with none_left():
        like_asyncio(scenario, loop_factory)


def udp():
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


ARGUMENTS = {
    "nothing": dict,
    "host and sock": lambda: {"host": HOST, "sock": socket.socket()},
    "port and sock": lambda: {"port": 0, "sock": socket.socket()},
    "a datagram socket": lambda: {"sock": udp()},
    "a string as socket": lambda: {"sock": "socket"},
    "a port that is too large": lambda: {"host": HOST, "port": 1 << 18},
    "a negative port": lambda: {"host": HOST, "port": -1},
    "an unknown service": lambda: {"host": HOST, "port": "no-such-service"},
}


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_wrong_arguments(loop_factory, arguments):
    def scenario(factory):
        loop, given = factory(), ARGUMENTS[arguments]()
        seen = failure(lambda: listening(loop, **given))
        if isinstance(given.get("sock"), socket.socket):
            seen = seen, given["sock"].fileno() == -1
            given["sock"].close()
        loop.close()
        return seen

    with none_left():
        seen = like_asyncio(scenario, loop_factory)
    if arguments == "nothing":
        assert seen == ("ValueError", None, "Neither host/port nor sock were specified")


@pytest.mark.parametrize(
    ("error", "given"),
    [
        (TypeError, {"backlog": "1"}),
        (TypeError, {"backlog": None}),
        (ZeroDivisionError, {"host": (str(1 // each) for each in (1, 0))}),
        (TypeError, {"host": 3.5}),
        (OSError, {"port": [1]}),
        (OSError, {"host": []}),
    ],
    ids=["backlog of a str", "backlog of None", "failing hosts", "a float", "a list as port", "no hosts"],
)
def test_what_is_refused_leaves_nothing(oneloop, error, given):
    # asyncio leaves open sockets and coroutines that were never awaited to the collector.
    loop = oneloop.new_event_loop()
    with none_left(loop), pytest.raises(error):
        listening(loop, **{"host": HOST, "port": 0, **given})
    goes_on(loop)
    loop.close()


def test_an_ssl_socket_is_refused(loop_factory):
    def scenario(factory):
        loop = factory()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with context.wrap_socket(socket.socket(), server_side=True, do_handshake_on_connect=False) as wrapped:
            seen = failure(lambda: listening(loop, sock=wrapped))
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == ("TypeError", None, "Socket cannot be of type SSLSocket")


@pytest.mark.parametrize("bound", [True, False])
def test_a_given_socket(loop, bound):
    with none_left(loop):
        given = socket.socket()
        if bound:
            given.bind((HOST, 0))
        server = listening(loop, sock=given)
        assert given.getblocking() is False
        (sock,) = server.sockets
        assert sock.fileno() == given.fileno()
        assert sock.getsockname() == given.getsockname()
        with socket.create_connection((HOST, sock.getsockname()[1])):
            pass
        shut(loop, server)
        # Closed through its own object.
        assert given.fileno() == -1


def test_never_started_and_closed(loop):
    with none_left(loop):
        server = listening(loop, HOST, 0, start_serving=False)
        shut(loop, server)


def test_debug_mode_says_so(loop_factory):
    def scenario(factory):
        loop = factory()
        loop.set_debug(True)
        with logged() as lines:
            server = listening(loop, HOST, 0)
        shut(loop, server)
        loop.close()
        return [line for line in lines if "serving" in line and "poll" not in line]

    (line,) = [
        anonymous(line).replace(line[line.find("(") : line.find(")")], "ADDRESS") for line in scenario(loop_factory)
    ]
    assert line.startswith("INFO: <Server sockets=(")
    assert line.endswith("> is serving [NoneType: None]")


def test_the_server_is_asyncio_s(loop):
    server = listening(loop, HOST, 0)
    assert isinstance(server, asyncio.Server)
    assert isinstance(server, asyncio.AbstractServer)
    assert weakref.ref(server)() is server
    assert server.get_loop() is loop
    assert repr(server).startswith("<Server sockets=(<asyncio.TransportSocket fd=")
    shut(loop, server)
    assert repr(server) == "<Server sockets=()>"
