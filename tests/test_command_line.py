# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""``python -m oneloop``: a program runs as Python itself would run it, except that asyncio makes oneloop's loops.

What "as Python itself" means is not written down: every program is run without ``-m oneloop`` too, and both are
compared.
"""

import functools
import json
import py_compile
import re
import sys
import textwrap
import zipfile

import pytest
from helpers import children

pytestmark = pytest.mark.usefixtures("oneloop")

LOOK = """
import json, pickle, sys
class Local: pass
names = {name: repr(value) if name in ("__name__", "__package__", "__file__", "__cached__") else type(value).__name__
         for name, value in sorted(globals().items()) if name.startswith("__")}
main = sys.modules["__main__"]
assert vars(main) is globals()
assert pickle.loads(pickle.dumps(Local)) is Local
print(json.dumps({"argv": sys.argv, "path": sys.path[:2], "names": names,
                  "spec": __spec__ and [__spec__.name, __spec__.origin]}))
"""

WHICH = """
import asyncio
async def main():
    print(type(asyncio.get_running_loop()).__module__)
asyncio.run(main())
with asyncio.Runner() as runner:
    runner.run(main())
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
"""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def both(arguments, cwd, *, options=()):
    """How Python ends with these arguments, and how it ends with ``-m oneloop`` before them."""
    started = [children.start([*options, *way, *arguments], "oneloop", cwd=cwd) for way in ((), ("-m", "oneloop"))]
    plain, ours = (children.finish(child) for child in started)
    return plain, ours


def check_both(arguments, cwd, *, options=()):
    plain, ours = both(arguments, cwd, options=options)
    assert ours == plain
    return plain


@pytest.fixture
def programs(tmp_path):
    """One program in every form in which Python takes one."""
    write(tmp_path / "script.py", LOOK)
    write(tmp_path / "below" / "script.py", LOOK)
    (tmp_path / "link.py").symlink_to(tmp_path / "below" / "script.py")
    (tmp_path / "no_suffix").write_text(LOOK)
    write(tmp_path / "directory" / "__main__.py", LOOK)
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", LOOK)
    py_compile.compile(str(tmp_path / "script.py"), str(tmp_path / "compiled.pyc"))
    write(tmp_path / "package" / "__init__.py", "")
    write(tmp_path / "package" / "__main__.py", LOOK)
    write(tmp_path / "package" / "module.py", LOOK)
    write(tmp_path / "latin.py", "# -*- coding: latin-1 -*-\nprint(ascii('\u00e4'))\n").write_bytes(
        "# -*- coding: latin-1 -*-\nprint(ascii('\u00e4'))\n".encode("latin-1")
    )
    return tmp_path


@pytest.mark.parametrize("options", [[], ["-P"], ["-I"]], ids=" ".join)
@pytest.mark.parametrize(
    "arguments",
    [
        ["script.py"],
        ["script.py", "one", "-m", "--two", ""],
        ["./below/../below/script.py", "x"],
        ["below/script.py"],
        ["link.py"],
        ["no_suffix"],
        ["directory", "x"],
        ["archive.zip", "x"],
        ["compiled.pyc"],
        ["latin.py"],
        ["-m", "script", "one", "-m", "--two"],
        ["-mscript", "x"],
        ["-m", "package", "x"],
        ["-m", "package.module"],
    ],
    ids=" ".join,
)
def test_it_finds_itself_as_if_python_ran_it(programs, arguments, options):
    if options == ["-I"] and not oneloop_is_installed():
        options = ["-P", "-s"]
    plain, ours = both(arguments, programs, options=options)
    assert (ours.returncode, normal(ours.err)) == (plain.returncode, normal(plain.err))
    assert ours.out == plain.out


@functools.cache
def oneloop_is_installed():
    """An isolated interpreter ignores the environment, and finds oneloop only if it is installed."""
    return children.finish(children.start(["-I", "-c", "import oneloop"], "oneloop")).returncode == 0


def normal(err):
    """The error stream without what names the interpreter's own frames."""
    return [line for line in err.splitlines() if not line.startswith("  ")]


@pytest.mark.parametrize(
    "arguments",
    [["absent.py"], ["-m", "absent"], ["-m", "package.absent"], ["-m", "absent.absent"], ["empty"], ["-m", "empty"]],
    ids=" ".join,
)
def test_what_is_not_there_is_an_error_as_python_s(programs, arguments):
    (programs / "empty").mkdir()
    plain, ours = both(arguments, programs)
    assert ours.returncode == plain.returncode != 0
    assert ours.err.splitlines()[-1] == plain.err.splitlines()[-1]
    assert ours.out == ""


