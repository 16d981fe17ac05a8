# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Fork with a loop open: parent and child both go on, and the child never disturbs the parent.

Each program forks while its loop is stopped, inside a running callback, or on another thread. The child does something
with loops and leaves; the parent then shows that its watchers, wake-ups, timers and signals still work.
"""

import asyncio
import signal

import pytest
from helpers import children

HEAD = """
import asyncio, gc, os, signal, socket, sys, threading
from helpers import loops
from helpers.blocked import signal_when_blocked, wait_until_blocked
from helpers.loops import goes_on, new_event_loop, run_once

def everything_works(loop, what="parent"):
    "Watchers, wake-ups from a blocked wait, timers and signals of this process."
    ours, theirs = socket.socketpair()
    got = []
    loop.add_reader(ours, lambda: got.append(ours.recv(1)))
    theirs.send(b"x")
    while not got:
        run_once(loop)
    loop.remove_reader(ours)
    def wake():
        wait_until_blocked(threading.main_thread())
        loop.call_soon_threadsafe(loop.stop)
    thread = threading.Thread(target=wake)
    thread.start()
    loop.run_forever()
    thread.join()
    loop.add_signal_handler(signal.SIGUSR2, loop.stop)
    sender = signal_when_blocked(signal.SIGUSR2)
    loop.run_forever()
    sender.join()
    loop.remove_signal_handler(signal.SIGUSR2)
    goes_on(loop)
    ours.close()
    theirs.close()

async def answer():
    await asyncio.sleep(0.001)
    reader, writer = os.pipe()
    ready = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_reader(reader, ready.set_result, None)
    os.write(writer, b"x")
    await ready
    asyncio.get_running_loop().remove_reader(reader)
    return await asyncio.get_running_loop().run_in_executor(None, int, "42")

def child_of(fork_result, body):
    "Run the body in the child, whatever happens there, and return in the parent how it ended."
    if fork_result:
        return os.waitstatus_to_exitcode(os.waitpid(fork_result, 0)[1])
    code = 99
    try:
        # A child that hangs is a failure, not a stuck run.
        signal.alarm(10)
        code = body() or 0
    except BaseException:
        import traceback
        traceback.print_exc()
        sys.stderr.flush()
        code = 98
    finally:
        os._exit(code)

def fresh():
    assert asyncio._get_running_loop() is None
    assert loops.run(answer()) == 42
"""

# 3.12 and later warn about a fork with threads about; the threads are the point here.
OPTIONS = ("-W", "ignore::DeprecationWarning")


def run(body, loop_name):
    child = children.run_program(HEAD + body, loop_name, options=OPTIONS)
    assert child.quiet, child
    return child.out.splitlines()


@pytest.mark.parametrize("used", [False, True], ids=["never run", "run before"])
def test_a_fresh_loop_in_the_child_of_a_stopped_one(loop_name, used):
    run(
        f"""
loop = new_event_loop()
if {used}:
    everything_works(loop)
assert child_of(os.fork(), fresh) == 0
everything_works(loop)
loop.close()
""",
        loop_name,
    )


def test_a_fresh_loop_in_the_child_of_a_running_one(loop_name):
    run(
        """
loop = new_event_loop()
codes = []
def callback():
    assert asyncio._get_running_loop() is loop
    codes.append(child_of(os.fork(), fresh))
    assert asyncio._get_running_loop() is loop
    loop.stop()
loop.call_soon(callback)
loop.run_forever()
assert codes == [0]
everything_works(loop)
loop.close()
""",
        loop_name,
    )


def test_a_fresh_loop_in_the_child_of_a_task(loop_name):
    run(
        """
async def main():
    codes = [child_of(os.fork(), fresh) for _ in range(3)]
    await asyncio.sleep(0.001)
    return codes
loop = new_event_loop()
assert loop.run_until_complete(main()) == [0, 0, 0]
everything_works(loop)
loop.close()
""",
        loop_name,
    )


def test_watchers_and_timers_of_the_parent_survive_a_busy_child(loop_name):
    run(
        """
loop = new_event_loop()
pairs = [socket.socketpair() for _ in range(20)]
seen = set()
for number, (ours, theirs) in enumerate(pairs):
    loop.add_reader(ours, lambda number=number, ours=ours: seen.add((number, ours.recv(1))))
