"""The rows: which server, over what, with how many connections and how large a message.

Not every server meets every number and size: one with one thousand bytes over a hundred connections is the middle of
everything, and from there each goes in the directions in which it may differ from the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from benches.suite.group import AHEAD, Spec

KIB = 1024
# The plain server of the load generator, as a subject beside the loops.
PLAIN = "plain epoll"
# Requests a second at which latency is measured: about a third of what the slowest loop can do.
RATE, TLS_RATE = 10_000, 5_000


@dataclass(frozen=True)
class Shape:
    """What is run for one row."""

    # A name of servers.py, or of work.py where the process that is measured needs no load.
    program: str
    # tcp, unix, tls or udp; none for what has no connections of ours
    carrier: str = "tcp"
    connections: int = 1
    size: int = 1000
    # The load generator's command
    load: str = "echo"
    rate: int | None = None
    # The plain server's service that does the same, if one does
    plain: str | None = None


@dataclass(frozen=True)
class Row:
    spec: Spec
    shape: Shape


STYLES = {
    "protocol": "Protocol",
    "buffered": "BufferedProtocol",
    "streams-read": "streams, read",
    "streams-lines": "streams, readline and drain",
    "streams-exactly": "streams, readexactly and drain",
    "sock": "sock_recv and sock_sendall",
    "datagrams": "datagrams",
}
CARRIERS = {"tcp": "TCP", "unix": "Unix", "tls": "TLS 1.3", "udp": "UDP"}
SIZES = {100: "100", 1000: "1k", 10_000: "10k", 64 * KIB: "64kib", 100_000: "100k"}
SIZE_TITLES = {100: "100 B", 1000: "1 KB", 10_000: "10 KB", 64 * KIB: "64 KiB", 100_000: "100 KB"}

REQUEST = "µs of server CPU per request"
NOBODY: Mapping[str, float] = MappingProxyType({})


def echo(
    style: str,
    carrier: str,
    connections: int,
    size: int,
    *,
    target: float | None = None,
    stretch: float | None = None,
    against: Mapping[str, float] = NOBODY,
    within: float | None = None,
    quick: bool = False,
) -> Row:
    """Messages that come back."""
    some = "1 connection" if connections == 1 else f"{connections:,} connections"
    plain = style in ("protocol", "datagrams") and carrier != "tls"
    # A latency under load is told where there is room for it: large messages fill the loopback by themselves.
    rate = None if size > 10_000 or connections == 1 else TLS_RATE if carrier == "tls" else RATE
    return Row(
        Spec(
            key=f"echo-{style}-{carrier}-{connections}-{SIZES[size]}",
            title=f"Echo by {STYLES[style]}, {CARRIERS[carrier]}, {some}, {SIZE_TITLES[size]}",
            unit=REQUEST,
            target=target,
            stretch=stretch,
            against=against,
            limits=(PLAIN,) if plain else (),
            within=within,
            quick=quick,
        ),
        Shape(style, carrier, connections, size, rate=rate, plain="echo" if plain else None),
    )


def bulk(direction: str, program: str, carrier: str) -> Row:
    words = {"up": "to the server", "down": "from the server"}
    return Row(
        Spec(
            key=f"bulk-{direction}-{carrier}",
            title=f"One bulk stream {words[direction]}, {CARRIERS[carrier]}",
            unit="µs of server CPU per MiB",
            target=AHEAD,
            limits=(PLAIN,),
            within=1.1,
        ),
        Shape(program, carrier, load=f"bulk-{direction}", plain=program),
    )


def churn(key: str, title: str, unit: str, shape: Shape, *, target: float | None = None) -> Row:
    limits = (PLAIN,) if shape.plain else ()
    return Row(Spec(key, title, unit, target=target, limits=limits), shape)


def work(key: str, title: str, unit: str, *, target: float | None = None) -> Row:
    return Row(Spec(key, title, unit, target=target), Shape(key, load="", carrier=""))


# What each style is aimed at, by what carries it.
LINES, READ, UNIX, SOCK, BUFFERED, TLS, UDP = 1.4, 1.15, 1.6, 1.7, 1.15, 1.1, 1.3
READ_STRETCH = 1.25
SOCK_AGAINST = MappingProxyType({"uvloop": 2.5})

ROWS: Sequence[Row] = (
    echo("protocol", "tcp", 1, 1000),
    echo("protocol", "tcp", 10, 1000),
    echo("protocol", "tcp", 100, 100),
    echo("protocol", "tcp", 100, 1000, target=AHEAD, within=1.15, quick=True),
    echo("protocol", "tcp", 100, 10_000),
    echo("protocol", "tcp", 100, 64 * KIB, target=AHEAD, within=1.1),
    echo("protocol", "tcp", 100, 100_000, target=AHEAD, within=1.1),
    echo("protocol", "tcp", 1000, 1000),
    echo("protocol", "unix", 1, 1000),
    echo("protocol", "unix", 100, 1000),
    echo("protocol", "tls", 1, 1000, target=TLS),
    echo("protocol", "tls", 100, 1000, target=TLS),
    echo("protocol", "tls", 100, 10_000, target=TLS),
    echo("protocol", "tls", 100, 100_000, target=TLS),
    echo("buffered", "tcp", 100, 1000, target=BUFFERED),
    echo("buffered", "tcp", 100, 64 * KIB),
    echo("streams-read", "tcp", 1, 1000, target=READ, stretch=READ_STRETCH),
    echo("streams-read", "tcp", 100, 100),
    echo("streams-read", "tcp", 100, 1000, target=READ, stretch=READ_STRETCH, quick=True),
    echo("streams-read", "tcp", 100, 10_000),
    echo("streams-read", "tcp", 100, 100_000),
    echo("streams-read", "tcp", 1000, 1000, target=READ, stretch=READ_STRETCH),
    echo("streams-read", "unix", 100, 1000, target=UNIX),
    echo("streams-read", "tls", 100, 1000, target=TLS),
    echo("streams-lines", "tcp", 10, 1000, target=LINES),
    echo("streams-lines", "tcp", 100, 100),
    echo("streams-lines", "tcp", 100, 1000, target=LINES),
    echo("streams-lines", "unix", 100, 1000, target=UNIX),
    echo("streams-exactly", "tcp", 100, 1000),
    echo("streams-exactly", "tcp", 100, 10_000),
    echo("sock", "tcp", 1, 1000, target=SOCK, against=SOCK_AGAINST),
    echo("sock", "tcp", 100, 100),
    echo("sock", "tcp", 100, 1000, target=SOCK, against=SOCK_AGAINST, quick=True),
    echo("sock", "tcp", 100, 10_000),
    echo("sock", "tcp", 1000, 1000, target=SOCK, against=SOCK_AGAINST),
    echo("sock", "unix", 100, 1000, target=SOCK, against=SOCK_AGAINST),
    echo("datagrams", "udp", 1, 1000, target=UDP),
    echo("datagrams", "udp", 10, 100, target=UDP),
    echo("datagrams", "udp", 10, 1000, target=UDP),
    bulk("up", "sink", "tcp"),
    bulk("down", "source", "tcp"),
    bulk("up", "sink", "unix"),
    bulk("down", "source", "unix"),
    churn(
        "accept",
        "Connections accepted and closed",
        "µs of server CPU per connection",
        Shape("accept", connections=32, load="churn", plain="accept"),
        target=1.3,
    ),
    churn(
        "tls-handshake",
        "TLS 1.3 handshakes",
        "µs of server CPU per handshake",
        Shape("accept", "tls", connections=32, load="churn"),
    ),
    work("connect", "Connections made by a client", "µs of client CPU per connection", target=1.3),
    work("spawn", "A subprocess spawned and waited for", "µs of CPU per process"),
    work("getaddrinfo", "getaddrinfo of a literal", "µs of CPU per call"),
)
BY_KEY = {row.spec.key: row for row in ROWS}
