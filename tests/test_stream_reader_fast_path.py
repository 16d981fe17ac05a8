# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""A `StreamReader` is fed without a call into Python, and nobody can tell.

That holds for exactly asyncio's own reader below exactly its own protocol. Whoever puts another method in the place of
one that the fast path stands for, on the class or on the object and at whatever time, has it called. Each scenario runs
on both loops, and at the end one on ours with the switch that turns the fast path off.
"""

import asyncio
import contextlib
import gc
import socket
import sys
import weakref

import pytest
from helpers import children
from helpers.compare import like_asyncio
from helpers.loops import run_once
from helpers.scene import scene
from helpers.tls import client_context, server_context

METHODS = {
    "data_received": asyncio.StreamReaderProtocol,
    "feed_data": asyncio.StreamReader,
    "_wakeup_waiter": asyncio.StreamReader,
}


@contextlib.contextmanager
def streams(factory, limit=2**16, reader_class=asyncio.StreamReader, protocol_class=asyncio.StreamReaderProtocol):
    """A scene whose protocol is asyncio's for streams; the reader, too."""
    with contextlib.closing(factory()) as loop:
        reader = reader_class(limit=limit, loop=loop)
        protocol = protocol_class(reader, loop=loop)
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        with peer:
            transport, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=ours))
            try:
                yield loop, transport, protocol, reader, peer
            finally:
                transport.abort()
                run_once(loop)
                run_once(loop)


def looked_at(reader, transport):
    """The reader's state, by the names that tests and debuggers look at."""
    return bytes(reader._buffer), reader._paused, reader.at_eof(), transport.is_reading()


def feed(loop, peer, data):
    peer.sendall(data)
    run_once(loop)
    run_once(loop)


def test_every_call_reads_what_came(loop_factory):
    def scenario(factory):
        with streams(factory) as (loop, transport, _, reader, peer):
            seen = []

            async def read():
                for call in (
                    reader.read(3),
                    reader.readline(),
                    reader.readexactly(5),
                    reader.readuntil(b"--"),
                    reader.read(100),
                    reader.read(),
                ):
                    seen.append(await call)

            task = loop.create_task(read())
            for data in (b"one", b"a line\nth", b"ree", b"until-", b"-rest", b"the end"):
                feed(loop, peer, data)
                seen.append(looked_at(reader, transport))
            peer.shutdown(socket.SHUT_WR)
            loop.run_until_complete(task)
            return seen, looked_at(reader, transport)

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("limit", [1, 10, 2.5, True])
def test_a_reader_that_has_enough_pauses_its_transport(loop_factory, limit):
    def scenario(factory):
        with streams(factory, limit) as (loop, transport, _, reader, peer):
            seen = []
            for _ in range(6):
                feed(loop, peer, b"1234")
                seen.append(looked_at(reader, transport))
            seen.append(loop.run_until_complete(reader.read(100)))
            run_once(loop)
            return seen, looked_at(reader, transport)

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("place", ["class", "object"])
def test_another_method_is_called(loop_factory, monkeypatch, name, place):
    def scenario(factory):
        with streams(factory) as (loop, transport, protocol, reader, peer), monkeypatch.context() as patch:
            feed(loop, peer, b"before")
            original, calls = getattr(METHODS[name], name), []

            def other(self, *args):
                calls.append(args)
                return original(self, *args)

            owner = protocol if name == "data_received" else reader
            if place == "class":
                patch.setattr(METHODS[name], name, other)
            else:
                patch.setattr(owner, name, other.__get__(owner))
            feed(loop, peer, b"patched")
            patch.undo()
            feed(loop, peer, b"after")
            return calls, looked_at(reader, transport)

    like_asyncio(scenario, loop_factory)


