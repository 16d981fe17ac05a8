# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The handshake of TLS: certificates of either side, names, protocols, versions, and peers that are no good."""

import asyncio
import contextlib
import gc
import ssl
import weakref

import pytest
from helpers.compare import like_asyncio
from helpers.loops import steps
from helpers.peers import connected_pair
from helpers.recorder import Recorder
from helpers.scene import until
from helpers.tls import (
    CERTIFICATES,
    HOST,
    SIDES,
    VERSIONS,
    Peer,
    client_context,
    same,
    server_context,
    start,
)


def handshake(loop_factory, side, ours, theirs, **tls):
    """Shake hands and abort: what the call returned or raised, what was seen, and the peer."""
    loop = loop_factory()
    seen = []
    loop.set_exception_handler(lambda _, context: seen.append(same(context["message"])))
    end, other = connected_pair("socketpair")
    protocol = Recorder()
    with other:
        peer = Peer(other, theirs, "client" if side == "server" else "server")
        task = start(loop, end, side, ours, protocol, **tls)

        def done():
            if not peer.ended:
                try:
                    peer.handshake()
                except ssl.SSLError as error:
                    seen.append(error.reason)
                    other.close()
                    peer.ended = True
            return task.done()

        until(loop, done)
        try:
            transport, _ = task.result()
        except OSError as error:
            outcome = type(error).__name__, same(error)
        else:
            outcome = transport.get_extra_info("ssl_object")
            transport.abort()
            until(loop, lambda: "lost" in protocol.names)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    return outcome, protocol.names, seen, peer


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_server_that_nobody_vouches_for(loop_factory, version):
    def scenario(factory):
        return handshake(factory, "client", client_context(version), server_context("stranger"))[:3]

    outcome, trace, seen = like_asyncio(scenario, loop_factory)
    assert outcome[0] == "SSLCertVerificationError"
    assert "CERTIFICATE_VERIFY_FAILED" in outcome[1]
    assert (trace, seen) == ([], [])


@pytest.mark.parametrize("call", ["create_connection", "start_tls"])
def test_a_certificate_that_is_refused_leaves_no_cycle(oneloop, call):
    """Objects are gone when the last reference is; asyncio's are, from some patch of 3.14 on."""
    loop, alive = oneloop.new_event_loop(), []
    ours, theirs = connected_pair("socketpair")

    def make():
        protocol = Recorder()
        alive.append(weakref.ref(protocol))
        return protocol

    async def main():
        tls = {"server_hostname": HOST}
        with contextlib.suppress(ssl.SSLCertVerificationError):
            if call == "create_connection":
                await loop.create_connection(make, sock=ours, ssl=client_context(), **tls)
            else:
                transport, protocol = await loop.create_connection(make, sock=ours)
                alive.append(weakref.ref(transport))
                protocol.transport = None
                await loop.start_tls(transport, protocol, client_context(), **tls)

    gc.collect()
    gc.disable()
    try:
        with theirs:
            peer = Peer(theirs, server_context("stranger"), "server")
            task = loop.create_task(main())

            def done():
                with contextlib.suppress(ssl.SSLError):
                    peer.handshake()
                return task.done()

            until(loop, done)
            task.result()
            task = done = None
            loop.run_until_complete(asyncio.sleep(0))
        assert alive
        assert [reference() for reference in alive] == [None] * len(alive)
    finally:
        gc.enable()
    loop.close()


def test_a_server_of_another_name(loop_factory):
    def scenario(factory):
        return handshake(factory, "client", client_context(), server_context(), server_hostname="elsewhere.test")[:3]

    outcome, trace, seen = like_asyncio(scenario, loop_factory)
    assert outcome[0] == "SSLCertVerificationError"
    assert "elsewhere.test" in outcome[1]
    assert (trace, seen) == ([], [])


def test_any_name_and_no_name(loop_factory):
    context = client_context()
    context.check_hostname = False
    for name in ("elsewhere.test", ""):
        outcome, *_ = handshake(loop_factory, "client", context, server_context(), server_hostname=name)
        assert isinstance(outcome, ssl.SSLObject)
        assert outcome.server_hostname == (name or None)


def test_a_client_that_does_not_believe_us(loop_factory):
    def scenario(factory):
        return handshake(factory, "server", server_context("stranger"), client_context())[:3]

    outcome, trace, seen = like_asyncio(scenario, loop_factory)
    # TLS 1.3: the server is done when the client finds out.
    assert seen == ["CERTIFICATE_VERIFY_FAILED"]
    assert isinstance(outcome, tuple) == (trace == [])


