# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The interpreter's exit with loops about: quiet, with the exit code that was asked for, and with asyncio's warnings.

Each program is a process of its own. What it leaves open is the point. (Daemon threads inside a running loop are in
test_exit_with_daemon_threads.)
"""

import concurrent.futures

import pytest
from helpers import children

HEAD = """
import asyncio, atexit, gc, os, signal, socket, sys, threading, warnings
from helpers import loops
from helpers.loops import goes_on, new_event_loop, run_once
"""


def run(body, loop_name, *options):
    return children.run_program(HEAD + body, loop_name, options=options)


# What is left open when the main module ends. None of it is worth a word without -X dev.
LEFT = {
    "a loop that was never run": "loop = new_event_loop()",
    "a loop that was run": "loop = new_event_loop(); run_once(loop)",
    "a closed loop": "loop = new_event_loop(); run_once(loop); loop.close()",
    "many loops": "every = [new_event_loop() for _ in range(20)]; [run_once(loop) for loop in every]",
    "callbacks and timers": "loop = new_event_loop(); loop.call_soon(print); loop.call_later(5, print, loop)",
    "watchers": "loop = new_event_loop(); pair = socket.socketpair(); loop.add_reader(pair[0], print); run_once(loop)",
    "a signal handler on a closed loop": (
        "loop = new_event_loop(); loop.add_signal_handler(signal.SIGUSR1, print); run_once(loop); loop.close()"
    ),
    "a cycle": "loop = new_event_loop(); loop.me = loop; loop.call_soon(lambda: loop); run_once(loop)",
    "handles": "loop = new_event_loop(); kept = [loop.call_soon(int), loop.call_later(5, int)]; del loop",
    "futures": "loop = new_event_loop(); kept = [loop.create_future() for _ in range(9)]; kept[0].cancel()",
    "a loop in a builtin module": "import builtins; builtins.loop = new_event_loop(); run_once(builtins.loop)",
    "a loop in sys.modules": "sys.modules['a loop'] = new_event_loop(); run_once(sys.modules['a loop'])",
    "an executor": "loop = new_event_loop(); loop.run_until_complete(loop.run_in_executor(None, int)); run_once(loop)",
    "a thread that still calls": (
        "loop = new_event_loop()\n"
        "def call():\n"
        "    while True: loop.call_soon_threadsafe(int)\n"
        "threading.Thread(target=call, daemon=True).start()\n"
        "run_once(loop)"
    ),
    "an exit handler that uses it": "loop = new_event_loop(); atexit.register(goes_on, loop)",
    "a finalizer that uses it": (
        "class Last:\n"
        "    def __del__(self):\n"
        "        self.loop.call_soon(int); self.loop.close(); self.loop.is_closed(); repr(self.loop)\n"
        "last = Last(); last.loop = new_event_loop()"
    ),
}


@pytest.mark.parametrize("left", LEFT)
def test_what_is_left_open_is_finalized_in_silence(loop_name, left):
    child = run(LEFT[left] + "\nprint('end')", loop_name)
    assert child.quiet, child
    assert child.out == "end\n"


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_dev_mode_warns_about_a_loop_that_was_left_open(loop_name, closed):
    child = run(f"loop = new_event_loop()\nrun_once(loop)\nif {closed}: loop.close()", loop_name, "-X", "dev")
    assert child.returncode == 0, child
    assert ("ResourceWarning: unclosed event loop" in child.err) != closed, child


@pytest.mark.parametrize("work", ["", "loop.call_later(50, print, loop)"], ids=["idle", "with work"])
def test_the_current_loop_is_left_without_a_word(loop_name, work):
    """The policy keeps it until modules are cleared: too late for a word of asyncio's. The shell leaves it so."""
    program = f"loop = new_event_loop(); asyncio.set_event_loop(loop); run_once(loop)\n{work}"
    child = run(program, loop_name, "-X", "dev", "-W", "error")
    assert child.quiet, child


def test_a_signal_handler_that_is_left_is_a_warning(loop_name):
    child = run(
        """
loop = new_event_loop()
loop.add_signal_handler(signal.SIGUSR1, print)
sys.modules["kept"] = loop
loop.me = loop
""",
        loop_name,
        "-W",
        "always",
    )
    assert child.returncode == 0, child
    assert "Traceback" not in child.err, child


def test_a_pending_task_is_reported_when_it_is_dropped(loop_name):
    child = run(
        """
async def forever():
    await asyncio.get_running_loop().create_future()
loop = new_event_loop()
task = loop.create_task(forever(), name="forever")
run_once(loop)
loop.close()
del task
gc.collect()
""",
        loop_name,
    )
    assert child.returncode == 0, child
    assert child.err.startswith("Task was destroyed but it is pending!\ntask: <Task pending name='forever'"), child


ENDINGS = {
    "sys.exit in a callback": ("loop.call_soon(sys.exit, 7); loop.run_forever()", 7),
    "sys.exit in a task": ("async def main(): sys.exit(7)\nloop.run_until_complete(main())", 7),
    "sys.exit under the runner": ("async def main(): sys.exit(7)\nloops.run(main())", 7),
    "os._exit in a callback": ("loop.call_soon(os._exit, 7); loop.run_forever()", 7),
    "an error in the main task": ("async def main(): raise ValueError('x')\nloops.run(main())", 1),
    "an error after the loop": ("run_once(loop)\nraise ValueError('x')", 1),
    "SystemExit with a message": ("async def main(): sys.exit('a message')\nloops.run(main())", 1),
    "in a thread": (
        "thread = threading.Thread(target=loop.run_forever); thread.start()\n"
        "loop.call_soon_threadsafe(loop.stop); thread.join(); sys.exit(7)",
        7,
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_exit_code_is_the_program_s(loop_name, ending):
    body, code = ENDINGS[ending]
    child = run("loop = new_event_loop()\n" + body, loop_name)
    assert child.returncode == code, child
    assert "Fatal" not in child.err
    if code == 7:
        assert child.err == "", child
    if "message" in ending:
        assert child.err == "a message\n"


def test_the_exit_waits_for_the_default_executor_s_jobs(loop_name):
    child = run(
        """
release = threading.Event()
loop = new_event_loop()
def job():
    release.wait()
    print("done", flush=True)
loop.run_in_executor(None, job)
run_once(loop)
loop.close()
release.set()
""",
        loop_name,
    )
    assert child.quiet, child
    assert child.out == "done\n"


def test_a_thread_that_is_no_daemon_finishes_its_run(loop_name):
    child = run(
        """
def target():
    async def main():
        started.set()
        await asyncio.sleep(0.05)
        print("finished", flush=True)
    loops.run(main())
started = threading.Event()
threading.Thread(target=target).start()
started.wait()
""",
        loop_name,
    )
    assert child.quiet, child
    assert child.out == "finished\n"


def test_many_short_processes_with_work_in_flight(loop_name):
    """Idle in the wait, busy in callbacks and with threads that call: none of them is aborted, and none says a word."""
    program = """
loop = new_event_loop()
pair = socket.socketpair()
loop.add_reader(pair[0], lambda: pair[0].recv(100))
def busy():
    loop.call_soon(busy)
    loop.call_later(0.0001, int)
def call():
    while True:
        loop.call_soon_threadsafe(int)
        pair[1].send(b"x")
pair[1].setblocking(True)
loop.call_soon(busy)
for _ in range(2):
    threading.Thread(target=call, daemon=True).start()
loop.call_later(0.005, loop.stop)
loop.run_forever()
"""
    count = 24 if loop_name == "oneloop" else 6
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda _: run(program, loop_name), range(count)))
    assert [child for child in ended if not child.quiet] == []