@pytest.mark.parametrize(
    "ending",
    [
        "raise SystemExit",
        "raise SystemExit(3)",
        "raise SystemExit('gone')",
        "1/0",
        "raise KeyboardInterrupt",
        "def broken(:",
        "import atexit, sys; atexit.register(lambda: print(sys.modules['__main__'].atexit))",
        "import threading, time\ndef late(): time.sleep(0.05); print(__name__, __import__('__main__').value)\n"
        "value = 7; threading.Thread(target=late).start()",
        "class Last:\n    def __del__(self): print('finalized', __name__)\nkept = Last()",
    ],
)
@pytest.mark.parametrize("way", [["script.py"], ["-m", "script"]], ids=" ".join)
def test_it_ends_as_if_python_ran_it(tmp_path, way, ending):
    write(tmp_path / "script.py", ending if "broken" in ending else f"print('began', flush=True)\n{ending}")
    plain, ours = both(way, tmp_path)
    assert (ours.returncode, ours.out) == (plain.returncode, plain.out)
    assert ours.err.splitlines()[-1:] == plain.err.splitlines()[-1:]


def test_processes_that_it_spawns_find_its_functions(tmp_path):
    write(
        tmp_path / "script.py",
        """
        import multiprocessing
        def square(number): return number * number
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(square, [2, 3]))
        """,
    )
    assert check_both(["script.py"], tmp_path).out == "[4, 9]\n"


@pytest.mark.parametrize(
    "way", [["which.py"], ["-m", "which"], ["directory"], ["archive.zip"]], ids=lambda way: way[-1]
)
def test_asyncio_makes_oneloop_s_loops(tmp_path, way):
    write(tmp_path / "which.py", WHICH)
    write(tmp_path / "directory" / "__main__.py", WHICH)
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", WHICH)
    child = children.finish(children.start(["-W", "error", "-m", "oneloop", *way], "oneloop", cwd=tmp_path))
    assert child.quiet, child
    assert child.out.split() == ["oneloop._loop"] * 3


def test_asyncio_makes_them_without_policies_too(tmp_path):
    """Python 3.16 has none; here they are hidden from oneloop."""
    program = f"""
        from asyncio import events
        hidden = {{name: vars(events).pop(name, None) for name in ("set_event_loop_policy", "_set_event_loop_policy")}}
        from oneloop import _default
        assert not _default.HAS_POLICIES
        vars(events).update({{name: value for name, value in hidden.items() if value is not None}})
        _default.make_default()
        {textwrap.indent(WHICH, " " * 8)}
    """
    child = children.run_program("\n".join(line[8:] for line in program.splitlines()), "oneloop")
    assert child.quiet, child
    assert child.out.split() == ["oneloop._loop"] * 3


def test_a_script_that_brings_its_own_factory_keeps_it(tmp_path):
    write(
        tmp_path / "own.py",
        """
        import asyncio
        async def main(): print(type(asyncio.get_running_loop()).__module__.split(".")[0])
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main())
        """,
    )
    child = children.finish(children.start(["-m", "oneloop", "own.py"], "oneloop", cwd=tmp_path))
    assert child.quiet, child
    assert child.out == "asyncio\n"


def run(*arguments):
    return children.finish(children.start(["-m", "oneloop", *arguments], "oneloop"))


def test_help_and_version(oneloop):
    shown = run("--help")
    assert shown.quiet
    assert shown.out == run("-h").out
    assert shown.out.startswith("usage: python -m oneloop script.py")
    assert run("--version").out == run("-V").out == f"oneloop {oneloop.__version__}\n"


@pytest.mark.parametrize("arguments", [["-m"], ["--nonsense"], ["-c", "print()"]], ids=" ".join)
def test_a_wrong_option_is_named_with_the_usage(arguments):
    ended = run(*arguments)
    assert (ended.returncode, ended.out) == (2, "")
    first, *usage = ended.err.splitlines()
    assert re.match(r"python -m oneloop: .*-", first)
    assert usage[0].startswith("usage: ")


SHELL = """\
import asyncio, sys
type(asyncio.get_running_loop()).__module__
await asyncio.sleep(0.01, 42)
kept = await asyncio.gather(asyncio.sleep(0, 7), asyncio.sleep(0.01))
kept, sys.argv, __name__
1 / 0
await asyncio.wait_for(asyncio.sleep(9), 0.01)
exit(3)
"""


def shell(module):
    ended = children.finish(children.start(["-m", module], "oneloop", PYTHON_BASIC_REPL="1"), SHELL)
    return ended.returncode, [re.sub(r" at 0x\w+|line \d+", "", text) for text in (ended.out, ended.err)]


def test_without_a_program_it_is_the_interactive_shell_of_asyncio():
    status, (out, err) = shell("asyncio")
    ours_status, (ours_out, ours_err) = shell("oneloop")
    assert (ours_status, ours_err) == (status, err)
    assert "'oneloop" in ours_out
    normal = re.compile(r"'(asyncio\.unix_events|oneloop\._loop)'")
    assert normal.sub("", ours_out) == normal.sub("", out)
    assert [said for said in ("42", "([7, None], ") if said not in out] == []


def test_the_comparison_sees_what_it_should(programs):
    """LOOK tells a script from a module: a comparison of two empty answers would prove nothing."""
    shown = [json.loads(both(way, programs)[1].out) for way in (["script.py", "x"], ["-m", "package.module", "x"])]
    assert [it["argv"][1] for it in shown] == ["x", "x"]
    assert shown[0]["spec"] is None
    assert shown[1]["spec"][0] == "package.module"
    assert sys.version_info >= (3, 11)
