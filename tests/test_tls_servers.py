# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""TLS through the calls that listen and connect: servers, clients, streams; reconnect storms.

What they refuse is in test_tls_arguments, how they are cancelled in test_tls_sweep.
"""

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import weakref

import pytest
from helpers.compare import like_asyncio
from helpers.descriptors import none_left
from helpers.loops import run_once
from helpers.processes import soon
from helpers.recorder import Recorder
from helpers.tls import HOST, VERSIONS, client_context, server_context


class Echo(asyncio.Protocol):
    """Sends back what it gets."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


@pytest.fixture(params=["tcp", "unix"])
def kind(request):
    return request.param


@contextlib.asynccontextmanager
async def serving(kind, directory, factory=Echo, context=None, **kwargs):
    """A TLS server, and how to connect to it."""
    loop = asyncio.get_running_loop()
    context = context or server_context()
    if kind == "tcp":
        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=context, **kwargs)
        address = server.sockets[0].getsockname()

        async def connect(factory, **tls):
            tls = {"ssl": client_context(), "server_hostname": HOST, **tls}
            return await loop.create_connection(factory, *address, **tls)
    else:
        path = os.path.join(directory, "socket")
        server = await loop.create_unix_server(factory, path, ssl=context, **kwargs)

        async def connect(factory, **tls):
            tls = {"ssl": client_context(), "server_hostname": HOST, **tls}
            return await loop.create_unix_connection(factory, path, **tls)

    try:
        yield server, connect
    finally:
        server.close()
        # What was aborted is let go of by entries of its own.
        for _ in range(5):
            await asyncio.sleep(0)


def run(loop, main):
    return loop.run_until_complete(asyncio.wait_for(main, 15))


def test_a_server_and_its_clients(loop, tmp_path, kind):
    async def main():
        async with serving(kind, tmp_path) as (_, connect):
            transport, protocol = await connect(Recorder)
            assert protocol.names == ["made"]
            assert ("DNS", HOST) in transport.get_extra_info("peercert")["subjectAltName"]
            transport.write(b"to and fro")
            while protocol.data != b"to and fro":
                await asyncio.sleep(0.001)
            transport.close()
            while "lost" not in protocol.names:
                await asyncio.sleep(0.001)
            return protocol.trace

    assert run(loop, main()) == [("made",), ("data", b"to and fro"), ("eof",), ("lost", None)]


def test_the_host_is_the_server_s_name(loop, tmp_path):
    async def main():
        async with serving("tcp", tmp_path) as (server, _):
            port = server.sockets[0].getsockname()[1]
            transport, _ = await loop.create_connection(Recorder, "127.0.0.1", port, ssl=client_context())
            name = transport.get_extra_info("ssl_object").server_hostname
            transport.abort()
            return name

    assert run(loop, main()) == "127.0.0.1"


def test_the_default_context(loop, tmp_path, monkeypatch):
    """`ssl=True`: what `ssl.create_default_context` makes, looked up when it is wanted."""
    made = []

    def create():
        made.append(client_context())
        return made[0]

    async def main():
        async with serving("tcp", tmp_path) as (_, connect):
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(Recorder, ssl=True)
            monkeypatch.setattr(ssl, "create_default_context", create)
            transport, _ = await connect(Recorder, ssl=True)
            assert transport.get_extra_info("sslcontext") is made[0]
            assert made[0].check_hostname is True
            transport.abort()

    run(loop, main())


def test_what_servers_say_of_clients_that_fail(loop_factory, debug):
    """Nothing, outside debug mode: such is the network."""

    def scenario(factory):
        with contextlib.closing(factory()) as loop:
            loop.set_debug(debug)
            reports, protocols = [], []

            def report(_, context):
                reports.append((context["message"], type(context["exception"]).__name__, *sorted(context)))

            def factory_of_protocols():
                protocols.append(Recorder())
                return protocols[-1]

            loop.set_exception_handler(report)

            async def main():
                server = await loop.create_server(factory_of_protocols, "127.0.0.1", 0, ssl=server_context())
                for say in (b"GET / HTTP/1.1\r\n\r\n", b""):
                    with socket.create_connection(server.sockets[0].getsockname()) as client:
                        client.send(say)
                        client.shutdown(socket.SHUT_WR)
                        client.setblocking(False)
                        while True:
                            try:
                                if not client.recv(100):
                                    break
                            except BlockingIOError:
                                await asyncio.sleep(0.001)
                            except ConnectionResetError:
                                break
                    await asyncio.sleep(0.01)
                server.close()

            run(loop, main())
            return reports, [protocol.trace for protocol in protocols]

    reports, traces = like_asyncio(scenario, loop_factory)
    assert traces == [[], []]
    assert bool(reports) == debug


@pytest.mark.parametrize("which", ["handshake", "shutdown"])
def test_limits_that_are_none(oneloop, which):
    """A server only finds out when somebody connects; in debug mode it says so, and in any mode lets go of the
    connection. On ours only: asyncio leaves it to the collector."""
    limits = {f"ssl_{which}_timeout": 0}
    reports = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.set_exception_handler(lambda _, context: reports.append((context["message"], str(context["exception"]))))
        server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=server_context(), **limits)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.setblocking(False)
            assert await loop.sock_recv(client, 100) == b""
        server.close()

    loop = oneloop.new_event_loop()
    run(loop, main())
    loop.close()
    text = f"ssl_{which}_timeout should be a positive number, got 0"
    assert reports == [("Error on transport creation for incoming connection", text)]


