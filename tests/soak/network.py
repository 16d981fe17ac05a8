# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""One round of each kind of work on the network; what is opened in a round is closed when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket

from helpers.tls import HOST

from soak.stage import FILE_SIZE, PAYLOAD, echo, hang_up, talk

SIZES = (1, 1_000, 100_000)
chance = random.Random(4)


async def end(reader, writer):
    """Close a connection, sometimes by halves, sometimes with bytes on the way."""
    match chance.randrange(4):
        case 0:
            writer.write(PAYLOAD)
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        case 1 if writer.can_write_eof():
            writer.write(PAYLOAD[:5_000])
            writer.write_eof()
            assert await reader.read() == PAYLOAD[:5_000]
            await hang_up(writer)
        case _:
            await hang_up(writer)


async def tcp(stage):
    reader, writer = await asyncio.open_connection("localhost", stage.tcp)
    await talk(reader, writer, *SIZES)
    await end(reader, writer)


async def unix(stage):
    reader, writer = await asyncio.open_unix_connection(stage.unix)
    await talk(reader, writer, *SIZES)
    await end(reader, writer)


async def tls(stage):
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.tls, ssl=stage.trust, server_hostname=HOST)
    await talk(reader, writer, *SIZES)
    await end(reader, writer)


async def start_tls(stage):
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.upgraded)
    writer.write(b"STARTTLS\n")
    assert await reader.readline() == b"go ahead\n"
    await writer.start_tls(stage.trust, server_hostname=HOST)
    await talk(reader, writer, *SIZES)
    await hang_up(writer)


async def refused_tls(stage):
    """A server that the client does not trust, by the name that it asks for."""
    with contextlib.suppress(OSError):  # ssl.SSLError is one
        await asyncio.open_connection("127.0.0.1", stage.tls, ssl=stage.trust, server_hostname="elsewhere")
        raise AssertionError("the certificate is for another name")


async def servers(stage):
    """A server that comes and goes, with clients that it has not heard yet."""
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connections = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(5)))
        await talk(*connections[0], 1_000)
        for _, writer in connections:
            writer.close()
    with contextlib.suppress(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
        raise AssertionError("the server is closed")


async def given_up(stage):
    """Connections, handshakes and reads that are cancelled on the way."""
    connecting = asyncio.open_connection("127.0.0.1", stage.tls, ssl=stage.trust, server_hostname=HOST)
    task = asyncio.create_task(connecting)
    for _ in range(chance.randrange(12)):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        _, writer = await task
        await hang_up(writer)
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.tcp)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.001):
            await reader.readexactly(1)
    await hang_up(writer)


class Inbox(asyncio.DatagramProtocol):
    """Keeps what arrives in a queue."""

    def __init__(self):
        self.arrived = asyncio.Queue()

    def datagram_received(self, data, address):
        self.arrived.put_nowait((data, address))


async def datagrams(stage):
    loop = asyncio.get_running_loop()
    name = str(stage.folder / f"datagrams-{next(numbers)}")
    for at, options in (("127.0.0.1", 0), {}), (name, {"family": socket.AF_UNIX}):
        transport, inbox = await loop.create_datagram_endpoint(Inbox, local_addr=at, **options)
        address = transport.get_extra_info("sockname")
        sender, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=address, **options)
        for size in (1, 500, 9_000):
            sender.sendto(PAYLOAD[:size])
            data, _ = await asyncio.wait_for(inbox.arrived.get(), 10)
            assert data == PAYLOAD[:size]
        sender.close()
        transport.close()
    await asyncio.sleep(0)
    (stage.folder / name).unlink()


numbers = itertools.count()


async def raw_sockets(stage):
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        listener.setblocking(False)
        client.setblocking(False)
        accepting = asyncio.create_task(loop.sock_accept(listener))
        await loop.sock_connect(client, listener.getsockname())
        server, _ = await accepting
        with server:
            sending = asyncio.create_task(loop.sock_sendall(client, PAYLOAD))
            received, buffer = bytearray(), bytearray(30_000)
            while len(received) < len(PAYLOAD):
                received += await loop.sock_recv(server, 30_000)
                if len(received) < len(PAYLOAD):
                    received += buffer[: await loop.sock_recv_into(server, buffer)]
            await sending
            assert received == PAYLOAD
            waiting = asyncio.create_task(loop.sock_recv(server, 1))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        for end in (one, other):
            end.setblocking(False)
            end.bind(("127.0.0.1", 0))
        await loop.sock_sendto(one, b"across", other.getsockname())
        assert await loop.sock_recvfrom(other, 10) == (b"across", one.getsockname())


async def files(stage):
    """sock_sendfile, from the middle of a file."""
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    with one, other, stage.file.open("rb") as file:
        one.setblocking(False)
        other.setblocking(False)
        sending = asyncio.create_task(loop.sock_sendfile(one, file, 1_000))
        left = FILE_SIZE - 1_000
        while left:
            left -= len(await loop.sock_recv(other, left))
        assert await sending == FILE_SIZE - 1_000


async def whole_files(stage):
    """sendfile on transports, by the kernel and, for TLS, without it."""
    loop = asyncio.get_running_loop()
    content = stage.file.read_bytes()
    for port, options in (stage.tcp, {}), (stage.tls, {"ssl": stage.trust, "server_hostname": HOST}):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
        with stage.file.open("rb") as file:
            reading = asyncio.create_task(reader.readexactly(FILE_SIZE - 1_000))
            assert await loop.sendfile(writer.transport, file, 1_000) == FILE_SIZE - 1_000
            assert await reading == content[1_000:]
        await hang_up(writer)


async def names(stage):
    loop = asyncio.get_running_loop()
    found = await asyncio.gather(
        loop.getaddrinfo("localhost", stage.tcp, type=socket.SOCK_STREAM),
        loop.getaddrinfo("127.0.0.1", stage.tcp, type=socket.SOCK_STREAM),
    )
    assert all(("127.0.0.1", stage.tcp) in [address for *_, address in addresses] for addresses in found)
    host, port = await loop.getnameinfo(("127.0.0.1", stage.tcp), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    assert (host, port) == ("127.0.0.1", str(stage.tcp))


ROUNDS = [
    *(tcp, unix, tls, start_tls, refused_tls),
    *(servers, given_up, datagrams, raw_sockets, files, whole_files, names),
]
