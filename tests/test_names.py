# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""getaddrinfo and getnameinfo: socket's own answers and errors, for literals too. No name here is asked of a server in
the network: that could take its time.
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import sys
import threading

import pytest
from helpers.compare import like_asyncio, logged
from helpers.connecting import failure
from helpers.descriptors import none_left
from helpers.loops import goes_on, steps

HOST = "127.0.0.1"
STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


def finish(loop):
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


HOSTS = [
    "127.0.0.1",
    "::1",
    "::",
    "0.0.0.0",
    "1.2.3.4",
    "127.1",
    "127",
    "0x7f.1",
    "0177.0.0.1",
    "127.0.0.1 ",
    " 127.0.0.1",
    "fe80::1",
    "fe80::1%lo",
    "fe80::1%1",
    "fe80::1%99",
    "fe80::1%nosuch",
    "ff02::1%lo",
    "::1%lo",
    "::1%1",
    "::ffff:1.2.3.4",
    "::1.2.3.4",
    "1..2",
    ".1",
    "::1..2",
    "0" * 62 + "1",
    "0" * 63 + "1",
    b"0" * 70 + b"1",
    "2001:db8::1",
    "[::1]",
    "::1::",
    "",
    None,
    "*",
    "x" * 64 + ".invalid",
    "a" * 300,
    "\udc80",
    b"127.0.0.1",
    b"::1",
    b"fe80::1%lo",
    b"",
    b"\xff\xfe",
]


# The C library would ask the network about these, were it not told that they must be literals.
NAMES = [
    "localhost",
    "256.1.1.1",
    "1.2.3.4.5",
    "1.",
    "1x",
    "fade",
    "fe80::1%",
    "nosuch.invalid",
    "b\u00fccher.invalid",
    "\u0661\u0662\u0667.0.0.1",
    "a\0b",
    "127.0.0.1\0",
    b"nosuch.invalid",
    b"a\0b",
]


def answers(call):
    """What a call answers, with exact types, or how it fails."""
    seen = failure(call)
    if isinstance(seen, list):
        return [[(type(each).__name__, each) for each in entry] for entry in seen]
    return seen


def identical(loop, *args, **kwargs):
    """The loop's answer is socket's, and is returned."""
    expected = answers(lambda: socket.getaddrinfo(*args, **kwargs))
    seen = answers(lambda: loop.run_until_complete(loop.getaddrinfo(*args, **kwargs)))
    assert seen == expected
    return seen


@pytest.mark.parametrize("host", HOSTS, ids=repr)
def test_hosts(loop, host):
    for family in (0, socket.AF_INET, socket.AF_INET6):
        for kind in (0, STREAM):
            identical(loop, host, 80, family=family, type=kind)


@pytest.mark.parametrize("host", NAMES, ids=repr)
def test_names_that_must_be_literals(loop, host):
    for family in (0, socket.AF_INET, socket.AF_INET6):
        assert identical(loop, host, 80, family=family, flags=socket.AI_NUMERICHOST)


def test_a_name(loop):
    for family in (0, socket.AF_INET):
        for host in ("localhost", b"localhost"):
            assert identical(loop, host, 80, family=family)
    assert identical(loop, "localhost", "nosuch-service")[0] == "gaierror"


PORTS = [
    0,
    80,
    65535,
    65536,
    -1,
    1 << 40,
    True,
    "80",
    " 80",
    "080",
    "65536",
    "-1",
    "",
    "http",
    "domain",
    "nosuch",
    "\u0661",
    b"80",
    b"http",
    b"",
    b"\xff",
    None,
    1.5,
    [],
    "8\0",
]


@pytest.mark.parametrize("port", PORTS, ids=repr)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%lo", "localhost", None, "", b"127.0.0.1"], ids=repr)
def test_services(loop, host, port):
    for kind in (0, STREAM, DGRAM):
        identical(loop, host, port, type=kind)


FLAGS = [
    0,
    socket.AI_PASSIVE,
    socket.AI_NUMERICHOST,
    socket.AI_NUMERICSERV,
    socket.AI_CANONNAME,
    socket.AI_ADDRCONFIG,
    socket.AI_V4MAPPED,
    socket.AI_ALL,
    socket.AI_PASSIVE | socket.AI_CANONNAME,
    socket.AI_NUMERICHOST | socket.AI_CANONNAME,
    socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    0x40000000,
    -1,
]


