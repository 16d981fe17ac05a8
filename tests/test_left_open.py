# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What is open when the end comes: the loop is closed under servers, connections, pipes and waiting calls; the process
leaves with all of them open, in every way that a process can leave.
"""

import contextlib
import gc
import os
import signal
import socket
import textwrap

import pytest
from helpers import children
from helpers.descriptors import found_unclosed, none_left
from helpers.loops import steps
from helpers.peers import abstract_name, connected_pair
from helpers.recorder import Recorder
from helpers.scene import until

HOST = "127.0.0.1"


def open_everything(loop, stack):
    """A server with a connection that was accepted, one that was made, both ends of a pipe; and calls that wait."""
    protocols = []

    def make():
        protocols.append(Recorder())
        return protocols[-1]

    def run(coroutine):
        return loop.run_until_complete(coroutine)

    servers = [run(loop.create_server(make, HOST, 0)), run(loop.create_unix_server(make, abstract_name()))]
    stack.enter_context(socket.create_connection(servers[0].sockets[0].getsockname()))
    until(loop, lambda: protocols and protocols[0].names)
    ours, theirs = connected_pair("socketpair")
    stack.enter_context(theirs)
    made, _ = run(loop.create_connection(Recorder, sock=ours))
    made.write(bytes(1_000_000))
    reader, writer = (open(end, mode, 0) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))  # noqa: SIM115
    pipes = [run(loop.connect_read_pipe(Recorder, reader))[0], run(loop.connect_write_pipe(Recorder, writer))[0]]
    pipes[1].write(bytes(1_000_000))
    waiting = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    waiting.bind(abstract_name())
    waiting.setblocking(False)
    calls = [loop.sock_recv(waiting, 10), servers[0].serve_forever(), servers[1].wait_closed()]
    tasks = [loop.create_task(call) for call in calls]
    steps(loop, 3)
    return [protocols[0].transport, made, *pipes], servers, tasks


METHODS = {
    "close": (),
    "abort": (),
    "write": (b"x",),
    "writelines": ([b"x"],),
    "write_eof": (),
    "pause_reading": (),
    "resume_reading": (),
    "is_closing": (),
    "is_reading": (),
    "get_write_buffer_size": (),
    "get_write_buffer_limits": (),
    "get_protocol": (),
    "set_protocol": (Recorder(),),
    "get_extra_info": ("peername",),
    "__repr__": (),
}


# What a method may answer without its loop. asyncio's transports are no good then, and stumble.
REFUSALS = {"asyncio": (RuntimeError, OSError, AttributeError, TypeError), "oneloop": (RuntimeError, OSError)}


@pytest.mark.parametrize("then", ["dropped", "used"])
def test_a_loop_that_is_closed_under_them(loop_name, loop_factory, then, monkeypatch):
    unraisable = []
    monkeypatch.setattr("sys.unraisablehook", lambda args: unraisable.append(repr(args.exc_value)))
    with none_left(collect=True), contextlib.ExitStack() as stack, found_unclosed() as messages:
        loop = loop_factory()
        transports, servers, tasks = open_everything(loop, stack)
        loop.close()
        if then == "used":
            for transport in transports:
                use(transport, REFUSALS[loop_name])
            for server in servers:
                # Whoever waits in serve_forever() cannot be told.
                with contextlib.suppress(RuntimeError):
                    server.close()
                assert server.sockets == ()
        for task in tasks:
            task._log_destroy_pending = False
        transport = server = task = None
        del transports, servers, tasks, loop
        gc.collect()
    if loop_name == "oneloop":
        assert unraisable == []
    # Each of the four transports says that nobody closed it; without its loop nobody could.
    said = [message for message in messages if message.startswith("unclosed transport")]
    assert len(said) == 4


def use(transport, refusals):
    for method, arguments in METHODS.items():
        if hasattr(transport, method):
            with contextlib.suppress(*refusals):
                getattr(transport, method)(*arguments)


# Programs that leave with everything open. Each has written b"last words" to the test before.
HEAD = """
import asyncio, atexit, os, signal, socket, sys, threading
from helpers import loops

async def everything():
    global kept
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    client, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
    teller, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", int(sys.argv[1]))
    reader, writer = os.pipe()
    pipe, _ = await loop.connect_read_pipe(asyncio.Protocol, open(reader, "rb", 0))
    streams = await asyncio.open_connection(*server.sockets[0].getsockname())
    unread = asyncio.create_task(streams[0].read())
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    waiting = asyncio.create_task(loop.sock_recv(ours, 10))
    client.write(bytes(1 << 20))
    teller.write(b"last words")
    kept = server, client, teller, pipe, streams, unread, ours, theirs, waiting, writer
    await asyncio.sleep(0)
"""

EXITS = {
    "the end of main": ("loops.run(everything())", 0),
    "sys.exit in a task": (
        """
async def main():
    await everything()
    sys.exit(3)
loops.run(main())
""",
        3,
    ),
    "sys.exit in a callback": (
        """
async def main():
    await everything()
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    await asyncio.sleep(100)
loops.run(main())
""",
        3,
    ),
    "an exception": (
        """
async def main():
    await everything()
    raise ZeroDivisionError
loops.run(main())
""",
        1,
    ),
    "os._exit": (
        """
async def main():
    await everything()
    os._exit(3)
loops.run(main())
""",
        3,
    ),
    "a signal": (
        """
async def main():
    await everything()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(100)
loops.run(main())
""",
        -signal.SIGTERM,
    ),
    "an interrupt": (
        """
async def main():
    await everything()
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(100)
loops.run(main())
""",
        -signal.SIGINT,
    ),
    "a loop that nobody closed": (
        """
loop = loops.new_event_loop()
loop.run_until_complete(everything())
""",
        0,
    ),
    "a daemon thread that runs the loop": (
        """
done = threading.Event()
async def main():
    await everything()
    done.set()
    await asyncio.sleep(100)
threading.Thread(target=lambda: loops.run(main()), daemon=True).start()
done.wait()
""",
        0,
    ),
    "an exit handler that uses them": (
        """
loop = loops.new_event_loop()
loop.run_until_complete(everything())
def use():
    for transport in kept[1:4]:
        transport.close()
    kept[0].close()
    kept[5].cancel(), kept[8].cancel()
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
atexit.register(use)
""",
        0,
    ),
    "an exit handler after the loop was closed": (
        """
loops.run(everything())
def use():
    for transport in kept[1:4]:
        try:
            transport.pause_reading()
            transport.close()
        except (RuntimeError, AttributeError):
            pass
atexit.register(use)
""",
        0,
    ),
}


@pytest.mark.parametrize("way", EXITS)
def test_a_process_that_leaves_with_everything_open(loop_name, way):
    program, code = EXITS[way]
    with socket.create_server((HOST, 0)) as listener:
        finished = children.run_program(HEAD + textwrap.dedent(program), loop_name, str(listener.getsockname()[1]))
        assert finished.returncode == code, finished.err
        listener.settimeout(10)  # one that never came says nothing
        told, _ = listener.accept()
        with told:
            assert told.recv(100) == b"last words"
            assert told.recv(100) == b""
    for word in ("panicked", "Fatal Python error", "Segmentation"):
        assert word not in finished.err
    if loop_name == "asyncio" and way == "an exit handler that uses them":
        # Its server may hear twice that the last connection is gone, and stumbles.
        return
    assert "Exception ignored" not in finished.err
    if code == 0 and "nobody closed" not in way:
        assert finished.quiet, finished.err
