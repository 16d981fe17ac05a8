# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""TLS connections that end without politeness: aborted, written to too late, by callbacks that raise, left to the
collector.
"""

import contextlib

import pytest
from helpers.compare import like_asyncio, logged
from helpers.descriptors import found_unclosed
from helpers.loops import steps
from helpers.peers import connected_pair, drain
from helpers.recorder import Recorder
from helpers.scene import until
from helpers.tls import (
    HOST,
    Peer,
    client_context,
    same,
    server_context,
    start,
    tls_scene,
)

SEND_BUFFER = 8192


# Aborting, and too late.


@pytest.mark.parametrize("unsent", [0, 3_000_000])
def test_abort(loop_factory, unsent):
    with tls_scene(loop_factory, send_buffer=SEND_BUFFER) as stage:
        stage.call(stage.transport.set_write_buffer_limits, 1 << 30)
        if unsent:
            stage.call(stage.transport.write, bytes(unsent))
        stage.call(stage.transport.abort)
        assert stage.transport.is_closing()
        assert stage.call(stage.transport.abort) is None
        stage.step(3)
        assert stage.trace == [("made",), ("lost", None)]
        drain(stage.peer.sock)
        assert not stage.peer.told_end


def test_forced_to_close_for_an_error(oneloop):
    # On ours only: asyncio's raises TypeError up to 3.12.
    with tls_scene(oneloop.new_event_loop) as stage:
        stage.call(stage.transport._force_close, OSError("for a reason"))
        stage.until_lost()
        assert stage.trace == [("made",), ("lost", "OSError: for a reason")]


def test_abort_while_closing(loop_factory):
    with tls_scene(loop_factory) as stage:
        stage.call(stage.transport.close)
        stage.call(stage.transport.abort)
        stage.step(3)
        assert stage.trace == [("made",), ("lost", None)]


def test_abort_after_closing_twice(oneloop):
    # On ours only: asyncio's second close() lets go of the connection, and abort() finds none.
    with tls_scene(oneloop.new_event_loop) as stage:
        stage.call(stage.transport.close)
        stage.call(stage.transport.close)
        stage.call(stage.transport.abort)
        stage.step(3)
        assert stage.trace == [("made",), ("lost", None)]


def test_every_method_of_a_transport_that_is_gone(loop_factory):
    def scenario(factory):
        with tls_scene(factory) as stage:
            stage.call(stage.transport.abort)
            stage.until_lost()
            transport = stage.transport
            calls = {
                "abort": (),
                "is_closing": (),
                "is_reading": (),
                "pause_reading": (),
                "resume_reading": (),
                "get_protocol": (),
                "get_write_buffer_size": (),
                "get_write_buffer_limits": (),
                "get_read_buffer_limits": (),
                "get_extra_info": ("peername",),
                "write": (b"late",),
                "writelines": ([b"late"],),
                "can_write_eof": (),
                "write_eof": (),
            }
            seen = [stage.call(getattr(transport, name), *arguments) for name, arguments in calls.items()]
            stage.step(2)
            return seen, stage.trace, stage.reports

    like_asyncio(scenario, loop_factory)


def test_late_writes_are_told_of_after_a_while(loop_factory):
    def scenario(factory):
        with logged() as lines, tls_scene(factory) as stage:
            stage.call(stage.transport.abort)
            stage.until_lost()
            for _ in range(8):
                stage.call(stage.transport.write, b"late")
            stage.call(stage.transport.writelines, [b"late"])
            return lines

    lines = like_asyncio(scenario, loop_factory)
    assert set(lines) == {"WARNING: SSL connection is closed [NoneType: None]"}


# Callbacks that fail.


@pytest.mark.parametrize("callback", ["data", "eof", "lost"])
@pytest.mark.parametrize("error", [ValueError, OSError, GeneratorExit])
def test_a_callback_that_raises(loop_factory, callback, error):
    def fail(transport):
        raise error("as told")

    def scenario(factory):
        with tls_scene(factory, protocol=Recorder(**{callback: fail})) as stage:
            stage.peer.write(b"something")
            stage.peer.unwrap()
            stage.until_lost()
            stage.step(3)
            return stage.trace, stage.reports

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("error", [ValueError, OSError, GeneratorExit])
def test_a_connection_made_that_raises(loop_factory, error):
    def fail(transport):
        raise error("as told")

    def scenario(factory):
        ours, theirs = connected_pair("socketpair")
        protocol, reports = Recorder(made=fail), []
        with contextlib.closing(factory()) as loop, theirs:
            loop.set_exception_handler(lambda _, context: reports.append(same(context["message"])))
            peer = Peer(theirs, server_context(), "server")
            task = start(loop, ours, "client", client_context(), protocol)
            until(loop, lambda: (peer.handshake(), task.done())[1])
            steps(loop, 3)
            return same(repr(task.exception())), protocol.trace, reports

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("callback", ["data", "eof", "lost"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_callback_ends_the_run(loop_factory, callback, error):
    raised = []

    def fail(transport):
        if not raised:
            raised.append(error)
            raise error

    with tls_scene(loop_factory, protocol=Recorder(**{callback: fail})) as stage:
        stage.peer.write(b"something")
        stage.peer.unwrap()
        with pytest.raises(error):
            stage.step(10)
        assert raised == [error]
        # The loop can be run again, and the connection ended.
        stage.call(stage.transport.abort)
        stage.step(3)


# Nobody closes it.


def leave(loop, how):
    """Begin a connection in this way, and go."""
    ours, theirs = connected_pair("socketpair")
    side = "server" if how == "server" else "client"
    contexts = {"client": client_context(), "server": server_context()}
    peer = Peer(
        theirs, contexts["client" if side == "server" else "server"], "client" if side == "server" else "server"
    )
    protocol = Recorder()
    if how == "start_tls":
        below, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=ours))
        task = loop.create_task(loop.start_tls(below, protocol, contexts[side], server_hostname=HOST))
    else:
        task = start(loop, ours, side, contexts[side], protocol)
    if how == "in the handshake":
        steps(loop, 3)
        task.cancel()
    until(loop, lambda: (peer.go_along(), task.done())[1])
    if how in ("close", "abort"):
        getattr(protocol.transport, how)()
        until(loop, lambda: (peer.go_along(), "lost" in protocol.names)[1])
    steps(loop, 3)
    theirs.close()


@pytest.mark.parametrize("how", ["client", "server", "start_tls", "in the handshake", "close", "abort"])
def test_a_connection_that_nobody_closed(loop_factory, how):
    with found_unclosed() as messages:
        loop = loop_factory()
        leave(loop, how)
        loop.close()
        del loop
    is_left = how in ("client", "server", "start_tls")
    about_tls = [message for message in messages if "SSL" in message]
    assert len(about_tls) == is_left
    assert all(message.startswith("unclosed transport <") for message in about_tls)
    assert bool([message for message in messages if "SocketTransport" in message]) == is_left
