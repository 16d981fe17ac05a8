# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The program everything starts from: print, sleep one second, print; in every Python form that there is.

It prints exactly two lines, takes one second and not less, and the script that says `asyncio.run(greet())` runs
unmodified.
"""

import sys
import time

from helpers import children

SCRIPT = """
import asyncio

async def greet():
    print("Hello...")
    await asyncio.sleep(1)
    print("...Asyncio World!")

if __name__ == "__main__":
    asyncio.run(greet())
"""

# Every other form imports the script and times the run from inside, without the interpreter's start; and it says for
# how much of that time it was ready to run and had no processor, which no loop can help.
TIMED = """
import asyncio, time
from greet import greet
from helpers.loops import new_event_loop
def queued():
    try:
        with open("/proc/self/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except FileNotFoundError:
        return 0.0
{setup}
start, before = time.perf_counter(), queued()
{form}
print(time.perf_counter() - start, queued() - before)
"""

FORMS = {
    "runner": ("", "with asyncio.Runner(loop_factory=new_event_loop) as runner: runner.run(greet())"),
    "run_until_complete": ("loop = new_event_loop()", "loop.run_until_complete(greet()); loop.close()"),
}
if sys.version_info >= (3, 12):
    FORMS["loop_factory"] = ("", "asyncio.run(greet(), loop_factory=new_event_loop)")

OURS = {
    "oneloop.run": ("import oneloop", "oneloop.run(greet())"),
}
if sys.version_info < (3, 14):
    OURS["install"] = ("import oneloop; oneloop.install()", "asyncio.run(greet())")

SCRIPTS = {"script": ["greet.py"], "module": ["-m", "greet"]}


def start_all(directory, loop_name):
    """Start every form at once: they sleep, so that together they take as long as one."""
    (directory / "greet.py").write_text(SCRIPT)
    forms = FORMS if loop_name == "asyncio" else {**FORMS, **OURS}
    argvs = {name: ["-c", TIMED.format(setup=setup, form=form)] for name, (setup, form) in forms.items()}
    prefix = [] if loop_name == "asyncio" else ["-m", "oneloop"]
    argvs |= {name: [*prefix, *argv] for name, argv in SCRIPTS.items()}
    return {name: children.start(argv, loop_name, cwd=directory) for name, argv in argvs.items()}


def test_every_form_prints_two_lines_and_takes_one_second(tmp_path, loop_name):
    began = time.perf_counter()
    ended = {name: children.finish(child) for name, child in start_all(tmp_path, loop_name).items()}
    assert time.perf_counter() - began >= 1
    for name, child in ended.items():
        assert child.quiet, (name, child)
        lines = child.out.splitlines()
        assert lines[:2] == ["Hello...", "...Asyncio World!"], (name, child)
        if name in SCRIPTS:
            assert len(lines) == 2, (name, child)
        else:
            # Never early. Late only as far as a busy machine makes it.
            took, queued = map(float, lines[2].split())
            assert 1.0 <= took < 2.0 + queued, (name, child)


def test_the_script_runs_on_oneloop(tmp_path, oneloop):
    (tmp_path / "which.py").write_text(
        "import asyncio\nasync def main(): print(type(asyncio.get_running_loop()).__module__)\nasyncio.run(main())\n"
    )
    child = children.finish(children.start(["-m", "oneloop", "which.py"], "oneloop", cwd=tmp_path))
    assert child.quiet, child
    assert child.out.split(".")[0].strip() == "oneloop"
