# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""`python -m oneloop` without a program is `python -m asyncio` of the running version, on oneloop: banner, await at the
top level, errors, every way to leave with work in flight, the interpreter's flags; at a terminal Ctrl-C and history.

Each is done to asyncio's shell as well, and both are compared.
"""

import os
import re
import select
import subprocess
import sys
import time

import pytest
from helpers import children
from helpers.blocked import wait_until_process_blocked

pytestmark = pytest.mark.usefixtures("oneloop")

DEV = ("-X", "dev", "-W", "error")

TYPED = """\
import sys, contextvars
await asyncio.sleep(0, 42)
1 / 0
await asyncio.wait_for(asyncio.sleep(9), 0.01)
async def fail():
    raise ValueError("failed")

await fail()
sys.argv, __name__, sorted(name for name in globals() if name.startswith("__"))
var = contextvars.ContextVar("var", default=0)
async def change():
    var.set(1)

await change()
var.get()
"""
WORK = """\
kept = asyncio.create_task(asyncio.sleep(100))
later = asyncio.get_running_loop().call_later(50, print)
"""
ENDS = {
    "the end of input": "",
    "exit": "exit()\n",
    "exit with a status": "exit(3)\n",
    "SystemExit": "raise SystemExit(4)\n",
    "SystemExit in a coroutine": "async def leave(): raise SystemExit(5)\n\nawait leave()\n",
    "after an await": "await asyncio.sleep(0); exit(6)\n",
    "after KeyboardInterrupt": "raise KeyboardInterrupt\n",
    "a message": "raise SystemExit('gone')\n",
}


def normal(text):
    """Without addresses, and without what says where in asyncio's own waiting an error was met."""
    lines = re.sub(r"0x\w+|, line \d+", "", text).splitlines()
    return [line.rstrip() for line in lines if not re.fullmatch(r"[ ^~]*[\^~][ ^~]*", line)]


def both(typed, *options, what_is_left_may_be_said=False, **environment):
    environment = {"PYTHON_BASIC_REPL": "1", **environment}
    started = [children.start([*options, "-m", module], "oneloop", **environment) for module in ("asyncio", "oneloop")]
    expected, ours = (children.finish(child, typed) for child in started)
    assert (ours.returncode, normal(ours.out)) == (expected.returncode, normal(expected.out))
    if what_is_left_may_be_said:
        assert normal(ours.err)[:4] == normal(expected.err)[:4]
    else:
        assert normal(ours.err) == normal(expected.err)
    return ours


@pytest.mark.parametrize("options", [(), DEV], ids=["plain", "dev"])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("work", ["", WORK], ids=["idle", "with work"])
def test_ways_to_leave(work, end, options):
    # Whether a pending task is still told of depends on what the interpreter clears first.
    ended = both("await asyncio.sleep(0, 42)\n" + work + ENDS[end], *options, what_is_left_may_be_said=bool(work))
    assert "42" in ended.out
    assert "unclosed" not in ended.err


def test_what_is_typed(tmp_path):
    ended = both(TYPED)
    assert "ZeroDivisionError" in ended.err
    assert "TimeoutError" in ended.err
    assert ended.err.startswith("asyncio REPL ")


def test_it_is_oneloop_s_loop():
    child = children.start(["-m", "oneloop"], "oneloop", PYTHON_BASIC_REPL="1")
    assert "'oneloop._loop'" in children.finish(child, "type(asyncio.get_running_loop()).__module__\n").out


@pytest.mark.parametrize("options", [("-q",), ("-P",), ("-s",), ("-E",), ("-u",)], ids=" ".join)
def test_the_interpreter_s_flags(options):
    both("import sys\nsys.flags\nawait asyncio.sleep(0, 42)\n", *options)


@pytest.mark.parametrize("options", [(), ("-E",)], ids=["as it is", "-E"])
@pytest.mark.parametrize("startup", ["started = 'by the file'", "import sys; sys.exit(9)"])
def test_the_startup_file(tmp_path, startup, options):
    path = tmp_path / "startup.py"
    path.write_text(startup)
    both("started\nawait asyncio.sleep(0, 42)\n", *options, PYTHONSTARTUP=str(path))


# At a terminal.

CONTROLLED = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever started the tests may ignore it
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class Terminal:
    """A shell at a terminal of its own."""

    def __init__(self, module, *, basic):
        self.ours, theirs = os.openpty()
        environment = children.environment("oneloop", TERM="xterm", PYTHON_HISTORY="/dev/null", NO_COLOR="1")
        environment.pop("PYTHON_BASIC_REPL", None)
        if basic:
            environment["PYTHON_BASIC_REPL"] = "1"
        self.child = subprocess.Popen(
            [sys.executable, "-c", CONTROLLED, "-m", module],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=environment,
        )  # fmt: skip
        os.close(theirs)
        self.seen = ""

    def read(self, seconds):
        if select.select([self.ours], [], [], seconds)[0]:
            try:
                piece = os.read(self.ours, 65536).decode(errors="replace")
            except OSError:  # nobody has the other end open any more
                return False
            self.seen += re.sub(r"\x1b(\[[0-9;?]*[@-~]|[=>]|[()].)", "", piece)
        return True

    def expect(self, text, limit=20):
        """Wait for a text after what was waited for last."""
        deadline = time.monotonic() + limit
        while text not in self.seen:
            assert time.monotonic() < deadline, (text, self.seen)
            assert self.read(0.1), (text, self.seen)
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, text):
        os.write(self.ours, text.encode())

    def wait_until_idle(self, limit=20):
        """Before the shell's loop waits, asyncio's shell as well may miss a Ctrl-C."""
        wait_until_process_blocked(self.child.pid, limit)

    def leave(self):
        self.type("exit(7)\r")
        while self.read(20) and self.child.poll() is None:
            pass
        status = self.child.wait(20)
        os.close(self.ours)
        return status


@pytest.fixture(params=[True, False], ids=["basic", "as it comes"])
def terminals(request):
    """asyncio's shell and ours, each ready for a line."""
    made = [Terminal(module, basic=request.param) for module in ("asyncio", "oneloop")]
    for terminal in made:
        terminal.expect("import asyncio")
        terminal.expect(">>> ")
    yield made
    for terminal in made:
        if terminal.child.poll() is None:
            terminal.child.kill()
            terminal.child.wait()


def test_ctrl_c_ends_what_is_awaited_and_not_the_shell(terminals):
    for terminal in terminals:
        terminal.type("print('be' + 'gun'); await asyncio.sleep(100)\r")
        terminal.expect("begun")
        terminal.wait_until_idle()
        terminal.type("\x03")
        terminal.expect("KeyboardInterrupt")
        terminal.expect(">>> ")
        terminal.type("await asyncio.sleep(0, 40 + 2)\r")
        terminal.expect("42")
        terminal.expect(">>> ")
    assert [terminal.leave() for terminal in terminals] == [7, 7]


@pytest.mark.parametrize("terminals", [True], ids=["basic"], indirect=True)
def test_history(terminals):
    """Arrow up is the line before, where asyncio's shell has a history."""
    seen = []
    for terminal in terminals:
        terminal.type("40 + 2\r")
        terminal.expect("42")
        terminal.expect(">>> ")
        terminal.type("\x1b[A\r")
        terminal.type("'the' + ' end'\r")
        seen.append("42" in terminal.expect("the end"))
    statuses = [terminal.leave() for terminal in terminals]
    assert seen[0] == seen[1]
    assert statuses[0] == statuses[1]
