# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The network goes away without a word, and comes back: in a network namespace of the test's own.

Each program runs in a process with a network of its own, which has nothing but a loopback interface that the program
takes up and down. Nothing is skipped: where the kernel allows no such namespace, the tests say so and fail.
"""

import pytest
from helpers import children

HEAD = """
import asyncio, contextlib, ctypes, errno, fcntl, os, socket, struct, sys, time
from helpers import loops
from helpers.recorder import Recorder

CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

def own_network():
    "Leave the machine's network for a new one, as root or as the root of a user namespace."
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) and libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
        reason = os.strerror(ctypes.get_errno())
        sys.exit(f"this test needs a network namespace: root, or unprivileged user namespaces ({reason})")

def link(up):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        flags, = struct.unpack("16xh", fcntl.ioctl(sock, SIOCGIFFLAGS, struct.pack("16sh", b"lo", 0)))
        flags = flags | IFF_UP if up else flags & ~IFF_UP
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags))

async def until(condition, limit=10):
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        await asyncio.sleep(0.005)

def patience(transport, milliseconds):
    "How long the kernel tries to deliver before it gives the connection up."
    transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

class Connection:
    "Both ends of a connection over the namespace's loopback."

    async def make(self):
        loop = asyncio.get_running_loop()
        self.reports = []
        loop.set_exception_handler(lambda _, context: self.reports.append(context))
        accepted = loop.create_future()
        made = lambda transport: accepted.done() or accepted.set_result(transport)
        self.server = await loop.create_server(lambda: Recorder(made=made), "127.0.0.1", 0)
        self.address = self.server.sockets[0].getsockname()
        self.transport, self.protocol = await loop.create_connection(Recorder, *self.address)
        self.theirs = await accepted
        self.their_protocol = self.theirs.get_protocol()
        return self

    def end(self):
        for transport in (self.transport, self.theirs):
            if not transport.is_closing():
                transport.abort()
        self.server.close()
        assert self.reports == [], self.reports

own_network()
link(True)
"""


def run(loop_name, program):
    finished = children.run_program(HEAD + program + "\nloops.run(main())\nprint('done')\n", loop_name)
    assert (finished.out, finished.err) == ("done\n", "")
    assert finished.returncode == 0


def test_what_is_written_meanwhile_arrives_when_it_is_back(loop_name):
    run(
        loop_name,
        """
async def main():
    both = await Connection().make()
    both.transport.write(b"before ")
    await until(lambda: both.their_protocol.data == b"before ")
    link(False)
    both.transport.write(b"meanwhile ")
    await asyncio.sleep(0.1)
    assert both.their_protocol.data == b"before "
    assert not both.transport.is_closing()
    link(True)
    both.transport.write(b"after")
    await until(lambda: both.their_protocol.data == b"before meanwhile after")
    both.end()
""",
    )


def test_a_peer_that_vanishes_while_it_is_written_to(loop_name):
    run(
        loop_name,
        """
async def main():
    both = await Connection().make()
    patience(both.transport, 100)
    link(False)
    both.transport.write(bytes(1 << 20))
    await until(lambda: "lost" in both.protocol.names)
    # The kernel gave it up: that is the connection's own end, and nobody is alarmed.
    assert both.protocol.names.count("lost") == 1
    kind = both.protocol.trace[-1][1].partition(":")[0]
    assert kind in ("TimeoutError", "OSError", "ConnectionResetError"), both.protocol.trace[-1]
    assert both.transport.get_write_buffer_size() == 0
    link(True)
    both.end()
""",
    )


def test_closed_while_it_is_away(loop_name):
    run(
        loop_name,
        """
async def main():
    both = await Connection().make()
    link(False)
    data = os.urandom(1 << 23)  # more than the kernel takes of a connection
    both.transport.write(data)
    both.transport.close()
    await asyncio.sleep(0.1)
    # What was written is not given up.
    assert "lost" not in both.protocol.names
    assert both.transport.get_write_buffer_size() > 0
    link(True)
    await until(lambda: "lost" in both.protocol.names)
    assert both.protocol.trace[-1] == ("lost", None)
    await until(lambda: "lost" in both.their_protocol.names)
    assert both.their_protocol.data == data
    both.end()
