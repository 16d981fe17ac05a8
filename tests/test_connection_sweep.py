# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Calls that connect, serve and ask for names, cancelled at each of their suspension points (see `helpers.sweep`): no
descriptor is left, no connection is lost, no task goes on, no cancellation is swallowed, and the loop goes on.
"""

import asyncio
import contextlib
import gc
import os
import socket

import pytest
from helpers.loops import steps
from helpers.peers import abstract_name, connected_pair
from helpers.recorder import Recorder
from helpers.sweep import HOST, Swept, close_server, equal, hung_up, listener, run, sweep, sweep_on


def drop(result):
    result[0].abort()


# Connections.


def create_connection(**kwargs):
    def make(loop, stack, strict):
        server = listener(stack)
        given = {"host": HOST, "port": server.getsockname()[1], **kwargs}
        return Swept(
            lambda: loop.create_connection(Recorder, **given),
            cancelled=lambda loop: hung_up(loop, server, strict),
            finished=drop,
        )

    return make


def several_addresses(**kwargs):
    def make(loop, stack, strict):
        server, closed, full = (
            listener(stack),
            stack.enter_context(socket.socket()),
            stack.enter_context(socket.socket()),
        )
        closed.bind((HOST, 0))
        # Its queue is full: it does not answer.
        full.bind((HOST, 0))
        full.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        silent = [full] if kwargs else []

        async def getaddrinfo(*args, **kwargs):
            await asyncio.sleep(0)
            order = [closed, *silent, closed, server]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", sock.getsockname()) for sock in order]

        loop.getaddrinfo = getaddrinfo
        stack.callback(vars(loop).pop, "getaddrinfo")
        return Swept(
            lambda: loop.create_connection(Recorder, "a.name", 1, **kwargs),
            cancelled=lambda loop: hung_up(loop, server, strict),
            finished=drop,
        )

    return make


def of_a_socket(method, close_ours=True):
    def make(loop, stack, strict):
        ours, theirs = connected_pair("socketpair")
        stack.enter_context(theirs)
        # If the call did not get so far as to own it, it is ours still.
        stack.callback(ours.close)

        def cancelled(loop):
            steps(loop, 3)
            ours.close()
            theirs.setblocking(True)
            assert theirs.recv(1) == b""

        return Swept(lambda: getattr(loop, method)(Recorder, sock=ours), cancelled=cancelled, finished=drop)

    return make


def create_unix_connection(loop, stack, strict):
    server = listener(stack, socket.AF_UNIX)
    return Swept(
        lambda: loop.create_unix_connection(Recorder, server.getsockname()),
        cancelled=lambda loop: hung_up(loop, server, strict),
        finished=drop,
    )


def pipe(direction):
    def make(loop, stack, strict):
        reader, writer = (open(end, mode, 0) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))  # noqa: SIM115
        ours, theirs = (reader, writer) if direction == "read" else (writer, reader)
        stack.callback(theirs.close)
        stack.callback(ours.close)
        return Swept(
            lambda: getattr(loop, f"connect_{direction}_pipe")(Recorder, ours),
            cancelled=lambda loop: (steps(loop, 3), ours.close()),
            finished=lambda result: result[0].close(),
        )

    return make


# Servers.


def create_server(*args, **kwargs):
    def make(loop, stack, strict):
        return Swept(
            lambda: loop.create_server(Recorder, *args, 0, **kwargs),
            cancelled=lambda loop: (steps(loop, 2), strict or gc.collect()),
            finished=close_server,
        )

    return make


def create_unix_server(loop, stack, strict):
    return Swept(lambda: loop.create_unix_server(Recorder, abstract_name()), finished=close_server)


def of_a_server(method):
    def make(loop, stack, strict):
        server = run(loop, loop.create_server(Recorder, HOST, 0, start_serving=False))
        stack.callback(server.close)
        if method == "wait_closed":
            run(loop, server.start_serving())

        def help_(iteration):
            if iteration == 4 and method != "start_serving":
                server.close()

        def cancelled(loop):
            steps(loop, 3)
            # To be cancelled in it closes a server that serves for ever.
            assert (server.sockets == ()) is (method == "serve_forever" or closed)

        closed = False

        async def call():
            with contextlib.suppress(asyncio.CancelledError) if method == "serve_forever" else contextlib.nullcontext():
                return await getattr(server, method)()
            if asyncio.current_task().cancelling():
                raise asyncio.CancelledError
            return None

        def help_and_note(iteration):
            nonlocal closed
            help_(iteration)
            closed = server.sockets == ()

        return Swept(call, help_and_note, cancelled)

    return make


# Names.


def getaddrinfo(loop, stack, strict):
    return Swept(lambda: loop.getaddrinfo("localhost", 80), finished=lambda result: equal(bool(result), True))


def getnameinfo(loop, stack, strict):
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    return Swept(lambda: loop.getnameinfo((HOST, 80), numeric), finished=lambda result: equal(result, (HOST, "80")))


CALLS = {
    "create_connection": create_connection(),
    "create_connection to a name": create_connection(host="localhost", family=socket.AF_INET),
    "create_connection with local_addr": create_connection(local_addr=(HOST, 0)),
    "create_connection with a local name": create_connection(local_addr=("localhost", 0), family=socket.AF_INET),
    "create_connection with several addresses": several_addresses(),
    "create_connection with happy eyeballs": several_addresses(happy_eyeballs_delay=0.002),
    "create_connection with a socket": of_a_socket("create_connection"),
    "connect_accepted_socket": of_a_socket("connect_accepted_socket"),
    "create_unix_connection": create_unix_connection,
    "create_unix_connection with a socket": of_a_socket("create_unix_connection"),
    "connect_read_pipe": pipe("read"),
    "connect_write_pipe": pipe("write"),
    "create_server": create_server(HOST),
    "create_server of several": create_server([HOST, "::1", "127.0.0.2"]),
    "create_server of a name": create_server(["localhost", HOST], family=socket.AF_INET),
    "create_server without serving": create_server(HOST, start_serving=False),
    "create_unix_server": create_unix_server,
    "serve_forever": of_a_server("serve_forever"),
    "start_serving": of_a_server("start_serving"),
    "wait_closed": of_a_server("wait_closed"),
    "getaddrinfo": getaddrinfo,
    "getnameinfo": getnameinfo,
}

# What asks nobody may come to its end without a suspension on one loop and not on the other.
NEVER_SUSPENDS = {"create_server without serving"}

# asyncio leaves a server that serves and that nobody has, or on 3.11 the socket of a race that was won too late.
ASYNCIO_LEAVES = {
    "create_connection with happy eyeballs",
    "create_server",
    "create_server of several",
    "create_server of a name",
    "create_unix_server",
}


@pytest.mark.parametrize("call", CALLS)
def test_sweep(loop_name, loop_factory, call, monkeypatch):
    sweep_on(
        loop_name,
        loop_factory,
        monkeypatch,
        CALLS[call],
        never_suspends=call in NEVER_SUSPENDS,
        asyncio_fails=call in ASYNCIO_LEAVES,
    )


def test_a_sweep_sees_what_is_left(loop, monkeypatch):
    # The sweep itself must be able to fail.
    async def leaves_a_socket():
        made = socket.socket()
        await asyncio.sleep(0)
        made.close()

    async def swallows():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)

    async def starts_a_task():
        kept.append(asyncio.create_task(asyncio.sleep(100)))
        await asyncio.sleep(0)

    kept = []
    monkeypatch.setattr("sys.unraisablehook", lambda *_: None)
    monkeypatch.setattr("helpers.descriptors.LIMIT", 0.1)  # it is left for good
    for call, text in ((leaves_a_socket, "assert"), (swallows, "swallowed"), (starts_a_task, "assert")):
        with pytest.raises(AssertionError, match=text):
            sweep(loop, lambda loop, stack, call=call: Swept(call))
        gc.collect()
    for task in kept:
        task.cancel()
    steps(loop, 2)
