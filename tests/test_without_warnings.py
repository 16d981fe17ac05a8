# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""`python -X dev -W error`: programs that close what they open have nothing to complain about, on asyncio's loop and on
ours; nor have the examples. (The interactive shell is in test_shell.)

Development mode turns asyncio's debug mode on and shows every warning; a warning is an error, also one that a finalizer
gives, and then the error stream is not empty.
"""

import pathlib
import re

import pytest
from helpers import children
from helpers.tls import CERTIFICATES

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples"
OPTIONS = ("-X", "dev", "-W", "error")

HEAD = """
import asyncio, contextlib, gc, os, signal, socket, ssl, sys, tempfile, threading
from helpers import loops
HOST = "127.0.0.1"
"""

STREAMS = """
async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()

async def talk(connect):
    reader, writer = await connect
    writer.write(b"one\\n" + bytes(300_000) + b"\\n")
    await writer.drain()
    print(await reader.readline(), len(await reader.readexactly(300_001)))
    writer.close()
    await writer.wait_closed()
    # Before 3.12 a handler that is cancelled at the end is an error of its callback's.
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
"""

PROGRAMS = {
    "an echo through streams": STREAMS
    + """
async def main():
    async with await asyncio.start_server(echo, HOST, 0, limit=1 << 20) as server:
        await talk(asyncio.open_connection(*server.sockets[0].getsockname(), limit=1 << 20))
""",
    "an echo through a Unix socket": STREAMS
    + """
async def main():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "socket")
        async with await asyncio.start_unix_server(echo, path, limit=1 << 20):
            await talk(asyncio.open_unix_connection(path, limit=1 << 20))
""",
    "an echo through TLS": STREAMS
    + f"""
async def main():
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain({str(CERTIFICATES / "server.pem")!r})
    ours = ssl.create_default_context(cafile={str(CERTIFICATES / "ca.pem")!r})
    async with await asyncio.start_server(echo, HOST, 0, ssl=theirs, limit=1 << 20) as server:
        port = server.sockets[0].getsockname()[1]
        await talk(asyncio.open_connection(HOST, port, ssl=ours, server_hostname="localhost", limit=1 << 20))
""",
    "TLS that begins later, takes too long and is cancelled": f"""
theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
theirs.load_cert_chain({str(CERTIFICATES / "server.pem")!r})
ours = ssl.create_default_context(cafile={str(CERTIFICATES / "ca.pem")!r})
TLS = dict(ssl=ours, server_hostname="localhost")

async def later(reader, writer):
    print(await reader.readline())
    writer.write(b"go on\\n")
    await writer.start_tls(theirs)
    writer.write(await reader.readline())
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()

async def main():
    loop = asyncio.get_running_loop()
    async with await asyncio.start_server(later, HOST, 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"plain\\n")
        print(await reader.readline())
        await writer.start_tls(ours, server_hostname="localhost")
        writer.write(b"safe\\n")
        print(await reader.read())
        writer.close()
        await writer.wait_closed()
        # Before 3.12 a handler that is cancelled at the end is an error of its callback's.
        await asyncio.gather(*asyncio.all_tasks() - {{asyncio.current_task()}})
    with socket.create_server((HOST, 0)) as silent:
        try:
            await asyncio.open_connection(*silent.getsockname(), **TLS, ssl_handshake_timeout=0.01)
        except ConnectionAbortedError:
            print("took too long")
        for iterations in range(12):
            task = loop.create_task(asyncio.open_connection(*silent.getsockname(), **TLS))
            for _ in range(iterations):
                await asyncio.sleep(0)
            task.cancel()
            print(await asyncio.gather(task, return_exceptions=True))
    await asyncio.sleep(0.01)
""",
    "an echo through protocols": """
class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)
        self.transport.close()

class Client(Echo):
    def connection_made(self, transport):
        self.data, self.lost = b"", asyncio.get_running_loop().create_future()
        transport.write(b"hello")
    def data_received(self, data):
        self.data += data
    def connection_lost(self, exc):
        self.lost.set_result(exc)

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, HOST, 0)
    _, client = await loop.create_connection(Client, *server.sockets[0].getsockname())
    print(await client.lost, client.data)
    server.close()
    await server.wait_closed()
""",
    "datagrams": """
class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, address):
        self.transport.sendto(data, address)

class Client(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.answer = asyncio.get_running_loop().create_future()
        transport.sendto(b"hello")
    def datagram_received(self, data, address):
        self.answer.set_result(data)

async def main():
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(Echo, local_addr=(HOST, 0))
    address = server.get_extra_info("sockname")
    transport, client = await loop.create_datagram_endpoint(Client, remote_addr=address)
    print(await client.answer)
    transport.close()
    server.close()
""",
    "child processes": """
async def main():
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1, stderr=-1)
    out, err = await process.communicate(bytes(1_000_000))
    print(len(out), err, process.returncode)
    process = await asyncio.create_subprocess_shell("exit 3")
    print(await process.wait())
    process = await asyncio.create_subprocess_exec("sleep", "1000", stdin=-1)
    process.terminate()
    print(await process.wait())