def test_no_version_in_common(loop_factory):
    old, new = VERSIONS
    for side, ours, theirs in [
        ("client", client_context(old), server_context(version=new)),
        ("server", server_context(version=new), client_context(old)),
    ]:
        outcome, trace, *_ = handshake(loop_factory, side, ours, theirs)
        assert outcome[0] in ("SSLError", "ConnectionResetError")
        assert trace == []


def test_application_protocols(loop_factory):
    for side in SIDES:
        ours, theirs = server_context(), client_context()
        if side == "client":
            ours, theirs = theirs, ours
        ours.set_alpn_protocols(["h2", "http/1.1"])
        theirs.set_alpn_protocols(["http/1.1"])
        outcome, *_, peer = handshake(loop_factory, side, ours, theirs)
        assert outcome.selected_alpn_protocol() == "http/1.1"
        assert peer.tls.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_client_s_certificate(loop_factory, version):
    ours, theirs = server_context(version=version), client_context()
    ours.verify_mode = ssl.CERT_REQUIRED
    ours.load_verify_locations(CERTIFICATES / "ca.pem")
    theirs.load_cert_chain(CERTIFICATES / "client.pem")
    outcome, trace, *_ = handshake(loop_factory, "server", ours, theirs)
    assert outcome.getpeercert()["subject"] == ((("commonName", "a client"),),)
    assert trace == ["made", "lost"]
    # Without one.
    outcome, trace, *_ = handshake(loop_factory, "server", ours, client_context())
    assert outcome[0] == "SSLError"
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in outcome[1]
    assert trace == []


def test_an_sni_callback_may_change_the_context(loop_factory):
    seen = []
    ours, other = server_context("stranger"), server_context()

    def choose(ssl_object, name, context):
        seen.append((name, context is ours))
        ssl_object.context = other

    ours.sni_callback = choose
    outcome, *_ = handshake(loop_factory, "server", ours, client_context())
    assert isinstance(outcome, ssl.SSLObject)
    assert seen == [(HOST, True)]


def test_a_handshake_whose_certificate_cannot_be_read(loop_factory):
    """A TLS object of the user's own class may fail where OpenSSL's does not."""

    class Unreadable(ssl.SSLObject):
        def getpeercert(self, binary_form=False):
            raise ValueError("unreadable")

    def scenario(factory):
        context = client_context()
        context.sslobject_class = Unreadable
        loop = factory()
        end, other = connected_pair("socketpair")
        protocol, reports = Recorder(), []
        loop.set_exception_handler(lambda _, context: reports.append((context["message"], str(context["exception"]))))
        with contextlib.closing(loop), other:
            peer = Peer(other, server_context(), "server")
            task = start(loop, end, "client", context, protocol)
            until(loop, lambda: (peer.handshake(), task.done())[1])
            steps(loop, 3)
            return repr(task.exception()), protocol.trace, reports

    assert like_asyncio(scenario, loop_factory)[1] == []


def test_a_peer_that_speaks_no_tls(loop_factory):
    def scenario(factory):
        seen = []
        for side in SIDES:
            loop = factory()
            end, other = connected_pair("socketpair")
            protocol = Recorder()
            context = client_context() if side == "client" else server_context()
            with other:
                other.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                task = start(loop, end, side, context, protocol)
                until(loop, task.done)
                seen.append((type(task.exception()).__name__, same(task.exception()), protocol.trace))
            loop.close()
        return seen

    seen = like_asyncio(scenario, loop_factory)
    assert [name for name, *_ in seen] == ["SSLError", "SSLError"]


def test_a_peer_that_leaves_in_the_handshake(loop_factory):
    def scenario(factory):
        loop = factory()
        end, other = connected_pair("socketpair")
        protocol = Recorder()
        task = start(loop, end, "client", client_context(), protocol)
        until(loop, lambda: other.recv(1 << 16) if loop.run_until_complete(asyncio.sleep(0)) is None else None)
        other.close()
        until(loop, task.done)
        error = task.exception()
        loop.close()
        return type(error).__name__, same(error), protocol.trace

    assert like_asyncio(scenario, loop_factory) == ("ConnectionResetError", "", [])