def test_another_property_is_asked(loop_factory, monkeypatch):
    def scenario(factory):
        with streams(factory) as (loop, transport, _, reader, peer), monkeypatch.context() as patch:
            other = asyncio.StreamReader(loop=loop)
            patch.setattr(asyncio.StreamReaderProtocol, "_stream_reader", property(lambda self: other))
            feed(loop, peer, b"for the other")
            return looked_at(reader, transport), bytes(other._buffer)

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("name", ["_eof", "_buffer", "_waiter", "_transport", "_paused", "_limit"])
def test_a_class_that_got_a_property_is_asked(loop_factory, monkeypatch, name):
    """Also one that was fed from before, by way of its dictionary."""

    def scenario(factory):
        with streams(factory) as (loop, transport, _, reader, peer), monkeypatch.context() as patch:
            feed(loop, peer, b"before")
            kept, seen = reader.__dict__, []

            def get(self):
                seen.append("get")
                return kept[name]

            def put(self, value):
                seen.append("set")
                kept[name] = value

            task = loop.create_task(reader.readexactly(12))
            run_once(loop)
            patch.setattr(asyncio.StreamReader, name, property(get, put), raising=False)
            feed(loop, peer, b"during")
            asked = set(seen)
            patch.undo()
            feed(loop, peer, b"after")
            # Assertions are what asks for `_eof`.
            return asked, loop.run_until_complete(task), looked_at(reader, transport)

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize("name", ["__getattribute__", "__setattr__"])
@pytest.mark.parametrize("owner", [asyncio.StreamReader, asyncio.StreamReaderProtocol])
def test_a_class_that_sees_to_its_attributes_is_asked(loop_factory, monkeypatch, owner, name):
    def scenario(factory):
        with streams(factory) as (loop, transport, _, reader, peer), monkeypatch.context() as patch:
            feed(loop, peer, b"before")
            seen = set()

            def see(self, key, *value):
                seen.add(key)
                return getattr(object, name)(self, key, *value)

            task = loop.create_task(reader.readexactly(12))
            run_once(loop)
            patch.setattr(owner, name, see)
            feed(loop, peer, b"during")
            patch.undo()
            ours = {"_buffer", "_waiter", "_transport", "_limit", "_stream_reader_wr"}
            return seen & ours, loop.run_until_complete(task), looked_at(reader, transport)

    like_asyncio(scenario, loop_factory)


def test_another_dictionary_is_looked_at(loop_factory):
    def scenario(factory):
        with streams(factory) as (loop, transport, protocol, reader, peer):
            feed(loop, peer, b"before")
            reader.__dict__ = {**reader.__dict__, "_buffer": bytearray(b"another ")}
            feed(loop, peer, b"reader's")
            seen = looked_at(reader, transport)
            calls = []
            protocol.__dict__ = {**protocol.__dict__, "data_received": calls.append}
            feed(loop, peer, b"and protocol's")
            return seen, calls, looked_at(reader, transport)

    like_asyncio(scenario, loop_factory)


def test_who_is_woken_may_change_everything(loop_factory):
    """What follows is what the reader is by then."""

    class Waiter:
        def __init__(self, wake):
            self.set_result = wake

        def cancelled(self):
            return False

    def scenario(factory, change):
        with streams(factory, limit=2) as (loop, transport, _, reader, peer), pytest.MonkeyPatch.context() as patch:
            feed(loop, peer, b"1")
            reader._waiter = Waiter(lambda _: change(reader, patch))
            feed(loop, peer, b"23456")
            patch.undo()
            return looked_at(reader, transport), transport.is_closing()

    def empty(reader, patch):
        reader.__dict__ = {**reader.__dict__, "_buffer": bytearray()}

    def generous(reader, patch):
        patch.setattr(asyncio.StreamReader, "_limit", property(lambda self: 1000), raising=False)

    def deaf(reader, patch):
        reader._transport = None

    def forgetful(reader, patch):
        del reader._limit

    for change in (empty, generous, deaf, forgetful):
        like_asyncio(lambda factory, change=change: scenario(factory, change), loop_factory)