timer = loop.call_later(0.001, seen.add, "timer")
run_once(loop)
def body():
    for _ in range(5):
        fresh()
assert child_of(os.fork(), body) == 0
for _, theirs in pairs:
    theirs.send(b"x")
while len(seen) < 21:
    run_once(loop)
for ours, _ in pairs:
    assert loop.remove_reader(ours)
everything_works(loop)
loop.close()
""",
        loop_name,
    )


def test_a_fork_on_another_thread_while_the_loop_runs(loop_name):
    run(
        """
loop = new_event_loop()
codes = []
def forker():
    for _ in range(5):
        codes.append(child_of(os.fork(), fresh))
    loop.call_soon_threadsafe(loop.stop)
thread = threading.Thread(target=forker)
loop.call_soon(thread.start)
loop.run_forever()
thread.join()
assert codes == [0] * 5, codes
everything_works(loop)
loop.close()
""",
        loop_name,
    )


def test_multiprocessing_with_fork(loop_name):
    out = run(
        """
import multiprocessing
def work(number):
    return loops.run(double(number))
async def double(number):
    await asyncio.sleep(0.001)
    return number * 2
async def main():
    import concurrent.futures
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        jobs = [asyncio.get_running_loop().run_in_executor(pool, work, number) for number in range(10)]
        return await asyncio.gather(*jobs)
print(loops.run(main()))
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(work, range(5)))
""",
        loop_name,
    )
    assert out == [str([number * 2 for number in range(10)]), str([0, 2, 4, 6, 8])]


# From 3.12 on asyncio clears the wake-up descriptor in a forked child; before, its signals reach the parent's loop.
SIGNALS_STAY_APART = hasattr(asyncio.events, "on_fork")


def test_a_signal_to_the_child_is_not_the_parent_s(loop_name):
    out = run(
        """
loop = new_event_loop()
seen = []
loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
run_once(loop)
def body():
    for _ in range(10):
        signal.raise_signal(signal.SIGUSR1)
    fresh()
assert child_of(os.fork(), body) == 0
for _ in range(3):
    run_once(loop)
print(seen)
signal.raise_signal(signal.SIGUSR1)
while not seen:
    run_once(loop)
loop.remove_signal_handler(signal.SIGUSR1)
everything_works(loop)
loop.close()
""",
        loop_name,
    )
    if loop_name != "asyncio" or SIGNALS_STAY_APART:
        assert out == ["[]"]


def test_a_signal_to_the_parent_while_the_child_lives(loop_name):
    run(
        """
loop = new_event_loop()
read, write = os.pipe()
loop.add_signal_handler(signal.SIGUSR1, loop.stop)
process = os.fork()
if not process:
    os.close(write)
    os.read(read, 1)
    os._exit(0)
for _ in range(3):
    sender = signal_when_blocked(signal.SIGUSR1)
    loop.run_forever()
    sender.join()
os.close(write)
assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
loop.close()
""",
        loop_name,
    )


# The rest is where asyncio's loop in the child does reach into the parent's: both share one epoll set and one pair
# of wake-up sockets. Ours must not.

INHERITED = {
    "closes it": "loop.close()",
    "drops it": "del globals()['loop']; gc.collect()",
    "removes the watchers": "loop.remove_reader(ours); loop.remove_writer(ours)",
    "replaces the watchers": "loop.add_reader(ours, int); loop.add_writer(ours, int)",
    "wakes it": "[loop.call_soon_threadsafe(int) for _ in range(1000)]",
    "closes the watched descriptor": "ours.close()",
    "adds a signal handler": "loop.add_signal_handler(signal.SIGUSR2, int)",
    "removes the signal handler": "loop.remove_signal_handler(signal.SIGUSR1)",
    "runs it and closes it": "goes_on(loop); loop.close()",
    "uses everything": "everything_works(loop); loop.close()",
}


@pytest.mark.parametrize("action", INHERITED)
def test_what_the_child_does_with_the_inherited_loop(oneloop, action):
    run(
        f"""