def test_a_slow_client_is_given_up(loop):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=server_context(), ssl_handshake_timeout=0.05)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.setblocking(False)
            while True:
                try:
                    ended = client.recv(100)
                    break
                except BlockingIOError:
                    await asyncio.sleep(0.001)
        server.close()
        await server.wait_closed()
        return ended

    assert run(loop, main()) == b""


@pytest.mark.parametrize("how", ["close_clients", "abort_clients"])
def test_a_server_that_ends_its_connections(oneloop, tmp_path, how):
    loop = oneloop.new_event_loop()

    async def main():
        async with serving("tcp", tmp_path) as (server, connect):
            made = [await connect(Recorder) for _ in range(3)]
            getattr(server, how)()
            for _, protocol in made:
                while "lost" not in protocol.names:
                    await asyncio.sleep(0.001)
            server.close()
            await server.wait_closed()
            return [(protocol.names[0], protocol.names[-1]) for _, protocol in made]

    assert run(loop, main()) == [("made", "lost")] * 3
    loop.close()


# Streams.


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_streams(loop, version):
    async def serve(reader, writer):
        async for line in reader:
            writer.writelines([b"you said: ", line])
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(version=version))
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address, ssl=client_context(), server_hostname=HOST)
        for number in range(100):
            writer.write(b"%d\n" % number)
            assert await reader.readline() == b"you said: %d\n" % number
        large = os.urandom(300_000).hex().encode() + b"\n"
        writer.write(large[:60_000] + b"\n")
        assert (await reader.readuntil(b"\n")) == b"you said: " + large[:60_000] + b"\n"
        assert writer.can_write_eof() is False
        writer.close()
        await writer.wait_closed()
        assert await reader.read() == b""
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_a_stream_s_start_tls(loop):
    """STARTTLS as mail servers have it, on both sides by the streams' own method."""

    async def serve(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"220 go ahead\n")
        await writer.drain()
        await writer.start_tls(server_context())
        assert writer.get_extra_info("cipher")
        writer.write(b"secret: " + await reader.readline())
        await writer.drain()
        assert await reader.read() == b""
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"220 go ahead\n"
        await writer.start_tls(client_context(), server_hostname=HOST)
        writer.write(b"word\n")
        assert await reader.readline() == b"secret: word\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(loop, main())


# Storms.


def objects():
    """Of every kind that a connection is made of."""
    gc.collect()
    kinds = (ssl.SSLObject, ssl.MemoryBIO, asyncio.BaseTransport, asyncio.BaseProtocol, asyncio.Task, asyncio.Handle)
    found = [type(each) for each in gc.get_objects() if isinstance(each, kinds)]
    return {each.__name__: found.count(each) for each in set(found)}


@pytest.mark.parametrize("end", ["client closes", "server closes", "client aborts", "in the handshake", "peer is gone"])
def test_a_reconnect_storm_leaves_nothing(loop, tmp_path, end):
    connections = 120
    ends = {"made": 0, "lost": 0}

    class Server(Echo):
        def connection_made(self, transport):
            ends["made"] += 1
            super().connection_made(transport)
            if end == "server closes":
                transport.close()

        def connection_lost(self, exc):
            ends["lost"] += 1

    async def one(connect):
        if end == "in the handshake":
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(connect(Recorder), 0.0005)
            return
        try:
            transport, protocol = await connect(Recorder)
        except ConnectionResetError:
            return
        transport.write(b"hello")
        if end == "client closes":
            while not protocol.data:
                await asyncio.sleep(0)
            transport.close()
        elif end == "client aborts":
            transport.abort()
        elif end == "peer is gone":
            with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same_socket:
                same_socket.shutdown(socket.SHUT_RDWR)
        while "lost" not in protocol.names:
            await asyncio.sleep(0.0005)

    async def storm(connect, count):
        for _ in range(count // 10):
            await asyncio.gather(*(one(connect) for _ in range(10)))

    async def main():
        async with serving("tcp", tmp_path, Server) as (_, connect):
            await storm(connect, 20)
            while ends["lost"] < ends["made"]:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)
            before = objects()
            with none_left(collect=True):
                await storm(connect, connections)
                await soon(lambda: ends["lost"] == ends["made"])
                # A client that gave up may come to the server only now, and leave it again.
                with contextlib.suppress(AssertionError):
                    await soon(lambda: objects() == before)
            assert ends["lost"] == ends["made"]
            return before, objects()

    before, after = loop.run_until_complete(main())
    assert after == before


def test_contexts_are_let_go_of(loop, tmp_path):
    contexts = [client_context(), server_context()]
    references = [weakref.ref(context) for context in contexts]

    async def main():
        async with serving("tcp", tmp_path, context=contexts[1]) as (server, connect):
            transport, protocol = await connect(Recorder, ssl=contexts[0])
            transport.close()
            while "lost" not in protocol.names:
                await asyncio.sleep(0.001)
            server.close()
            await server.wait_closed()
        protocol.transport = None

    run(loop, main())
    contexts.clear()
    run_once(loop)
    gc.collect()
    assert [reference() for reference in references] == [None, None]