def test_a_class_may_change_more_often_than_is_counted(loop_factory, monkeypatch):
    """An interpreter gives a class so many numbers for its states, and no more."""

    def scenario(factory):
        with streams(factory) as (loop, transport, _, reader, peer), monkeypatch.context() as patch:
            for state in range(1500):
                patch.setattr(asyncio.StreamReader, "state", state, raising=False)
                assert reader.state == state
            feed(loop, peer, b"data")
            calls = []
            patch.setattr(asyncio.StreamReader, "feed_data", lambda self, data: calls.append(data))
            feed(loop, peer, b"more")
            return calls, looked_at(reader, transport)

    like_asyncio(scenario, loop_factory)


class OwnReader(asyncio.StreamReader):
    def feed_data(self, data):
        super().feed_data(data.upper())


class OwnProtocol(asyncio.StreamReaderProtocol):
    def data_received(self, data):
        super().data_received(data + b"!")


@pytest.mark.parametrize(
    "classes", [{"reader_class": OwnReader}, {"protocol_class": OwnProtocol}], ids=["reader", "protocol"]
)
def test_a_subclass_s_own_method_is_called(loop_factory, classes):
    def scenario(factory):
        with streams(factory, **classes) as (loop, transport, _, reader, peer):
            feed(loop, peer, b"data")
            return looked_at(reader, transport)

    like_asyncio(scenario, loop_factory)


def spoil_eof(reader, loop):
    reader.feed_eof()


def spoil_buffer(reader, loop):
    reader._buffer = None


def spoil_limit(reader, loop):
    reader._limit = "much"


def spoil_waiter(reader, loop):
    """A waiter that is done already, not by being cancelled."""
    reader._waiter = loop.create_future()
    reader._waiter.set_result(None)


def hold_buffer(reader, loop):
    """A view of the buffer, which cannot grow meanwhile."""
    reader.view = memoryview(reader._buffer)


def lose_reader(reader, loop):
    del reader._eof


@pytest.mark.parametrize(
    "spoil",
    [spoil_eof, spoil_buffer, spoil_limit, spoil_waiter, hold_buffer, lose_reader],
    ids=lambda spoil: spoil.__name__,
)
def test_a_reader_in_a_state_of_its_own_fails_as_asyncio_s(loop_factory, spoil):
    def scenario(factory):
        with streams(factory) as (loop, transport, _, reader, peer):
            reports = []
            loop.set_exception_handler(
                lambda _, context: reports.append((context["message"], type(context.get("exception"))))
            )
            feed(loop, peer, b"before")
            spoil(reader, loop)
            feed(loop, peer, b"data")
            feed(loop, peer, b"more") if not transport.is_closing() else None
            return reports, transport.is_closing(), type(reader.exception())

    like_asyncio(scenario, loop_factory)


def test_a_cancelled_waiter_is_left_alone(loop_factory):
    def scenario(factory):
        with streams(factory) as (loop, transport, _, reader, peer):
            task = loop.create_task(reader.read(10))
            run_once(loop)
            task.cancel()
            peer.sendall(b"data")
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
            run_once(loop)
            return task.cancelled(), looked_at(reader, transport)

    like_asyncio(scenario, loop_factory)


def test_a_reader_that_is_gone_gets_nothing(loop_factory):
    def scenario(factory):
        with scene(factory) as stage:
            reader = asyncio.StreamReader(loop=stage.loop)
            gone = weakref.ref(reader)
            protocol = asyncio.StreamReaderProtocol(reader, loop=stage.loop)
            stage.transport.set_protocol(protocol)
            del reader
            gc.collect()
            feed(stage.loop, stage.peer, b"data")
            seen = gone(), stage.reports, stage.transport.is_closing()
            stage.transport.set_protocol(stage.protocol)
            return seen

    like_asyncio(scenario, loop_factory)