loop = new_event_loop()
ours, theirs = socket.socketpair()
seen = []
loop.add_reader(ours, lambda: seen.append(ours.recv(1)))
loop.add_signal_handler(signal.SIGUSR1, seen.append, "signal")
run_once(loop)
def body():
    try:
        {INHERITED[action]}
    except RuntimeError as error:
        # An error that says what is wrong is as good an answer as a loop that works.
        assert str(error)
assert child_of(os.fork(), body) == 0
for number in range(3):
    theirs.send(b"x")
    while len(seen) <= number:
        run_once(loop)
assert seen == [b"x"] * 3, seen
signal.raise_signal(signal.SIGUSR1)
while len(seen) < 4:
    run_once(loop)
assert loop.remove_reader(ours)
assert loop.remove_signal_handler(signal.SIGUSR1)
everything_works(loop)
loop.close()
""",
        "oneloop",
    )


@pytest.mark.parametrize(
    "action",
    [
        "transport.abort()",
        "transport.pause_reading(); transport.resume_reading()",
        "transport.write(b'from the child')",
        "transport.write(bytes(1 << 22)); transport.abort()",
        "transport.abort(); goes_on(loop); loop.close()",
        "del transport; loop.close(); gc.collect()",
        "protocol.echo(); goes_on(loop); transport.close(); goes_on(loop)",
    ],
)
def test_what_the_child_does_with_an_inherited_transport(oneloop, action):
    run(
        f"""
import warnings
class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.data = b""
    def data_received(self, data):
        self.data += data
        self.transport.write(data.upper())
    def echo(self):
        theirs.send(b"from the child")
        while not self.data:
            run_once(loop)
        assert theirs.recv(100) == b"FROM THE CHILD"
loop = new_event_loop()
ours, theirs = socket.socketpair()
ours.setblocking(False)
protocol = Echo()
transport = loop._make_socket_transport(ours, protocol)
for _ in range(3):
    run_once(loop)
def body():
    global transport
    warnings.simplefilter("ignore", ResourceWarning)
    {action}
assert child_of(os.fork(), body) == 0
theirs.setblocking(False)
try:
    while theirs.recv(1 << 22):
        pass
except BlockingIOError:
    pass
# The child has closed its own descriptors only, and the parent's loop still watches its own.
theirs.send(b"hello")
answer = b""
while answer != b"HELLO":
    run_once(loop)
    try:
        answer += theirs.recv(100)
    except BlockingIOError:
        pass
everything_works(loop)
transport.close()
run_once(loop)
assert theirs.recv(1) == b""
loop.close()
""",
        "oneloop",
    )


def test_the_child_leaves_as_usual_with_the_loop_open(oneloop):
    """Not by os._exit: everything is finalized there, and whatever that does must not reach the parent."""
    out = run(
        """
loop = new_event_loop()
ours, theirs = socket.socketpair()
loop.add_reader(ours, int)
run_once(loop)
process = os.fork()
if not process:
    print("child", flush=True)
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
loop.remove_reader(ours)
everything_works(loop)
loop.close()
print("parent", flush=True)
""",
        "oneloop",
    )
    assert out == ["child", "parent"]


def test_the_child_goes_on_in_the_inherited_callback(oneloop):
    """The child of a fork inside a callback returns into the inherited run: it ends or goes on, never hangs."""
    run(
        """
loop = new_event_loop()
ours, theirs = socket.socketpair()
seen = []
loop.add_reader(ours, lambda: seen.append(ours.recv(1)))
parent = os.getpid()
def callback():
    global process
    process = os.fork()
    if not process:
        signal.alarm(10)
        # Whatever else is to run here: it comes to an end.
        loop.call_later(0.01, loop.stop)
    else:
        loop.stop()
loop.call_soon(callback)
try:
    loop.run_forever()
except RuntimeError as error:
    assert os.getpid() != parent
    assert str(error)
if os.getpid() != parent:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
theirs.send(b"x")
while not seen:
    run_once(loop)
loop.remove_reader(ours)
everything_works(loop)
loop.close()
""",
        "oneloop",
    )


def test_a_child_of_a_child(oneloop):
    run(
        """
loop = new_event_loop()
everything_works(loop)
def grandchild():
    fresh()
    loop.close()
def body():
    code = child_of(os.fork(), grandchild)
    fresh()
    return code
assert child_of(os.fork(), body) == 0
everything_works(loop)
loop.close()
""",
        "oneloop",
    )
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
