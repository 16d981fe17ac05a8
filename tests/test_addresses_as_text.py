# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Addresses that the loop writes itself are those that Python's sockets show."""

import asyncio
import socket

import pytest

HOSTS = [
    "127.0.0.1",
    "127.9.10.19",
    "127.20.90.99",
    "127.100.101.109",
    "127.110.199.200",
    "127.249.250.254",
    "127.1.0.10",
]


@pytest.mark.parametrize("host", HOSTS)
def test_who_sent_a_datagram(loop, host):
    class Keeps(asyncio.DatagramProtocol):
        def datagram_received(self, data, addr):
            received.set_result((data, addr))

    async def main():
        nonlocal received
        received = loop.create_future()
        transport, _ = await loop.create_datagram_endpoint(Keeps, local_addr=("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind((host, 0))
            client.sendto(b"x", transport.get_extra_info("sockname"))
            assert await asyncio.wait_for(received, 10) == (b"x", client.getsockname())
        transport.close()

    received = None
    loop.run_until_complete(main())


@pytest.mark.parametrize("host", HOSTS)
def test_both_ends_of_a_connection(loop, host):
    async def main():
        ends = loop.create_future()
        server = await asyncio.start_server(lambda _, writer: ends.set_result(writer), host, 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        theirs = await asyncio.wait_for(ends, 10)
        for end in (writer, theirs):
            sock = end.get_extra_info("socket")
            assert end.get_extra_info("sockname") == sock.getsockname()
            assert end.get_extra_info("peername") == sock.getpeername()
            end.close()
        assert theirs.get_extra_info("sockname")[0] == host
        server.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["stream", "datagram"])
def test_a_given_socket_that_is_not_connected_has_no_peer(loop, kind):
    async def main():
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
            name = sock.getsockname()
            if kind == socket.SOCK_DGRAM:
                transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=sock)
            else:
                transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, sock)
            assert transport.get_extra_info("sockname") == name
            assert transport.get_extra_info("peername", "none") is None
            transport.abort()
            await asyncio.sleep(0)

    loop.run_until_complete(main())