def over_tls(factory, prepare=lambda reader: None, limit=2**16):
    """What is read over TLS from a peer that writes these pieces, and the names of the functions that it called."""
    pieces = [b"one", b"a line\n", b"x" * 40_000, b"the end"]
    closed: asyncio.Future[None]

    async def answer(reader, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await reader.readexactly(1)
        writer.close()
        await writer.wait_closed()
        closed.set_result(None)

    async def main():
        nonlocal closed
        closed = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_context())
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(
            *address, ssl=client_context(), server_hostname="localhost", limit=limit
        )
        prepare(reader)
        called, read = set(), []
        sys.setprofile(lambda frame, event, arg: called.add(frame.f_code.co_name))
        try:
            for piece in pieces:
                read.append(await reader.readexactly(len(piece)))
                writer.write(b".")
            read.append(await reader.read())
        finally:
            sys.setprofile(None)
        writer.close()
        await closed
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return read, called

    with contextlib.closing(factory()) as loop:
        return loop.run_until_complete(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("limit", [1, 2**16])
def test_what_was_decrypted_is_read(loop_factory, limit):
    like_asyncio(lambda factory: over_tls(factory, limit=limit)[0], loop_factory)


OVER_TLS = """
import oneloop
from test_stream_reader_fast_path import over_tls
print(sorted(over_tls(oneloop.new_event_loop)[1] & {"data_received", "feed_data"}))
"""


@pytest.mark.parametrize(("switch", "called"), [("1", []), ("0", ["data_received", "feed_data"])])
def test_a_reader_over_tls_is_fed_without_a_call_unless_the_switch_says_so(oneloop, switch, called):
    finished = children.finish(children.start(["-c", OVER_TLS], "oneloop", ONELOOP_FAST_STREAMS=switch))
    assert finished.quiet, finished
    assert finished.out == f"{called}\n"


def test_another_method_is_called_over_tls(loop_factory):
    def scenario(factory):
        fed = []

        def prepare(reader):
            feed_data = reader.feed_data
            reader.feed_data = lambda data: (fed.append(data), feed_data(data))

        return over_tls(factory, prepare)[0], b"".join(fed)

    like_asyncio(scenario, loop_factory)


COUNT = """
import asyncio, socket, sys, oneloop

async def main():
    ours, peer = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    seen = []
    def profile(frame, event, arg):
        if event == "call":
            seen.append(frame.f_code.co_name)
    reading = asyncio.ensure_future(reader.read(10))
    await asyncio.sleep(0)
    sys.setprofile(profile)
    peer.sendall(b"data")
    await reading
    sys.setprofile(None)
    print("data_received" in seen, "feed_data" in seen, reading.result())
    writer.close()
    peer.close()

oneloop.run(main())
"""


@pytest.mark.parametrize("flags", [[], ["-O"]], ids=["plain", "optimized"])
@pytest.mark.parametrize(("switch", "called"), [("1", False), ("0", True)])
def test_no_python_method_is_called_unless_the_switch_says_so(oneloop, switch, called, flags):
    finished = children.finish(children.start([*flags, "-c", COUNT], "oneloop", ONELOOP_FAST_STREAMS=switch))
    assert finished.quiet, finished
    assert finished.out == f"{called} {called} b'data'\n"


SCENE = """
import asyncio, socket, time, oneloop

async def main():
    ours, peer = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours, limit=5)
    reading = asyncio.ensure_future(reader.readexactly(5))
    for data in (b"123", b"456", b"7890abcdef", b"ghi"):
        peer.sendall(data)
        for _ in range(4):
            time.sleep(0.001)  # with work at hand a loop may wait so long with its next poll
            await asyncio.sleep(0)
        print(bytes(reader._buffer), reader._paused, reader._waiter, writer.transport.is_reading())
    print(await reading, await reader.read(100), reader._paused)
    peer.close()
    print(await reader.read(), reader.at_eof())
    writer.close()

oneloop.run(main())
"""


def test_the_same_is_seen_with_the_switch_and_without(oneloop):
    seen = [children.finish(children.start(["-c", SCENE], "oneloop", ONELOOP_FAST_STREAMS=switch)) for switch in "01"]
    assert all(each.quiet for each in seen), seen
    assert seen[0].out == seen[1].out
    assert seen[0].out.splitlines()[-1] == "b'ghi' True"
    assert "True None False" in seen[0].out
