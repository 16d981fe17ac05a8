# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""asyncio's streams over our transports, cancelled at each of their suspension points (see `helpers.sweep`): what came
is read by the next call, and what was written is sent.
"""

import asyncio
import gc
import socket

import pytest
from helpers.loops import steps
from helpers.peers import abstract_name, connected_pair, drain
from helpers.sweep import DATA, HOST, Swept, close_server, equal, hung_up, listener, run, sweep_on


def streams(loop, stack):
    ours, theirs = connected_pair("socketpair")
    stack.enter_context(theirs)
    reader, writer = run(loop, asyncio.open_connection(sock=ours))

    def end():
        # asyncio's own may fail to be aborted once it is lost.
        if not writer.transport.is_closing():
            writer.transport.abort()
        steps(loop, 2)

    stack.callback(end)
    return reader, writer, theirs


def stream_read(call):
    def make(loop, stack, strict):
        reader, _, theirs = streams(loop, stack)
        pieces = {2: b"one\n", 3: b"tw", 4: b"o\nrest"}
        sent = []

        def help_(iteration):
            if iteration in pieces:
                theirs.send(pieces[iteration])
                sent.append(iteration)

        def cancelled(loop):
            for iteration in pieces:
                if iteration not in sent:
                    theirs.send(pieces[iteration])
            theirs.close()
            assert run(loop, reader.read()) == b"one\ntwo\nrest"

        return Swept(
            lambda: call(reader), help_, cancelled, lambda data: equal(b"one\ntwo\nrest".startswith(data), True)
        )

    return make


def stream_drain(loop, stack, strict):
    _, writer, theirs = streams(loop, stack)
    received = bytearray()

    async def call():
        writer.write(DATA)
        await writer.drain()

    def everything(loop):
        while len(received) < len(DATA):
            received.extend(drain(theirs))
            steps(loop, 1)
        assert received == DATA

    # What was written is sent, whether somebody waits for it or not.
    return Swept(
        call, lambda iteration: received.extend(drain(theirs, 100_000)), everything, lambda _: everything(loop)
    )


def stream_wait_closed(loop, stack, strict):
    _, writer, theirs = streams(loop, stack)

    async def call():
        writer.write(DATA)
        writer.close()
        await writer.wait_closed()

    received = bytearray()

    def everything(loop):
        while len(received) < len(DATA):
            received.extend(drain(theirs))
            steps(loop, 1)
        assert received == DATA
        steps(loop, 2)
        assert theirs.recv(1) == b""

    return Swept(call, lambda iteration: received.extend(drain(theirs, 100_000)), everything)


def open_connection(loop, stack, strict):
    server = listener(stack)
    return Swept(
        lambda: asyncio.open_connection(*server.getsockname()),
        cancelled=lambda loop: hung_up(loop, server, strict),
        finished=lambda result: result[1].transport.abort(),
    )


def start_server(loop, stack, strict):
    return Swept(
        lambda: asyncio.start_server(lambda reader, writer: None, HOST, 0),
        cancelled=lambda loop: (steps(loop, 2), strict or gc.collect()),
        finished=close_server,
    )


def open_unix_connection(loop, stack, strict):
    server = listener(stack, socket.AF_UNIX)
    return Swept(
        lambda: asyncio.open_unix_connection(server.getsockname()),
        cancelled=lambda loop: hung_up(loop, server, strict),
        finished=lambda result: result[1].transport.abort(),
    )


def start_unix_server(loop, stack, strict):
    return Swept(
        lambda: asyncio.start_unix_server(lambda reader, writer: None, abstract_name()),
        cancelled=lambda loop: (steps(loop, 2), strict or gc.collect()),
        finished=close_server,
    )


CALLS = {
    "read": stream_read(lambda reader: reader.read(6)),
    "readexactly": stream_read(lambda reader: reader.readexactly(6)),
    "readline": stream_read(lambda reader: reader.readline()),
    "readuntil": stream_read(lambda reader: reader.readuntil(b"o\nr")),
    "drain": stream_drain,
    "StreamWriter.wait_closed": stream_wait_closed,
    "open_connection": open_connection,
    "start_server": start_server,
    "open_unix_connection": open_unix_connection,
    "start_unix_server": start_unix_server,
}
# asyncio leaves a server that serves and that nobody has.
ASYNCIO_LEAVES = {"start_server", "start_unix_server"}


@pytest.mark.parametrize("call", CALLS)
def test_sweep(loop_name, loop_factory, call, monkeypatch):
    sweep_on(loop_name, loop_factory, monkeypatch, CALLS[call], asyncio_fails=call in ASYNCIO_LEAVES)
