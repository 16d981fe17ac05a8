# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Whoever replaces getaddrinfo or getnameinfo, on the loop or in the socket module, is asked, by every call that needs
a name; and what such a one answers or raises is its own.
"""

import asyncio
import contextlib
import socket

import pytest
from helpers.connecting import failure
from helpers.descriptors import none_left
from helpers.loops import goes_on, loop_class
from helpers.recorder import Recorder

HOST = "127.0.0.1"
STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


def finish(loop):
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@contextlib.contextmanager
def listening():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()


def overriding(loop_class, how, calls, answer):
    """A loop whose getaddrinfo is the test's own."""

    async def getaddrinfo(host, port, **kwargs):
        calls.append((host, port, kwargs))
        return answer

    if how == "instance":
        loop = loop_class()
        loop.getaddrinfo = getaddrinfo
        return loop

    class Mine(loop_class):
        async def getaddrinfo(self, host, port, **kwargs):
            return await getaddrinfo(host, port, **kwargs)

    return Mine()


@pytest.mark.parametrize("how", ["instance", "subclass"])
def test_an_overridden_getaddrinfo_is_asked(loop_name, how):
    def scenario(name):
        calls = []
        with listening() as address:
            loop = overriding(loop_class(name), how, calls, [(socket.AF_INET, STREAM, 6, "", address)])

            async def main():
                transport, _ = await loop.create_connection(Recorder, "a.name", 1, local_addr=None)
                assert transport.get_extra_info("peername") == address
                transport.abort()
                transport, _ = await loop.create_connection(
                    Recorder, "a.name", "service", family=2, proto=6, flags=socket.AI_ADDRCONFIG
                )
                transport.abort()
                with socket.socket() as client:
                    client.setblocking(False)
                    await loop.sock_connect(client, ("third.name", 7))
                # A literal is nobody's business.
                with contextlib.suppress(OSError):
                    await loop.create_connection(Recorder, "127.0.0.1", 1)
                await asyncio.sleep(0)

            loop.run_until_complete(main())
            loop.close()
        return calls

    (expected, seen) = scenario("asyncio"), scenario(loop_name)
    assert seen == expected
    assert [call[:2] for call in seen] == [("a.name", 1), ("a.name", "service"), ("third.name", 7)]


@pytest.mark.parametrize("how", ["instance", "subclass"])
def test_an_overridden_getaddrinfo_is_asked_by_servers(loop_name, how):
    def scenario(name):
        calls = []
        loop = overriding(loop_class(name), how, calls, [(socket.AF_INET, STREAM, 6, "", ("127.0.0.2", 0))])

        async def main():
            hosts = []
            for host in ("a.name", ["a.name", "b.name"], None, ""):
                server = await loop.create_server(Recorder, host, 0)
                hosts += [sock.getsockname()[0] for sock in server.sockets]
                server.close()
            return hosts

        hosts = loop.run_until_complete(main())
        loop.close()
        return calls, hosts

    (expected, seen) = scenario("asyncio"), scenario(loop_name)
    assert seen == expected
    assert seen[1] == ["127.0.0.2"] * 4
    assert [call[0] for call in seen[0]] == ["a.name", "a.name", "b.name", None, None]


def test_a_replaced_socket_getaddrinfo_is_asked(loop, monkeypatch):
    with listening() as address:
        calls = []

        def getaddrinfo(*args, **kwargs):
            calls.append(args[:2])
            return [(socket.AF_INET, STREAM, 6, "", address)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

        async def main():
            assert await loop.getaddrinfo("a.name", 1) == getaddrinfo()
            # Even for a literal, if it is asked through the loop.
            assert (await loop.getaddrinfo("192.0.2.1", 1))[0][4] == address
            transport, _ = await loop.create_connection(Recorder, "b.name", 2)
            transport.abort()
            await asyncio.sleep(0)

        loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    assert [call for call in calls if call] == [("a.name", 1), ("192.0.2.1", 1), ("b.name", 2)]


@pytest.mark.parametrize("error", [socket.gaierror(-2, "mine"), ValueError("mine"), UnicodeError("mine")], ids=repr)
def test_what_a_replaced_one_raises(loop, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(socket, "getnameinfo", fail)
    for coroutine in (
        loop.getaddrinfo("a.name", 1),
        loop.getnameinfo(("127.0.0.1", 1)),
        loop.create_connection(Recorder, "a.name", 1),
        loop.create_server(Recorder, "a.name", 1),
    ):
        with pytest.raises(type(error)) as raised:
            loop.run_until_complete(coroutine)
        assert raised.value is error
    error.__traceback__ = None
    loop.run_until_complete(loop.shutdown_default_executor())


@pytest.mark.parametrize("answer", [None, 3, [], [()], [3], ["text"], [(1, 2, 3)]], ids=repr)
def test_what_an_odd_one_answers(loop_name, answer):
    def scenario(name):
        loop = overriding(loop_class(name), "instance", [], answer)
        seen = failure(lambda: loop.run_until_complete(loop.create_connection(Recorder, "a.name", 1)))
        goes_on(loop)
        loop.close()
        return seen[0]

    with none_left():
        expected, seen = scenario("asyncio"), scenario(loop_name)
    assert seen == expected
