"""Load by hand for a server: connections that each wait for an answer before they ask again.

wrk speaks HTTP only and counts seconds only. This is for WebSockets, and for whoever needs an exact number of
requests. Every answer is compared with the one that is due.

It is Python and still no bottleneck: it does nothing for a message but send it, receive one and compare, several times
less than the servers that it is for. How busy it was is told, so that this can be seen.
"""

from __future__ import annotations

import base64
import os
import re
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

LIMIT = 20.0
HEAD_END = b"\r\n\r\n"


class WrongAnswerError(Exception):
    """The server answered with something else than what was due."""


@dataclass(frozen=True)
class Talk:
    """What each connection does: how it begins, what it asks, and how long an answer is and what it ends with."""

    begin: Callable[[socket.socket], None]
    request: bytes
    size: int
    tail: bytes


@dataclass(frozen=True)
class Told:
    """How a run went."""

    requests: int
    seconds: float
    latencies: list[float]
    cpu: float

    def latency(self, share: float) -> float:
        """The time that this share of the requests took at most, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def http(port: int, path: str, body: bytes) -> Talk:
    """GET, over connections that are kept. How long the head of the answer is, is found out by asking once."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as connection:
        connection.sendall(request)
        head, found = head_of_answer(connection)
        length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
        while length and len(found) < int(length[1]) and (more := connection.recv(65536)):
            found += more
    if not head.startswith(b"HTTP/1.1 200 ") or found != body:
        raise WrongAnswerError(f"{head!r} and {found[:200]!r} instead of {body[:200]!r}")
    return Talk(lambda _: None, request, len(head) + len(HEAD_END) + len(body), HEAD_END + body)


def head_of_answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """The head without its end, and what has come of the body."""
    got = b""
    while HEAD_END not in got and (more := connection.recv(65536)):
        got += more
    head, _, body = got.partition(HEAD_END)
    return head, body


def websocket(size: int) -> Talk:
    """Text messages of that size, sent back as they came."""
    payload = (b"abcdefghij" * (size // 10 + 1))[:size]
    answer = header(size, 0) + payload
    # RFC 6455, 5.3: a client masks; with a mask of zeros the payload stays as it is, and is unmasked all the same.
    return Talk(upgrade, header(size, 0x80) + bytes(4) + payload, len(answer), answer)


def header(size: int, masked: int) -> bytes:
    if size < 126:
        return struct.pack("!BB", 0x81, masked | size)
    return struct.pack("!BBH", 0x81, masked | 126, size)


def upgrade(connection: socket.socket) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head, rest = head_of_answer(connection)
    if not head.startswith(b"HTTP/1.1 101 ") or rest:
        raise WrongAnswerError(f"no upgrade: {head!r}")


class Load:
    """Connections to one server, for as many runs as are wanted; a `with` block opens and closes them."""

    def __init__(self, port: int, talk: Talk, connections: int) -> None:
        self._talk = talk
        self._connections: dict[int, socket.socket] = {}
        self._port = port
        self._count = connections

    def __enter__(self) -> Load:
        for _ in range(self._count):
            connection = socket.create_connection(("127.0.0.1", self._port), timeout=LIMIT)
            self._connections[connection.fileno()] = connection
            self._talk.begin(connection)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.close()

    def run(self, *, seconds: float = 0.0, requests: int = 0) -> Told:
        """Ask for that long, or that often in all; afterwards no answer is due."""
        request, size, tail = self._talk.request, self._talk.size, self._talk.tail
        sent_at: dict[int, float] = {}
        received = dict.fromkeys(self._connections, b"")
        latencies: list[float] = []
        started, cpu = time.perf_counter(), time.process_time()
        end = started + seconds if seconds else float("inf")
        left = requests or float("inf")

        def ask(descriptor: int, now: float) -> None:
            nonlocal left
            if left > 0 and now < end:
                left -= 1
                sent_at[descriptor] = now
                self._connections[descriptor].send(request)

        with select.epoll() as events:
            for descriptor in self._connections:
                events.register(descriptor, select.EPOLLIN)
                ask(descriptor, started)  # however late it is by now: every connection asks once
            while sent_at:
                ready = events.poll(LIMIT)
                if not ready:
                    raise WrongAnswerError(f"no answer within {LIMIT:g} s")
                for descriptor, _ in ready:
                    more = self._connections[descriptor].recv(65536)
                    got = received[descriptor] + more
                    if more and len(got) < size:
                        received[descriptor] = got
                        continue
                    if len(got) != size or not got.endswith(tail):
                        raise WrongAnswerError(f"{got[:200]!r} is not {size} bytes ending with {tail[-200:]!r}")
                    received[descriptor] = b""
                    now = time.perf_counter()
                    latencies.append(now - sent_at.pop(descriptor))
                    ask(descriptor, now)
        return Told(len(latencies), time.perf_counter() - started, latencies, time.process_time() - cpu)