@pytest.mark.parametrize("flags", FLAGS)
def test_flags_families_and_protocols(loop, flags):
    for host in ("127.0.0.1", "::1", "localhost", None, ""):
        for family in (0, socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 99):
            if (host, family) != ("localhost", socket.AF_INET6):
                identical(loop, host, 80, family=family, type=STREAM, flags=flags)
        for proto in (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, 99):
            identical(loop, host, "http", proto=proto, flags=flags)
            identical(loop, host, 80, type=DGRAM, proto=proto, flags=flags)


@pytest.mark.parametrize(
    "host", [3, 1.5, [], object(), (HOST,), ipaddress.ip_address(HOST)], ids=lambda host: type(host).__name__
)
def test_hosts_that_are_none(loop, host):
    assert identical(loop, host, 80)[0] == "TypeError"


@pytest.mark.parametrize("given", [{"family": "x"}, {"type": None}, {"proto": 1.5}, {"flags": []}, {"family": 1 << 70}])
def test_numbers_that_are_none(loop, given):
    assert identical(loop, "127.0.0.1", 80, **given)[0] in ("TypeError", "OverflowError")


def test_arguments_are_asyncio_s(loop_factory):
    def scenario(factory):
        loop = factory()
        calls = [
            lambda: loop.getaddrinfo("127.0.0.1"),
            lambda: loop.getaddrinfo("127.0.0.1", 80, 0),
            lambda: loop.getaddrinfo("127.0.0.1", 80, kind=0),
            lambda: loop.getaddrinfo(host="127.0.0.1", port=80),
            lambda: loop.getnameinfo(),
            lambda: loop.getnameinfo(("127.0.0.1", 80), 0, 0),
            lambda: loop.getnameinfo(sockaddr=("127.0.0.1", 80), flags=socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
        ]
        seen = [failure(lambda call=call: loop.run_until_complete(call())) for call in calls]
        finish(loop)
        return [each[0] if isinstance(each, tuple) and each[0] == "TypeError" else each for each in seen]

    assert like_asyncio(scenario, loop_factory)[-1] == ("127.0.0.1", "80")


ADDRESSES = [
    ("127.0.0.1", 80),
    ("127.0.0.1", 0),
    ("127.0.0.1", 65536),
    ("127.0.0.1", -1),
    ("::1", 80),
    ("::1", 80, 0, 0),
    ("fe80::1", 80, 0, 1),
    ("fe80::1%lo", 80),
    ("::1", 80, 1 << 21, 0),
    ("localhost", 80),
    ("nosuch.invalid", 80),
    ("", 80),
    (None, 80),
    ("127.0.0.1", "80"),
    ("127.0.0.1",),
    (),
    "127.0.0.1",
    None,
    ["127.0.0.1", 80],
    ("127.0.0.1", 80, 0, 0, 0),
]


@pytest.mark.parametrize("address", ADDRESSES, ids=repr)
def test_getnameinfo(loop, address):
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    for flags in (numeric, socket.NI_NUMERICHOST, socket.NI_NUMERICHOST | socket.NI_DGRAM):
        expected = failure(lambda flags=flags: socket.getnameinfo(address, flags))
        seen = failure(lambda flags=flags: loop.run_until_complete(loop.getnameinfo(address, flags)))
        assert seen == expected


@pytest.mark.parametrize("flags", [0, socket.NI_NAMEREQD, socket.NI_NUMERICSERV, "0", None, 1 << 70], ids=repr)
def test_getnameinfo_of_what_has_a_name(loop, flags):
    seen = failure(lambda: loop.run_until_complete(loop.getnameinfo(("127.0.0.1", 80), flags)))
    assert seen == failure(lambda: socket.getnameinfo(("127.0.0.1", 80), flags))


def test_many_at_once(loop):
    async def main():
        hosts = ["localhost", "127.0.0.1", "::1", "fe80::1%nosuch"] * 20
        return await asyncio.gather(*(loop.getaddrinfo(host, 80) for host in hosts), return_exceptions=True)

    results = loop.run_until_complete(main())
    assert [type(result) for result in results] == [list, list, list, socket.gaierror] * 20


def test_a_literal_is_answered_without_a_thread(oneloop):
    loop = oneloop.new_event_loop()
    threads = set(threading.enumerate())

    async def main():
        for host in ("127.0.0.1", "::1", "fe80::1%lo", "", None, b"127.0.0.1"):
            for port in (80, "80", None):
                with contextlib.suppress(socket.gaierror):
                    await loop.getaddrinfo(host, port)

    loop.run_until_complete(main())
    assert set(threading.enumerate()) <= threads
    loop.close()


@pytest.mark.parametrize("module", ["socket", "_socket"])
def test_who_has_replaced_a_function_is_asked_about_literals(loop, monkeypatch, module):
    asked = []

    def getaddrinfo(*args, **kwargs):
        asked.append(args[:2])
        return [(socket.AF_INET, STREAM, 6, "", ("9.9.9.9", 80))]

    monkeypatch.setattr(f"{module}.getaddrinfo", getaddrinfo)
    for host in ("127.0.0.1", b"::1"):
        answer = loop.run_until_complete(loop.getaddrinfo(host, 80))
        assert answer[0][4] == ("9.9.9.9", 80)
    assert asked == [("127.0.0.1", 80), (b"::1", 80)]


def test_audit_hooks_see_what_is_asked_and_may_refuse(loop_factory):
    def scenario(factory):
        loop, events, refused = factory(), [], []

        def hook(event, args):
            if event == "socket.getaddrinfo" and hearing:
                events.append((*args,))
                if args[1] == 99:
                    refused.append(args[0])
                    raise PermissionError("no")

        hearing = [True]
        sys.addaudithook(hook)
        for host in ("127.0.0.1", b"::1", "fe80::1%lo"):
            loop.run_until_complete(loop.getaddrinfo(host, 80, type=STREAM, proto=socket.IPPROTO_TCP))
            with pytest.raises(PermissionError, match="no"):
                loop.run_until_complete(loop.getaddrinfo(host, 99, family=socket.AF_UNSPEC))
        hearing.clear()  # a hook stays for as long as the process
        finish(loop)
        return events, refused

    events, refused = like_asyncio(scenario, loop_factory)
    assert len(events) == 6
    assert len(refused) == 3


def test_an_answer_that_nobody_waits_for(loop, loop_name, monkeypatch):
    cancelled = threading.Event()
    if loop_name == "asyncio":
        # On 3.14 an answer that is quick enough is there in the very step in which it is asked for.
        ask = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", lambda *given: cancelled.wait() and ask(*given))
    with none_left(loop):
        task = loop.create_task(loop.getaddrinfo("localhost", 80))
        steps(loop, 1)  # it is asked; ours is told the answer in a later iteration
        task.cancel()
        cancelled.set()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        goes_on(loop)
        loop.run_until_complete(loop.shutdown_default_executor())


def test_slow_names_do_not_starve_the_executor(oneloop, monkeypatch):
    # asyncio asks for names on the same threads.
    loop, release = oneloop.new_event_loop(), threading.Event()

    def getaddrinfo(*args, **kwargs):
        release.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def main():
        slow = [asyncio.ensure_future(loop.getaddrinfo(f"{number}.name", 1)) for number in range(200)]
        await asyncio.sleep(0)
        for _ in range(5):
            assert await asyncio.wait_for(loop.run_in_executor(None, int, "3"), 5) == 3
        release.set()
        assert await asyncio.gather(*slow) == [[]] * 200

    loop.run_until_complete(main())
    finish(loop)


def test_debug_mode_says_what_is_asked(loop_factory):
    def scenario(factory):
        loop = factory()
        loop.set_debug(True)
        with logged(logging.DEBUG) as lines:
            loop.run_until_complete(loop.getaddrinfo("localhost", 80, family=socket.AF_INET, type=STREAM))
        finish(loop)
        return [line.partition(" took ")[0] for line in lines if "ddress info" in line]

    lines = like_asyncio(scenario, loop_factory)
    assert len(lines) == 2
