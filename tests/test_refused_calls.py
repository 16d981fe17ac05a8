# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Hostile surroundings: system calls that a sandbox or an old kernel refuses, threads that cannot be started, standard
streams that are closed. What works on asyncio's loop works; the rest is an exception, and never a crash or a hang.

Each program is a process of its own, since what is refused is refused for good.
"""

import errno

import pytest
from helpers import children

HEAD = """
import asyncio, errno, os, signal, socket, sys, tempfile, threading
from helpers import loops, seccomp
from helpers.processes import numbers
HOST = "127.0.0.1"
"""

# Something of everything; each line is written by a part that works.
EVERYTHING = """
async def timers():
    await asyncio.sleep(0.001)
    async with asyncio.timeout(10):
        await asyncio.to_thread(int)

async def streams():
    async def echo(reader, writer):
        writer.write(await reader.readexactly(300_000))
        writer.writelines([b"the ", b"end"])
        writer.close()
    async with await asyncio.start_server(echo, HOST, 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(bytes(300_000))
        assert (await reader.read())[-7:] == b"the end", "lost"
        writer.close()
        await writer.wait_closed()

async def datagrams():
    class Keeps(asyncio.DatagramProtocol):
        def datagram_received(self, data, address):
            received.set_result(data)
    loop = asyncio.get_running_loop()
    received = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(Keeps, local_addr=(HOST, 0))
    transport.sendto(b"x", transport.get_extra_info("sockname"))
    assert await received == b"x"
    transport.close()

async def child():
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    out, _ = await process.communicate(bytes(100_000))
    assert (len(out), process.returncode) == (100_000, 0)

async def signals():
    loop, got = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, got.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await got.wait()
    loop.remove_signal_handler(signal.SIGUSR1)

async def threads():
    loop = asyncio.get_running_loop()
    called = loop.create_future()
    threading.Thread(target=loop.call_soon_threadsafe, args=(called.set_result, 1)).start()
    await called

async def names():
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)

async def files():
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    with one, other, tempfile.TemporaryFile() as file:
        one.setblocking(False)
        file.write(b"content")
        file.flush()
        assert await loop.sock_sendfile(one, file) == 7
        assert other.recv(100) == b"content"

async def main():
    for part in (timers, streams, datagrams, child, signals, threads, names, files):
        try:
            async with asyncio.timeout(5):
                await part()
        except (OSError, RuntimeError, ValueError) as error:
            print(part.__name__, type(error).__name__)
        else:
            print(part.__name__, "works")
"""


# To fall back to another driver where one is refused is for a loop that was not told which one to use.
LEFT_TO_CHOOSE = 'os.environ.pop("ONELOOP_DRIVER", None)'


def begin(loop_name, before, *argv):
    """Begin to run something of everything, after something else was done to the process."""
    program = f"{HEAD}{EVERYTHING}\n{before}\nloops.run(main())\nsys.stdout.flush()"
    return children.start(["-c", program, *argv], loop_name)


def everything(loop_name, before, *argv):
    return children.finish(begin(loop_name, before, *argv))


def working(out):
    return {line for line in out.splitlines() if line.endswith(" works")}


def compare(before):
    # At once: what never works is waited for as long as it is let, on both.
    expected, ours = (children.finish(child) for child in [begin(name, before) for name in ("asyncio", "oneloop")])
    assert ours.returncode in (0, 1), ours
    assert "panicked" not in ours.err, ours
    assert working(expected.out) <= working(ours.out), (expected, ours)
    if expected.quiet:
        assert ours.quiet, ours
    return working(ours.out)


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
@pytest.mark.parametrize(
    "names",
    [
        ("accept4",),
        ("epoll_create1",),
        ("epoll_pwait2", "eventfd2", "timerfd_create"),
        ("pidfd_open", "pidfd_send_signal"),
        ("waitid",),
        ("pipe2",),
        ("recvmmsg", "sendmmsg", "sendfile", "writev", "statx", "getrandom"),
    ],
    ids="+".join,
)
def test_what_works_on_asyncio_works(oneloop, names, error):
    choice = LEFT_TO_CHOOSE if "eventfd2" in names else ""
    compare(f"{choice}\nseccomp.refuse({error}, *{names!r})")


def test_a_kernel_that_is_old(oneloop):
    names = ("accept4", "clone3", "epoll_pwait2", "eventfd2", "pidfd_open", "recvmmsg", "sendmmsg", "statx", "waitid")
    assert len(compare(f"{LEFT_TO_CHOOSE}\nseccomp.refuse(errno.ENOSYS, *{names!r})")) == 8


def test_no_thread_can_be_started(oneloop):
    """Where nothing is known of `clone3`, threads are started by `clone`; where it is refused, they are not."""
    ours = compare("seccomp.refuse(errno.EPERM, 'clone3')")
    assert {"streams works", "datagrams works", "signals works"} <= ours


# Children.


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
def test_without_pidfds_children_are_waited_for_all_the_same(loop_name, error):
    child = children.run_program(
        HEAD
        + f"""
seccomp.refuse(errno.{error}, "pidfd_open")
async def main():
    before = numbers()
    for _ in range(2):
        process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        print(len((await process.communicate(bytes(1_000_000)))[0]), process.returncode)
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        assert getattr(process._transport, "_is_pidfd", False) is False
        process.kill()
        print(await process.wait())
        several = [await asyncio.create_subprocess_shell(f"exit {{code}}") for code in range(10)]
        print(await asyncio.gather(*(process.wait() for process in several)))
    await asyncio.sleep(0.05)
    assert numbers() == before
loops.run(main())
try:
    print(os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print("no child is left")
""",
        loop_name,
    )
    assert child.quiet, child
    once = "1000000 0\n-9\n[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
    assert child.out == 2 * once + "no child is left\n"


def test_children_share_memory_until_they_run_their_program(loop_name):
    """What makes starting one quick, however large its parent is. A function that is to run in the child forbids it."""
    child = children.run_program(
        HEAD
        + """
seccomp.refuse_copies_of_memory(errno.EPERM)
async def main():
    for keywords in (
        {}, {"stdin": -1, "stdout": -1, "stderr": -2}, {"cwd": "/"}, {"env": {}}, {"start_new_session": True},
        {"process_group": 0}, {"umask": 0o77}, {"close_fds": False}, {"restore_signals": False}, {"pass_fds": (1,)},
    ):
        process = await asyncio.create_subprocess_exec("/bin/true", **keywords)
        assert await process.wait() == 0
    assert await (await asyncio.create_subprocess_shell("exit 3")).wait() == 3
    try:
        await asyncio.create_subprocess_exec("/bin/true", preexec_fn=int)
    except PermissionError:
        print("copied")
loops.run(main())
""",
        loop_name,
    )
    assert child.quiet, child
    assert child.out == "copied\n"


# Standard streams.


@pytest.mark.parametrize("closed", [(0,), (0, 1, 2)], ids=["stdin", "all three"])
def test_closed_standard_streams(loop_name, closed, tmp_path):
    """The loop's own descriptors get their numbers, and are none of its children's."""
    said = tmp_path / "said"
    close = f"sys.stdout = open(sys.argv[1], 'w')\nfor number in {closed!r}: os.close(number)"
    child = everything(loop_name, close, str(said))
    assert child.returncode == 0, child
    assert len(working(said.read_text())) == 8, said.read_text()
