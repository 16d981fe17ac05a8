# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""A server's life after it listens: close, wait_closed, serve_forever, async with, close_clients and abort_clients, and
what becomes of its connections."""

import asyncio
import contextlib
import gc
import socket

import pytest
from helpers.compare import like_asyncio, raised
from helpers.descriptors import found_unclosed, none_left
from helpers.loops import goes_on, run_once, steps
from helpers.recorder import Recorder
from helpers.scene import anonymous, until

HOST = "127.0.0.1"
# Where a server knows its clients.
HAS_CLOSE_CLIENTS = hasattr(asyncio.Server, "close_clients")


class Served:
    """A server with clients that are connected, and a trace of what happens to all of them."""

    def __init__(self, loop, stack, clients=0, **kwargs):
        self.loop, self.trace, self.transports = loop, [], []
        self.server = loop.run_until_complete(loop.create_server(self.make, HOST, 0, **kwargs))
        self.address = self.server.sockets[0].getsockname()
        self.clients = []
        for number in range(clients):
            self.clients.append(stack.enter_context(socket.create_connection(self.address)))
            until(loop, lambda number=number: len(self.transports) > number)
        # The task that accepted the last one ends too.
        steps(loop, 2)

    def make(self):
        protocol = Recorder(len(self.transports), self.trace)
        protocol.on["made"] = self.transports.append
        return protocol

    def end(self):
        for transport in self.transports:
            # asyncio's own may fail to be aborted once it is lost.
            if not transport.is_closing():
                transport.abort()
        self.server.close()
        steps(self.loop, 3)


@contextlib.contextmanager
def served(factory, clients=0, **kwargs):
    loop = factory()
    with contextlib.ExitStack() as stack:
        made = Served(loop, stack, clients, **kwargs)
        yield made
        made.end()
    loop.close()


@pytest.mark.parametrize("clients", [0, 2])
def test_close(loop_factory, clients):
    def scenario(factory):
        with served(factory, clients) as scene:
            server, seen = scene.server, []
            for _ in range(2):
                seen.append(server.close())
                seen.append((server.is_serving(), server.sockets))
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(scene.address)
            steps(scene.loop, 2)
            # The connections are not the server's.
            for client in scene.clients:
                client.send(b"still here")
            until(scene.loop, lambda: len(scene.trace) == 2 * clients)
            return seen, sorted(scene.trace)

    with none_left():
        seen, _ = like_asyncio(scenario, loop_factory)
    assert seen == [None, (False, ())] * 2


def test_closed_with_connections_in_the_queue(loop_factory):
    with none_left(), served(loop_factory, start_serving=True) as scene, socket.create_connection(scene.address) as one:
        scene.server.close()
        steps(scene.loop, 2)
        one.settimeout(5)
        assert raised(lambda: one.recv(1))[0] == "ConnectionResetError"


def wait(scene):
    """A task in wait_closed(), which had the time to get there."""
    task = scene.loop.create_task(scene.server.wait_closed())
    steps(scene.loop, 2)
    return task


@pytest.mark.parametrize("clients", [0, 1, 3])
def test_wait_closed(loop_factory, clients):
    # 3.11 returns at once when the server is closed, and so on: it is that version's promise and no other's.
    def scenario(factory):
        with served(factory, clients) as scene:
            seen = []
            waiting = [wait(scene)]
            seen.append([task.done() for task in waiting])
            scene.server.close()
            waiting.append(wait(scene))
            seen.append([task.done() for task in waiting])
            for transport in scene.transports:
                transport.abort()
                steps(scene.loop, 3)
                seen.append([task.done() for task in waiting])
            waiting.append(wait(scene))
            seen.append([task.done() for task in waiting])
            seen.append([task.done() and task.result() for task in waiting])
            for task in waiting:
                task.cancel()
            steps(scene.loop, 2)
            return seen

    with none_left():
        like_asyncio(scenario, loop_factory)


def test_wait_closed_that_is_cancelled(loop_factory):
    def scenario(factory):
        with served(factory, 1) as scene:
            first, second = wait(scene), wait(scene)
            first.cancel()
            scene.server.close()
            scene.transports[0].abort()
            steps(scene.loop, 4)
            return first.cancelled(), second.done(), second.cancelled()

    assert like_asyncio(scenario, loop_factory) == (True, True, False)


def test_a_connection_that_is_lost_before_close_is_forgotten(loop_factory):
    with none_left(), served(loop_factory, 2) as scene:
        for client in scene.clients:
            client.close()
        until(scene.loop, lambda: [entry[1] for entry in scene.trace].count("lost") == 2)
        scene.server.close()
        scene.loop.run_until_complete(asyncio.wait_for(scene.server.wait_closed(), 5))


def test_a_connection_that_nobody_closed_is_forgotten_too(loop_factory):
    with none_left(collect=True), served(loop_factory, 1) as scene:
        scene.server.close()
        scene.transports[0].pause_reading()
        with found_unclosed() as messages:
            scene.transports.clear()
        assert messages[-1].startswith("unclosed transport <")
        if HAS_CLOSE_CLIENTS:
            # Before, its server counts it for ever.
            scene.loop.run_until_complete(asyncio.wait_for(scene.server.wait_closed(), 5))


def test_serve_forever(loop_factory):
    with none_left(), served(loop_factory, start_serving=False) as scene:
        loop, server = scene.loop, scene.server
        task = loop.create_task(server.serve_forever())
        run_once(loop)
        assert server.is_serving()
        with socket.create_connection(scene.address):
            until(loop, lambda: scene.transports)
            (transport,) = scene.transports
            again = anonymous(raised(lambda: loop.run_until_complete(server.serve_forever()))[1])
            assert again.startswith("server <Server sockets=(<asyncio.TransportSocket fd=N, ")
            assert again.endswith("> is already being awaited on serve_forever()")
            transport.abort()
            steps(loop, 2)
            task.cancel()
            until(loop, task.done)
        assert task.cancelled()
        assert server.sockets == ()
        assert not server.is_serving()
        closed = raised(lambda: loop.run_until_complete(server.serve_forever()))
        assert closed == ("RuntimeError", "server <Server sockets=()> is closed")


def test_serve_forever_ends_with_close(loop_factory):
    def scenario(factory):
        with served(factory) as scene:
            task = scene.loop.create_task(scene.server.serve_forever())
            steps(scene.loop, 2)
            scene.server.close()
            steps(scene.loop, 4)
            return task.done(), task.cancelled(), scene.server.is_serving()

    assert like_asyncio(scenario, loop_factory) == (True, True, False)


def test_serve_forever_cancelled_with_clients(loop_factory):
    def scenario(factory):
        with served(factory, 2) as scene:
            task, seen = scene.loop.create_task(scene.server.serve_forever()), []
            steps(scene.loop, 2)
            task.cancel()
            steps(scene.loop, 4)
            seen.append((task.done(), scene.server.sockets))
            for transport in scene.transports:
                transport.abort()
            steps(scene.loop, 4)
            seen.append((task.done(), scene.trace.count((1, "lost", None))))
            return seen

    with none_left():
        assert like_asyncio(scenario, loop_factory)[-1] == (True, 1)


def test_async_with(loop_factory):
    with none_left(), served(loop_factory) as scene:

        async def main():
            async with scene.server as server:
                assert server is scene.server
                assert server.is_serving()
            assert server.sockets == ()

        scene.loop.run_until_complete(asyncio.wait_for(main(), 5))


def test_async_with_and_serve_forever_left_by_an_exception(loop_factory):
    async def main(scene):
        with pytest.raises(ZeroDivisionError):
            async with scene.server:
                raise ZeroDivisionError
        with pytest.raises(RuntimeError, match="is closed"):
            await scene.server.serve_forever()

    with none_left(), served(loop_factory) as scene:
        scene.loop.run_until_complete(asyncio.wait_for(main(scene), 5))


@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
@pytest.mark.parametrize("first", ["clients first", "server first"])
@pytest.mark.parametrize("unsent", [0, 10_000_000])
def test_close_and_abort_clients(loop_name, loop_factory, method, first, unsent):
    if loop_name == "asyncio" and not HAS_CLOSE_CLIENTS:
        return  # a later version's; ours has it on all
    with none_left(), served(loop_factory, 3) as scene:
        for transport in scene.transports:
            transport.set_write_buffer_limits(1 << 30)
            transport.write(bytes(unsent))
        if first == "server first":
            scene.server.close()
        getattr(scene.server, method)()
        assert [transport.is_closing() for transport in scene.transports] == [True] * 3
        # One more time, while they are on their way.
        getattr(scene.server, method)()
        steps(scene.loop, 2)
        lost = [entry for entry in scene.trace if entry[1] == "lost"]
        if method == "close_clients" and unsent:
            # What was written is still sent.
            assert lost == []
            received = 0
            for client in scene.clients:
                client.setblocking(False)

            def all_received():
                nonlocal received
                for client in scene.clients:
                    with contextlib.suppress(BlockingIOError):
                        received += len(client.recv(1 << 20))
                return received == 3 * unsent

            until(scene.loop, all_received)
            until(scene.loop, lambda: [entry[1] for entry in scene.trace].count("lost") == 3)
        else:
            assert sorted(lost) == [(0, "lost", None), (1, "lost", None), (2, "lost", None)]
        if first == "clients first":
            assert scene.server.is_serving()
            with socket.create_connection(scene.address):
                until(scene.loop, lambda: len(scene.transports) == 4)
                getattr(scene.server, method)()
                steps(scene.loop, 2)
            scene.server.close()
        scene.loop.run_until_complete(asyncio.wait_for(scene.server.wait_closed(), 5))
        getattr(scene.server, method)()


def test_connection_lost_that_closes_the_other_clients(loop_name, loop_factory):
    if loop_name == "asyncio" and not HAS_CLOSE_CLIENTS:
        return  # a later version's; ours has it on all
    with none_left(), served(loop_factory, 4) as scene:
        for transport in scene.transports:
            transport.get_protocol().on["lost"] = lambda _: (scene.server.abort_clients(), scene.server.close())
        scene.transports[2].abort()
        steps(scene.loop, 4)
        assert [entry[1] for entry in scene.trace].count("lost") == 4
        scene.loop.run_until_complete(asyncio.wait_for(scene.server.wait_closed(), 5))


def test_closed_by_its_own_protocol_factory(oneloop):
    # The listening socket goes away while the loop accepts from it. asyncio's Server refuses the connection by an
    # assertion that nobody hears of; ours may serve it or hang up, but not leave the clients waiting.
    loop, made = oneloop.new_event_loop(), []

    def make():
        server.close()
        made.append(Recorder())
        return made[-1]

    with none_left(loop):
        server = loop.run_until_complete(loop.create_server(make, HOST, 0))
        address = server.sockets[0].getsockname()
        with socket.create_connection(address) as one, socket.create_connection(address) as two:
            until(loop, lambda: made)
            steps(loop, 5)
            assert server.sockets == ()
            for protocol in made:
                if protocol.transport is not None:
                    protocol.transport.abort()
            steps(loop, 3)
            for client in (one, two):
                client.settimeout(5)
                assert raised(lambda client=client: client.recv(1)) in (
                    None,
                    ("ConnectionResetError", "[Errno 104] Connection reset by peer"),
                )
    goes_on(loop)
    loop.close()


def test_a_loop_that_is_closed_with_a_server_open(loop_factory):
    # Everything that the loop made for itself goes; the sockets are the server's, and go with it.
    with none_left(collect=True):
        loop = loop_factory()
        server = loop.run_until_complete(loop.create_server(Recorder, HOST, 0))
        loop.close()
        with found_unclosed():
            del server


def test_a_server_that_nobody_keeps_goes_on_serving(loop_factory):
    # The loop keeps what it accepts from.
    made = []

    def make():
        made.append(Recorder())
        return made[-1]

    loop = loop_factory()
    server = loop.run_until_complete(loop.create_server(make, HOST, 0))
    address, number = server.sockets[0].getsockname(), server.sockets[0].fileno()
    del server
    gc.collect()
    with socket.create_connection(address):
        until(loop, lambda: made and made[0].trace)
        made[0].transport.abort()
        steps(loop, 2)
    assert number >= 0
    with found_unclosed():
        loop.close()
        del loop
        made.clear()
