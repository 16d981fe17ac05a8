# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What a server knows of its connections: who is there, who has gone, and who is refused."""

import asyncio
import contextlib
import gc
import socket
import warnings

import pytest
from helpers.loops import steps
from helpers.scene import until

HOST = "127.0.0.1"
# Where asyncio's own methods count connections that they do not know.
COUNTS = not hasattr(asyncio.Server, "close_clients")


class Keeps(asyncio.Protocol):
    def __init__(self, kept):
        self.kept = kept

    def connection_made(self, transport):
        self.kept.append(transport)


@pytest.fixture
def ours(oneloop):
    loop = oneloop.new_event_loop()
    yield loop
    loop.close()


@contextlib.contextmanager
def served(loop, clients, make):
    server = loop.run_until_complete(loop.create_server(make, HOST, 0))
    with contextlib.ExitStack() as stack:
        address = server.sockets[0].getsockname()
        yield server, [stack.enter_context(socket.create_connection(address)) for _ in range(clients)]


def test_those_that_are_open(ours):
    kept = []
    with served(ours, 3, lambda: Keeps(kept)) as (server, _):
        until(ours, lambda: len(kept) == 3)
        known = server._clients
        assert len(known) == 3
        assert set(known) == set(kept) == set(known.copy())
        assert all(transport in known for transport in kept)
        gone = kept.pop()
        gone.abort()
        assert gone in known, "until the protocol is told"
        until(ours, lambda: gone not in known)
        assert set(known) == set(kept)
        known.discard(gone)
        server.close_clients()
        until(ours, lambda: not len(known))
        server.close()


def test_one_that_is_abandoned_is_not_kept(ours):
    made = []
    with served(ours, 1, lambda: made.append(True) or asyncio.Protocol()) as (server, _):
        until(ours, lambda: made)
        (transport,) = server._clients
        transport.pause_reading()  # now nobody but the loop's next entries knows it
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            del transport
            steps(ours, 3)
            gc.collect()
        assert [str(warning.message).split()[0] for warning in seen] == ["unclosed"]
        assert len(server._clients) == 0
        server.close()


def test_one_that_comes_after_the_end_is_refused(ours):
    """It was accepted, and the server is closed before it has its transport. asyncio would leave the socket open."""
    trace = []

    class Told(asyncio.Protocol):
        def connection_made(self, transport):
            trace.append("made")

    def make():
        # In the entry of the connection, before its transport is attached.
        server.close()
        trace.append("asked")
        return Told()

    ours.set_debug(True)
    ours.set_exception_handler(lambda _, context: trace.append(type(context["exception"])))
    with served(ours, 1, make) as (server, (client,)):
        until(ours, lambda: len(trace) >= 2)
        assert trace == ["asked", AssertionError]
        gc.collect()
        client.settimeout(5)
        assert client.recv(1) == b""
        ours.run_until_complete(asyncio.wait_for(server.wait_closed(), 5))


@pytest.mark.skipif(not COUNTS, reason="this asyncio counts nothing")
def test_those_without_a_name_count_as_well(ours):
    kept = []
    with served(ours, 1, lambda: Keeps(kept)) as (server, _):
        until(ours, lambda: kept)
        server._attach()
        assert server._active_count == 2
        server.close()
        waiter = ours.create_future()
        server._waiters.append(waiter)
        kept[0].abort()
        until(ours, lambda: server._active_count == 1)
        assert not waiter.done()
        server._detach()
        assert server._active_count == 0
        assert waiter.done()
        with pytest.raises(AssertionError):
            server._detach()