""",
    )


def test_aborted_while_it_is_away(loop_name):
    run(
        loop_name,
        """
async def main():
    both = await Connection().make()
    link(False)
    both.transport.write(bytes(1 << 23))
    both.transport.abort()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert both.protocol.trace[-1] == ("lost", None)
    link(True)
    both.end()
""",
    )


def test_connecting_while_it_is_away(loop_name):
    run(
        loop_name,
        """
async def main():
    loop = asyncio.get_running_loop()
    both = await Connection().make()
    before = sorted(os.listdir("/proc/self/fd"))
    link(False)
    for kwargs in ({}, {"happy_eyeballs_delay": 0.001}):
        task = asyncio.create_task(loop.create_connection(Recorder, *both.address, **kwargs))
        await asyncio.sleep(0.02)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
        for _ in range(5):
            await asyncio.sleep(0)
        assert task.cancelled()
        assert sorted(os.listdir("/proc/self/fd")) == before
    task = asyncio.create_task(loop.create_connection(Recorder, *both.address))
    await asyncio.sleep(0.02)
    link(True)
    # The kernel asks again after a second.
    transport, protocol = await asyncio.wait_for(task, 10)
    transport.abort()
    both.end()
    await asyncio.sleep(0.01)
""",
    )


def test_a_connect_that_is_never_answered(loop_name):
    run(
        loop_name,
        """
async def main():
    loop = asyncio.get_running_loop()
    # A listener whose queue is full drops what comes, without a word.
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        before = sorted(os.listdir("/proc/self/fd"))
        try:
            async with asyncio.timeout(0.1):
                await loop.create_connection(Recorder, *full.getsockname())
        except TimeoutError:
            pass
        else:
            raise AssertionError("connected to nobody")
        await asyncio.sleep(0)
        assert sorted(os.listdir("/proc/self/fd")) == before
        # The same, with a limit of the kernel's.
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 100)
            try:
                await loop.sock_connect(sock, full.getsockname())
            except TimeoutError as exc:
                assert exc.errno == errno.ETIMEDOUT
            else:
                raise AssertionError("connected to nobody")
""",
    )


def test_a_server_while_it_is_away(loop_name):
    run(
        loop_name,
        """
async def main():
    both = await Connection().make()
    link(False)
    await asyncio.sleep(0.05)
    assert both.server.is_serving()
    link(True)
    transport, _ = await asyncio.get_running_loop().create_connection(Recorder, *both.address)
    transport.write(b"served again")
    transport.abort()
    link(False)
    # And one that is made meanwhile serves when it is back.
    server = await asyncio.get_running_loop().create_server(Recorder, "127.0.0.1", 0)
    link(True)
    transport, _ = await asyncio.get_running_loop().create_connection(Recorder, *server.sockets[0].getsockname())
    transport.abort()
    server.close()
    both.end()
    await asyncio.sleep(0.01)
""",
    )


@pytest.mark.parametrize("call", ["sock_recv", "sock_sendall"])
def test_raw_sockets_while_it_is_away(loop_name, call):
    run(
        loop_name,
        f"""
async def main():
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as sock:
        end, _ = listener.accept()
        with end:
            for each in (sock, end):
                each.setblocking(False)
            link(False)
            data = os.urandom(1 << 23)
            if {call!r} == "sock_recv":
                task = asyncio.create_task(loop.sock_recv(sock, 100))
                end.send(b"later")
                await asyncio.sleep(0.05)
                assert not task.done()
                link(True)
                assert await task == b"later"
            else:
                task = asyncio.create_task(loop.sock_sendall(sock, data))
                await asyncio.sleep(0.05)
                assert not task.done()
                link(True)
                received = bytearray()
                while len(received) < len(data):
                    received += await loop.sock_recv(end, 1 << 20)
                await task
                assert received == data
""",
    )
