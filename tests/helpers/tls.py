"""TLS connections whose other end the test holds: certificates, contexts, a peer by hand, a scene around both.

The peer is an `ssl.SSLObject` over a socket that does not block, in the test's own thread: it sends and receives when
the test says so and not otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

from helpers.compare import Factory
from helpers.loops import steps
from helpers.peers import connected_pair
from helpers.recorder import BufferedRecorder, Recorder
from helpers.scene import Stage, anonymous

CERTIFICATES = pathlib.Path(__file__).resolve().parent.parent / "certificates"
HOST = "localhost"
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
SIDES = ("client", "server")


def buffered(**on: Any) -> BufferedRecorder:
    """A recorder that lends its buffer as a view: of a bytearray, asyncio's TLS would fill a copy."""
    recorder = BufferedRecorder(**on)
    recorder.buffer = memoryview(bytearray(65536))
    return recorder


def server_context(certificate: str = "server", version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A server's context. Named after the file in `certificates`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / f"{certificate}.pem")
    return _of_version(context, version)


def client_context(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client's context, which trusts the tests' authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CERTIFICATES / "ca.pem")
    return _of_version(context, version)


def _of_version(context: ssl.SSLContext, version: ssl.TLSVersion | None) -> ssl.SSLContext:
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def same(text: object) -> str:
    """`anonymous`, and what names the TLS objects of one implementation, or a line of OpenSSL's."""
    text = re.sub(r"<[\w.]*SSL(Protocol)?Transport object at 0x>", "<TLS TRANSPORT>", anonymous(text))
    text = re.sub(r"<[\w.]*SSLProtocol object at 0x>", "<TLS PROTOCOL>", text)
    return re.sub(r"\(_ssl\.c:\d+\)", "(_ssl.c)", text)


class Peer:
    """The other end of a TLS connection."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, side: str) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=side == "server",
            server_hostname=None if side == "server" else HOST,
        )
        self.data = bytearray()
        self.ready = False  # the handshake is done
        self.told_end = False  # close_notify was received
        self.ended = False  # the socket was closed or reset

    def _receive(self) -> None:
        try:
            while True:
                if not (data := self.sock.recv(1 << 18)):
                    self.ended = True
                    return
                self.incoming.write(data)
        except BlockingIOError:
            pass
        except ConnectionError:
            self.ended = True

    def _send(self) -> None:
        """All of it, and the loop may have to receive meanwhile: for that the test steps it."""
        while self.outgoing.pending and not self.ended:
            data = self.outgoing.read(1 << 16)
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                sent = 0
            except ConnectionError:
                self.ended = True
                return
            if sent < len(data):
                rest = data[sent:] + self.outgoing.read()
                self.outgoing.write(rest)
                return

    def handshake(self) -> bool:
        """Go on with the handshake; whether it is done."""
        self._receive()
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            self.ready = True
        self._send()
        return self.ready

    def write(self, data: bytes) -> None:
        if data:
            self.tls.write(data)
        self._send()

    def read(self) -> bytes:
        """Everything that came; it is also added to `data`."""
        self._receive()
        if self.told_end:
            return b""
        fresh = bytearray()
        try:
            while True:
                if not (piece := self.tls.read(1 << 16)):
                    self.told_end = True
                    break
                fresh += piece
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # what a side that has sent its own close_notify is told
            self.told_end = True
        self.data += fresh
        self._send()
        return bytes(fresh)

    def unwrap(self) -> bool:
        """Send close_notify; whether the other side's has come as well."""
        self._receive()
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._send()
        self.told_end = True
        return True

    def go_along(self) -> None:
        """Do what the other side waits for: shake hands, receive, say goodbye."""
        with contextlib.suppress(ssl.SSLError):
            if self.ready:
                self.read()
            else:
                self.handshake()
            if self.told_end:
                self.unwrap()

    def feed(self, raw: bytes) -> None:
        """Bytes that were received by other means."""
        self.incoming.write(raw)


class TLSScene(Stage):
    """A TLS transport of `loop`, its recording protocol and the peer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, peer: Peer, protocol: Any) -> None:
        super().__init__(loop, protocol)
        self.peer = peer

    def words(self, text: object) -> str:
        return same(text)

    @property
    def trace(self) -> list[Any]:
        return [tuple(same(part) if isinstance(part, str) else part for part in entry) for entry in self.protocol.trace]

    def until_lost(self) -> None:
        self.until(lambda: "lost" in self.protocol.names)

    def shake_hands(self, task: asyncio.Task[Any]) -> Any:
        """Let both sides come to an agreement; return the transport."""
        self.until(lambda: self.peer.handshake() and task.done())
        transport, _ = task.result()
        return transport

    def exchange(self, from_us: bytes, from_peer: bytes) -> None:
        """Send both ways at once, and see that both arrive whole."""
        had, seen = len(self.peer.data), len(self.protocol.data)
        if from_us:
            self.call(self.transport.write, from_us)
        if from_peer:
            self.peer.write(from_peer)

        def arrived() -> bool:
            self.peer.read()
            theirs = len(self.peer.data) - had >= len(from_us)
            return theirs and len(self.protocol.data) - seen >= len(from_peer)

        self.until(arrived)
        assert self.peer.data[had:] == from_us
        assert self.protocol.data[seen:] == from_peer


def start(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, side: str, context: ssl.SSLContext, protocol: Any, **tls: Any
) -> asyncio.Task[Any]:
    """Begin a TLS connection over a connected socket, as the client or the server."""

    async def client() -> Any:
        tls.setdefault("server_hostname", HOST)
        return await loop.create_connection(lambda: protocol, sock=sock, ssl=context, **tls)

    async def server() -> Any:
        return await loop.connect_accepted_socket(lambda: protocol, sock, ssl=context, **tls)

    return loop.create_task(client() if side == "client" else server())


@contextlib.contextmanager
def tls_scene(
    factory: Factory,
    side: str = "client",
    protocol: Any = None,
    *,
    kind: str = "socketpair",
    version: ssl.TLSVersion | None = None,
    debug: bool = False,
    send_buffer: int | None = None,
    prepare: Callable[[dict[str, ssl.SSLContext]], object] = lambda contexts: None,
    **tls: Any,
) -> Iterator[TLSScene]:
    """A scene on a loop of its own, after the handshake. `side` is the transport's; `send_buffer` is how much the
    kernel takes from it; `prepare` may change the contexts of both sides."""
    protocol = protocol or Recorder()
    contexts = {"client": client_context(version), "server": server_context(version=version)}
    prepare(contexts)
    ours, theirs = connected_pair(kind)
    with contextlib.closing(factory()) as loop, theirs:
        loop.set_debug(debug)
        if send_buffer is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        other = "client" if side == "server" else "server"
        scene = TLSScene(loop, Peer(theirs, contexts[other], other), protocol)
        scene.transport = scene.shake_hands(start(loop, ours, side, contexts[side], protocol, **tls))
        try:
            yield scene
        finally:
            if "lost" not in protocol.names:
                scene.transport.abort()
            steps(loop, 4)