""",
    "pipes": """
async def main():
    loop = asyncio.get_running_loop()
    reading, writing = (os.fdopen(fd, mode, buffering=0) for fd, mode in zip(os.pipe(), ("rb", "wb")))
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), reading)
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, writing)
    transport.write(b"hello")
    transport.close()
    print(await reader.read())
""",
    "raw sockets": """
async def main():
    loop = asyncio.get_running_loop()
    with socket.create_server((HOST, 0)) as listener, socket.socket() as ours:
        listener.setblocking(False)
        ours.setblocking(False)
        accepting = asyncio.create_task(loop.sock_accept(listener))
        await loop.sock_connect(ours, listener.getsockname())
        theirs, _ = await accepting
        with theirs:
            await loop.sock_sendall(ours, b"hello")
            print(await loop.sock_recv(theirs, 100))
""",
    "names and threads": """
async def main():
    loop = asyncio.get_running_loop()
    print(len(await loop.getaddrinfo("localhost", 80, family=socket.AF_INET, type=socket.SOCK_STREAM)))
    print(await asyncio.to_thread(sum, [1, 2]), await loop.run_in_executor(None, int))
    called = loop.create_future()
    threading.Thread(target=loop.call_soon_threadsafe, args=(called.set_result, 7)).start()
    print(await called)
""",
    "signals and descriptors": """
async def main():
    loop = asyncio.get_running_loop()
    got, readable = loop.create_future(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, got.set_result, "a signal")
    os.kill(os.getpid(), signal.SIGUSR1)
    print(await got, loop.remove_signal_handler(signal.SIGUSR1))
    one, other = socket.socketpair()
    with one, other:
        loop.add_reader(one, readable.set)
        other.send(b"x")
        await readable.wait()
        print(loop.remove_reader(one))
""",
    "what is cancelled or fails": """
async def numbers():
    try:
        while True:
            yield 1
            await asyncio.sleep(0)
    finally:
        print("closed")

async def main():
    async for _ in numbers():
        break
    gc.collect()
    sleeping = asyncio.create_task(asyncio.sleep(1000))
    await asyncio.sleep(0)
    sleeping.cancel()
    print(await asyncio.gather(sleeping, asyncio.sleep(0, 7), return_exceptions=True))
    try:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()
    except TimeoutError:
        print("too late")
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        try:
            await asyncio.open_connection(*unused.getsockname())
        except ConnectionRefusedError:
            print("refused")
""",
}


def complaints(err):
    """The error stream but for what debug mode says of a busy machine."""
    return [line for line in err.splitlines() if not re.match(r"Executing .* took \d+\.\d+ seconds$", line)]


def check(child):
    assert (child.returncode, complaints(child.err)) == (0, []), child
    assert child.out


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program(loop_name, program):
    run = "\nwith asyncio.Runner(loop_factory=loops.new_event_loop) as runner:\n    runner.run(main())\ngc.collect()"
    check(children.run_program(HEAD + PROGRAMS[program] + run, loop_name, options=OPTIONS))


def test_it_is_debug_mode(loop_name):
    program = "async def main(): print(asyncio.get_running_loop().get_debug())\nloops.run(main())"
    assert children.run_program(HEAD + program, loop_name, options=OPTIONS).out == "True\n"


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("greet*.py")))
def test_an_example(oneloop, example):
    way = [] if "oneloop" in (EXAMPLES / example).read_text() else ["-m", "oneloop"]
    check(children.finish(children.start([*OPTIONS, *way, example], "oneloop", cwd=EXAMPLES)))


def test_the_example_of_many(oneloop):
    # Fewer: where each task and each future remembers who made it, ten thousand take long.
    program = "import oneloop, ten_thousand; ten_thousand.SLEEPERS = 100; oneloop.run(ten_thousand.main())"
    check(children.finish(children.start([*OPTIONS, "-c", program], "oneloop", cwd=EXAMPLES)))


def test_an_example_that_is_a_package(oneloop):
    check(
        children.finish(children.start([*OPTIONS, "-m", "oneloop", "-m", "greetings.hello"], "oneloop", cwd=EXAMPLES))
    )


@pytest.mark.parametrize(
    "program",
    [
        "loop = loops.new_event_loop()",
        "async def main(): (await asyncio.start_server(print, HOST, 0)).close(); socket.socket()\nloops.run(main())",
        "async def main(): asyncio.sleep(0)\nloops.run(main())",
    ],
    ids=["a loop", "a socket", "a coroutine"],
)
def test_what_a_program_forgets_is_complained_about(loop_name, program):
    """Else the rest here would prove nothing."""
    child = children.run_program(f"{HEAD}{program}", loop_name, options=OPTIONS)
    assert "Warning: " in "\n".join(complaints(child.err)), child
