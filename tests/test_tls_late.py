# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What OpenSSL does beside the data, after the handshake: new keys, a new handshake, a certificate that is asked for
late, a session's tickets. It happens in the middle of reading and writing, and nothing is lost.

Python has no name for some of it: then OpenSSL is asked for it directly, at the test's own end of the connection.
"""

import _ssl
import ctypes
import os
import ssl

import pytest
from helpers.tls import CERTIFICATES, SIDES, VERSIONS, tls_scene

OLD, NEW = VERSIONS


def openssl_object(tls):
    """OpenSSL's own object behind Python's."""
    # The fields after the header are the socket, the pointer and the context; the last one shows that they still are.
    fields = (ctypes.c_void_p * 5).from_address(id(tls._sslobj))
    assert fields[4] == id(tls.context), "CPython's _SSLSocket looks different"
    return ctypes.c_void_p(fields[3])


def ask(stage, function, *arguments):
    """Call a function of OpenSSL's on the peer's object."""
    library = ctypes.CDLL(getattr(_ssl, "__file__", None))
    return getattr(library, function)(openssl_object(stage.peer.tls), *arguments)


class Messages:
    """The messages of one kind that the test's end sends and receives."""

    def __init__(self, name):
        self.name, self.sent, self.received = name, 0, 0

    def see(self, _, direction, version, content, message, data):
        if getattr(message, "name", None) == self.name:
            if direction == "write":
                self.sent += 1
            else:
                self.received += 1

    def at(self, side):
        """For `prepare`: at this side's end."""
        return lambda contexts: setattr(contexts[side], "_msg_callback", self.see)


def other(side):
    return "client" if side == "server" else "server"


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("asks", [0, 1], ids=["told", "asked for"])
def test_new_keys(loop_factory, side, asks):
    """The peer changes its key, and may ask for the same: the answer goes with what is written next."""
    updates = Messages("KEY_UPDATE")
    with tls_scene(loop_factory, side, version=NEW, prepare=updates.at(other(side))) as stage:
        for number in range(1, 4):
            assert ask(stage, "SSL_key_update", asks) == 1
            stage.exchange(b"", os.urandom(50_000))
            assert (updates.sent, updates.received) == (number, (number - 1) * asks)
            stage.exchange(os.urandom(50_000), os.urandom(50_000))
            assert (updates.sent, updates.received) == (number, number * asks)
        assert stage.reports == []


def test_a_new_handshake(loop_factory):
    """The server of TLS 1.2 may ask for one: the client answers in the middle of data both ways."""
    hellos = Messages("CLIENT_HELLO")
    with tls_scene(loop_factory, "client", version=OLD, prepare=hellos.at("server")) as stage:
        for number in range(1, 4):
            assert ask(stage, "SSL_renegotiate") == 1
            ask(stage, "SSL_do_handshake")  # which sends the request
            stage.peer._send()
            stage.exchange(os.urandom(50_000), os.urandom(50_000))
            stage.until(lambda number=number: (stage.peer.read(), hellos.received == 1 + number)[1])
            stage.exchange(os.urandom(50_000), os.urandom(50_000))
        assert stage.reports == []


def test_a_new_handshake_that_the_server_does_not_want(loop_factory):
    """OpenSSL refuses a client that asks for one, by a warning or an end: what we sent before has arrived."""
    hellos = Messages("CLIENT_HELLO")
    with tls_scene(loop_factory, "server", version=OLD, prepare=hellos.at("client")) as stage:
        stage.exchange(os.urandom(50_000), os.urandom(50_000))
        assert ask(stage, "SSL_renegotiate") == 1
        ask(stage, "SSL_do_handshake")
        assert hellos.sent == 2
        stage.peer._send()
        with pytest.raises(ssl.SSLError, match="RENEGOTIATION"):
            stage.until(lambda: stage.peer.read() and False)
        stage.call(stage.transport.write, b"whatever")
        stage.peer.sock.close()
        stage.until_lost()
        assert stage.reports == []


def late_certificates(contexts):
    contexts["client"].post_handshake_auth = True
    contexts["client"].load_cert_chain(CERTIFICATES / "client.pem")
    contexts["server"].post_handshake_auth = True
    contexts["server"].verify_mode = ssl.CERT_REQUIRED
    contexts["server"].load_verify_locations(CERTIFICATES / "ca.pem")


SUBJECT = ((("commonName", "a client"),),)


def test_a_client_s_certificate_that_the_peer_asks_for_late(loop_factory):
    with tls_scene(loop_factory, "client", version=NEW, prepare=late_certificates) as stage:
        tls = stage.peer.tls
        assert tls.getpeercert() is None
        tls.verify_client_post_handshake()
        # The request comes with these bytes, and the answer without a write of ours.
        stage.exchange(b"", b"who are you?")
        stage.until(lambda: (stage.peer.read(), tls.getpeercert())[1])
        assert tls.getpeercert()["subject"] == SUBJECT
        stage.exchange(os.urandom(50_000), os.urandom(50_000))
        assert stage.reports == []


def test_a_client_s_certificate_that_we_ask_for_late(loop_factory):
    with tls_scene(loop_factory, "server", version=NEW, prepare=late_certificates) as stage:
        tls = stage.transport.get_extra_info("ssl_object")
        assert tls.getpeercert() is stage.transport.get_extra_info("peercert") is None
        stage.call(tls.verify_client_post_handshake)
        stage.exchange(b"who are you?", b"")
        stage.exchange(b"", b"it is me")
        assert tls.getpeercert()["subject"] == SUBJECT
        stage.exchange(os.urandom(50_000), os.urandom(50_000))
        assert stage.reports == []


def test_a_client_that_has_no_certificate_when_it_is_asked_late(loop_factory):
    def without(contexts):
        late_certificates(contexts)
        contexts["client"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        contexts["client"].load_verify_locations(CERTIFICATES / "ca.pem")
        contexts["client"].post_handshake_auth = True

    with tls_scene(loop_factory, "server", version=NEW, prepare=without) as stage:
        stage.call(stage.transport.get_extra_info("ssl_object").verify_client_post_handshake)
        stage.call(stage.transport.write, b"who are you?")
        stage.until(lambda: (stage.peer.read(), stage.peer.data)[1])
        stage.until_lost()
        assert stage.trace[-1][0] == "lost"
        assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in stage.trace[-1][1]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_tickets_of_a_session(loop_factory, version):
    """They come with the handshake (1.2) or after it (1.3), and both sides go on with the session next time."""
    kept, kept_contexts, reused = {}, {}, []

    class Sessions(ssl.SSLObject):
        @classmethod
        def _create(cls, *args, **kwargs):
            return super()._create(*args, **{**kwargs, **kept})

    def prepare(contexts):
        # A session belongs to its context, and the keys of its tickets to the server's.
        contexts.update({**contexts, **kept_contexts})
        kept_contexts.update(contexts)
        contexts["client"].sslobject_class = Sessions

    for _ in range(3):
        with tls_scene(loop_factory, "client", version=version, prepare=prepare) as stage:
            stage.exchange(b"before", b"after the tickets")
            tls = stage.transport.get_extra_info("ssl_object")
            reused.append((tls.session_reused, stage.peer.tls.session_reused))
            kept["session"] = tls.session
            assert tls.session.has_ticket
    assert reused == [(False, False), (True, True), (True, True)]
