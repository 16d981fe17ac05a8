# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Each kind of transport, aborted by the collector in the middle of a run, by another thread, inside a callback, or on
a loop that is closed: its protocol is told once, its descriptor is closed once, and the loop goes on.

On ours only: asyncio's transports may be used on their loop's thread alone, and may fail to end on a closed loop.
"""

import asyncio
import contextlib
import gc
import os
import threading

import pytest
from helpers.datagrams import DatagramRecorder
from helpers.descriptors import found_unclosed, none_left
from helpers.loops import goes_on, run_once, steps
from helpers.peers import connected_pair
from helpers.processes import Diary, children
from helpers.recorder import Recorder
from helpers.scene import until
from helpers.tls import Peer, client_context, server_context, start

pytestmark = pytest.mark.usefixtures("no_child_is_left")

ROUNDS = 8


def stream(loop, stack):
    ours, peer = connected_pair("tcp")
    stack.enter_context(peer)
    return loop.run_until_complete(loop.create_connection(Recorder, sock=ours))


def tls(loop, stack):
    ours, peer = connected_pair("socketpair")
    stack.enter_context(peer)
    other, protocol = Peer(peer, server_context(), "server"), Recorder()
    task = start(loop, ours, "client", client_context(), protocol)
    until(loop, lambda: other.handshake() and task.done())
    return task.result()


def pipe(direction):
    def make(loop, stack):
        ends = [os.fdopen(number, mode, buffering=0) for number, mode in zip(os.pipe(), ("rb", "wb"), strict=True)]
        ours, peer = ends if direction == "read" else ends[::-1]
        stack.enter_context(peer)
        connect = loop.connect_read_pipe if direction == "read" else loop.connect_write_pipe
        return loop.run_until_complete(connect(Recorder, ours))

    return make


def datagram(loop, stack):
    return loop.run_until_complete(loop.create_datagram_endpoint(DatagramRecorder, local_addr=("127.0.0.1", 0)))


def child(loop, stack):
    return loop.run_until_complete(loop.subprocess_exec(Diary, "sleep", "1000"))


# A pipe that is read and a child have no `abort()`.
KINDS = {
    "stream": (stream, "abort"),
    "TLS": (tls, "abort"),
    "pipe that is read": (pipe("read"), "close"),
    "pipe that is written": (pipe("write"), "abort"),
    "datagrams": (datagram, "abort"),
    "child": (child, "close"),
}


def by_the_collector(loop, end):
    class Keeper:
        def __init__(self):
            self.me = self

        def __del__(self):
            end()

    def drop():
        Keeper()
        gc.collect()

    loop.call_soon(drop)


def by_another_thread(loop, end):
    thread = threading.Thread(target=end)
    loop.call_soon(thread.start)
    # The loop waits for it in a callback, and lets go of the interpreter meanwhile.
    loop.call_soon(thread.join)


def inside_a_callback(loop, end):
    loop.call_soon(end)


def twice(loop, end):
    loop.call_soon(end)
    loop.call_soon(end)


def lost(protocol):
    """How often the protocol was told of the end."""
    names = [event[0] for event in protocol.events] if isinstance(protocol, Diary) else protocol.names
    return names.count("lost")


@pytest.mark.parametrize("how", [by_the_collector, by_another_thread, inside_a_callback, twice])
@pytest.mark.parametrize("kind", KINDS)
def test_while_the_loop_runs(oneloop, kind, how):
    make, method = KINDS[kind]
    with contextlib.closing(oneloop.new_event_loop()) as loop:
        run_once(loop)
        for _ in range(ROUNDS):
            with none_left(), contextlib.ExitStack() as stack:
                transport, protocol = make(loop, stack)
                how(loop, getattr(transport, method))
                until(loop, lambda protocol=protocol: lost(protocol))
                getattr(transport, method)()
                steps(loop, 3)
                assert lost(protocol) == 1
                assert transport.is_closing()
                del transport, protocol
        goes_on(loop)
    assert children() == {}


@pytest.mark.parametrize("how", ["method", "collector", "thread"])
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_closed_loop(oneloop, kind, how):
    """Nobody can be told any more; the descriptor is closed with the transport at the latest."""
    make, method = KINDS[kind]
    with none_left(collect=True), contextlib.ExitStack() as stack, found_unclosed():
        loop = oneloop.new_event_loop()
        transport, protocol = make(loop, stack)
        process = transport.get_extra_info("subprocess")
        loop.close()

        calls = [getattr(transport, method)]

        def end():
            with contextlib.suppress(RuntimeError):  # "Event loop is closed", as with asyncio
                calls[0]()

        if how == "thread":
            thread = threading.Thread(target=end)
            thread.start()
            thread.join()
        elif how == "method":
            end()
        calls.clear()
        del transport
        protocol.transport = None
        del protocol, loop
        gc.collect()
        if process is not None:
            assert process.wait() == -9


def test_timers_that_are_cancelled_are_given_back_without_the_collector(oneloop):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def main():
        before = []
        for round_ in range(13):
            for _ in range(200):
                for timer in [asyncio.get_running_loop().call_later(3600, print, object()) for _ in range(100)]:
                    timer.cancel()
                await asyncio.sleep(0)
            if round_ == 2:
                before.append(resident())
        # A leak of 32 bytes for each timer would be 6.4 MB.
        assert resident() - before[0] < 4_000_000

    gc.disable()
    try:
        with asyncio.Runner(loop_factory=oneloop.new_event_loop) as runner:
            runner.run(main())
    finally:
        gc.enable()
