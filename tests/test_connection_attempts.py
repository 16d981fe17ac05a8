# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""create_connection with several addresses: in which order they are tried, which one is taken, what the errors say, and
how happy eyeballs and interleaving go about it."""

import asyncio
import contextlib
import gc
import inspect
import os
import re
import socket
import sys
import weakref

import pytest
from helpers.compare import like_asyncio, raised
from helpers.connecting import connect, failure
from helpers.descriptors import none_left
from helpers.loops import goes_on, run_once

HOST = "127.0.0.1"


@pytest.fixture
def listener():
    with socket.create_server((HOST, 0)) as made:
        yield made


@pytest.fixture
def refusing():
    """Makes addresses that refuse: bound, so that nobody else takes them, and not listening."""
    with contextlib.ExitStack() as stack:

        def make(host=HOST):
            taken = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
            taken.bind((host, 0))
            return taken.getsockname()[:2]

        yield make


def test_refused(loop_factory, refusing):
    _, port = refusing()

    def scenario(factory):
        loop = factory()
        seen = [failure(lambda: connect(loop, HOST, port)), failure(lambda: connect(loop, HOST, port, interleave=1))]
        loop.close()
        return seen

    with none_left():
        seen = like_asyncio(scenario, loop_factory)
    assert seen[0] == ("ConnectionRefusedError", 111, f"[Errno 111] Connect call failed ('127.0.0.1', {port})")


def resolving_to(loop, *addresses):
    """Let the loop's own getaddrinfo answer with these."""

    async def getaddrinfo(host, port, **kwargs):
        return [
            (socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
            for address in addresses
        ]

    loop.getaddrinfo = getaddrinfo


def test_the_first_address_that_answers_is_taken(loop_factory, listener, refusing):
    addresses = [refusing(), refusing("::1"), listener.getsockname(), refusing()]

    def scenario(factory):
        loop = factory()
        resolving_to(loop, *addresses)
        seen = connect(loop, "a name", 1)
        loop.close()
        return seen

    with none_left():
        assert like_asyncio(scenario, loop_factory) == (True, listener.getsockname(), True)


@pytest.mark.parametrize("eyeballs", [{}, {"happy_eyeballs_delay": 0.01}, {"happy_eyeballs_delay": 0, "interleave": 2}])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_when_none_answers(loop_factory, refusing, eyeballs, count):
    addresses = [refusing() for _ in range(count)]

    def scenario(factory):
        loop = factory()
        resolving_to(loop, *addresses)
        seen = failure(lambda: connect(loop, "a name", 1, **eyeballs))
        resolving_to(loop, *[addresses[0]] * count)
        same = failure(lambda: connect(loop, "a name", 1, **eyeballs))
        loop.close()
        return seen, same

    with none_left():
        seen, same = like_asyncio(scenario, loop_factory)
    refused = ("ConnectionRefusedError", 111, f"[Errno 111] Connect call failed ('127.0.0.1', {addresses[0][1]})")
    assert same == refused
    if count > 1:
        assert seen[0] == "OSError"
        assert seen[2].startswith("Multiple exceptions: [Errno 111] Connect call failed ('127.0.0.1', ")


ALL_ERRORS = "all_errors" in inspect.signature(asyncio.SelectorEventLoop.create_connection).parameters


@pytest.mark.parametrize("eyeballs", [{}, {"happy_eyeballs_delay": 0.01}])
def test_all_errors(loop_factory, refusing, eyeballs):
    if not ALL_ERRORS:
        return  # a later version's

    addresses = [refusing() for _ in range(3)]

    def scenario(factory):
        loop = factory()
        resolving_to(loop, *addresses)
        seen = failure(lambda: connect(loop, "a name", 1, all_errors=True, **eyeballs))
        loop.close()
        return seen

    with none_left():
        seen = like_asyncio(scenario, loop_factory)
    assert seen[:2] == ("ExceptionGroup", "create_connection failed")
    assert [each[0] for each in seen[2]] == ["ConnectionRefusedError"] * 3


def failing(loop, error, addresses, good=None):
    """Every attempt but that to the good address fails with the error before anything is sent."""
    resolving_to(loop, *addresses)
    connect_really = loop.sock_connect

    async def sock_connect(sock, address):
        if address != good:
            raise error
        await connect_really(sock, address)

    loop.sock_connect = sock_connect


NOT_THE_SYSTEM_S = [ValueError("mine"), asyncio.CancelledError("mine")]


@pytest.mark.parametrize("error", NOT_THE_SYSTEM_S, ids=repr)
def test_a_race_goes_on_after_a_failure_of_any_kind(loop_factory, listener, error):
    good = listener.getsockname()

    def scenario(factory):
        loop = factory()
        failing(loop, error, [(HOST, 1), good], good)
        seen = connect(loop, "a name", 1, happy_eyeballs_delay=10)
        loop.close()
        return seen

    with none_left():
        assert like_asyncio(scenario, loop_factory) == (True, good, True)


@pytest.mark.parametrize("error", NOT_THE_SYSTEM_S, ids=repr)
def test_a_race_in_which_nothing_failed_as_the_system_does(oneloop, error):
    def scenario(factory):
        loop = factory()
        failing(loop, error, [(HOST, 1), (HOST, 2)])
        seen = raised(lambda: connect(loop, "a name", 1, happy_eyeballs_delay=10))
        loop.close()
        return seen

    timeout = ("TimeoutError", "create_connection failed")
    with none_left():
        # Up to some patch of 3.13 asyncio stumbles over this.
        assert scenario(asyncio.SelectorEventLoop) in (timeout, ("IndexError", "list index out of range"))
        assert scenario(oneloop.new_event_loop) == timeout


@pytest.mark.parametrize("eyeballs", [{}, {"happy_eyeballs_delay": 10}], ids=["one by one", "race"])
def test_a_failure_is_in_no_cycle(oneloop, refusing, eyeballs):
    """Whoever catches it is the only one who has it. asyncio's is found by the collector, up to some patch of 3.13."""
    loop = oneloop.new_event_loop()
    resolving_to(loop, *[refusing()] * 2)

    class Witness:
        """Stands in a frame that the failure went through."""

    async def main():
        witness = Witness()
        alive.append(weakref.ref(witness))
        await loop.create_connection(asyncio.Protocol, "a name", 1, **eyeballs)

    alive = []
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(ConnectionRefusedError):
            loop.run_until_complete(main())
        assert [reference() for reference in alive] == [None]
    finally:
        gc.enable()
    loop.close()


def test_no_addresses(loop_factory):
    def scenario(factory):
        loop = factory()
        resolving_to(loop)
        seen = failure(lambda: connect(loop, "a name", 1))
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == ("OSError", None, "getaddrinfo() returned empty list")


@contextlib.contextmanager
def silent():
    """An address that does not answer: a listener whose queue is full drops what comes."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind((HOST, 0))
        full.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield full.getsockname()


def test_happy_eyeballs_do_not_wait_for_who_is_silent(loop_factory, listener):
    with silent() as address:
        loop = loop_factory()
        resolving_to(loop, address, listener.getsockname())
        with none_left(loop):
            seen = connect(loop, "a name", 1, happy_eyeballs_delay=0.02)
        assert seen == (True, listener.getsockname(), True)
        goes_on(loop)
        loop.close()


def test_happy_eyeballs_go_on_at_once_when_one_is_refused(loop_factory, listener, refusing):
    loop = loop_factory()
    resolving_to(loop, refusing(), listener.getsockname())
    with none_left(loop):
        # Were it to wait for the delay, the test would not end in its time.
        assert connect(loop, "a name", 1, happy_eyeballs_delay=1000)[1] == listener.getsockname()
    loop.close()


def tried(factory, addresses, **kwargs):
    """In which order addresses are tried, as the errors tell it."""
    loop = factory()
    resolving_to(loop, *addresses)
    text = failure(lambda: connect(loop, "a name", 1, **kwargs))[2]
    loop.close()
    found = re.findall(r"\('([^']+)', (\d+)", text)
    return [addresses.index((host, int(port))) for host, port in found]


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"interleave": 0},
        {"interleave": 1},
        {"interleave": 2},
        {"interleave": 3},
        {"interleave": 9},
        {"happy_eyeballs_delay": 1000},
        {"happy_eyeballs_delay": 1000, "interleave": 2},
        {"happy_eyeballs_delay": 1000, "interleave": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("families", ["6664", "666444", "464646", "6444"])
def test_interleaving(loop_factory, refusing, families, kwargs):
    addresses = [refusing("::1" if family == "6" else HOST) for family in families]
    with none_left():
        order = like_asyncio(lambda factory: tried(factory, addresses, **kwargs), loop_factory)
    assert sorted(order) == list(range(len(families)))
    if not kwargs:
        assert order == sorted(order)


# Not known to be this machine's own, so that what became of it is waited for.
SOMEWHERE = "0.0.0.0"


def test_connecting_that_is_waited_for(loop_factory, listener, refusing):
    port = listener.getsockname()[1]
    _, closed = refusing()

    def scenario(factory):
        loop = factory()
        seen = [connect(loop, SOMEWHERE, port), failure(lambda: connect(loop, SOMEWHERE, closed))]
        loop.close()
        return seen

    with none_left():
        seen = like_asyncio(scenario, loop_factory)
    message = f"[Errno 111] Connect call failed ('{SOMEWHERE}', {closed})"
    assert seen == [(True, (HOST, port), True), ("ConnectionRefusedError", 111, message)]


@pytest.fixture
def audited():
    """The events that name a socket. A hook stays for ever, so this one is deaf afterwards."""
    events, is_on = [], True

    def hook(event, args):
        if is_on and event == "socket.connect":
            events.append((event, args))

    sys.addaudithook(hook)
    yield events
    is_on = False
    events.clear()


@pytest.mark.parametrize("host", [HOST, SOMEWHERE])
def test_audit_hooks_see_it(loop_factory, listener, host, audited):
    port = listener.getsockname()[1]

    def scenario(factory):
        loop = factory()
        audited.clear()
        connect(loop, host, port)
        seen = [(event, address) for event, (sock, address) in audited if isinstance(sock, socket.socket)]
        loop.close()
        return seen

    assert like_asyncio(scenario, loop_factory) == [("socket.connect", (host, port))]


@pytest.mark.parametrize("default", [None, 0.0, 5.0])
def test_the_socket_of_a_connection_does_not_block(loop_factory, listener, default):
    """Whatever the default is, and is else as it would be if it had been made to block first."""

    def scenario(factory):
        with contextlib.closing(factory()) as loop:
            made = loop.create_connection(asyncio.Protocol, *listener.getsockname())
            transport, _ = loop.run_until_complete(made)
            sock = transport.get_extra_info("socket")._sock
            seen = [sock.gettimeout(), sock.family, sock.type, sock.proto, os.get_blocking(sock.fileno())]
            seen.append(sock.get_inheritable())
            transport.abort()
            run_once(loop)
            return seen

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(default)
    try:
        seen = like_asyncio(scenario, loop_factory)
    finally:
        socket.setdefaulttimeout(before)
    assert seen == [0.0, socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, False, False]


def test_a_class_in_the_place_of_sockets_is_asked_as_by_asyncio(loop_factory, listener, monkeypatch):
    class Asked(socket.socket):
        def __init__(self, *args, **kwargs):
            given = dict(zip(("family", "type", "proto"), args, strict=False)) | kwargs
            asked.append([int(given[name]) for name in ("family", "type", "proto")])
            super().__init__(*args, **kwargs)

        def setblocking(self, flag):
            asked.append(flag)
            super().setblocking(flag)

    def scenario(factory):
        asked.clear()
        with contextlib.closing(factory()) as loop, monkeypatch.context() as patch:
            patch.setattr(socket, "socket", Asked)
            made = loop.create_connection(asyncio.Protocol, *listener.getsockname())
            transport, _ = loop.run_until_complete(made)
            transport.abort()
            run_once(loop)
            return asked[:2]  # asyncio says so once more

    asked = []
    kind = [int(socket.AF_INET), int(socket.SOCK_STREAM), int(socket.IPPROTO_TCP)]
    assert like_asyncio(scenario, loop_factory) == [kind, False]


def test_a_socket_of_pythons_own_is_made_not_to_block(oneloop, listener):
    """By the call that makes it: a hook sees with what."""
    kinds = []
    is_on = True

    def hook(event, args):
        if is_on and event == "socket.__new__":
            kinds.append(args[2])

    with contextlib.closing(oneloop.new_event_loop()) as loop:
        sys.addaudithook(hook)  # for ever, so it is deaf afterwards
        made = loop.create_connection(asyncio.Protocol, *listener.getsockname())
        transport, _ = loop.run_until_complete(made)
        is_on = False
        transport.abort()
        run_once(loop)
    assert kinds == [socket.SOCK_STREAM | socket.SOCK_NONBLOCK]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.0.0.01", "127.1", "::1%lo", "1::2::3", "", "127.0.0.1 "]
)
@pytest.mark.parametrize("family", [0, socket.AF_INET, socket.AF_INET6, int(socket.AF_INET), 9999, -1])
@pytest.mark.parametrize("port", [80, 0, 65535, 65536, -1, True, "80", 80.0])
def test_what_is_a_literal(oneloop, host, family, port):
    """The quick look is right wherever it knows, and knows the usual."""
    from oneloop import _addresses, _core

    quick = _core._literal(host, port, family, 0)
    if quick is not None:
        info = _addresses.literal(host, port, family, socket.SOCK_STREAM, 0)
        assert quick == (info[0], info[4])
    usual = host in ("127.0.0.1", "::1") and type(port) is int and 0 <= port < 65536
    fitting = socket.AF_INET6 if ":" in host else socket.AF_INET
    assert (quick is not None) >= (usual and family in (0, fitting))
    assert _core._literal(host, port, family, socket.IPPROTO_SCTP) is None
