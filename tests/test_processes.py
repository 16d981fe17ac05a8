# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Child processes through asyncio.subprocess: how they are started, what goes through their pipes, how they end."""

import asyncio
import contextlib
import fcntl
import inspect
import os
import re
import signal
import subprocess
import sys
import threading

import pytest
from helpers.compare import like_asyncio, logged, plain
from helpers.loops import steps
from helpers.processes import children, numbers

pytestmark = pytest.mark.usefixtures("no_child_is_left")

PIPE, STDOUT, DEVNULL = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL


@pytest.fixture
def loop(loop):
    yield loop
    # A wait may end before the transport has been told to close.
    if not loop.is_closed():
        steps(loop, 5)


async def output_of(*args, **kwargs):
    process = await asyncio.create_subprocess_exec(*args, stdout=PIPE, **kwargs)
    out, _ = await process.communicate()
    return out


def shell(script, **kwargs):
    return output_of("sh", "-c", script, **kwargs)


def test_what_is_written_comes_back(loop):
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        process.stdin.write(b"one\n")
        assert await process.stdout.readline() == b"one\n"
        process.stdin.write(b"two\n")
        await process.stdin.drain()
        process.stdin.close()
        assert await process.stdout.read() == b"two\n"
        assert (await process.wait(), process.returncode) == (0, 0)

    loop.run_until_complete(main())


def test_communicating_64_mib_both_ways(loop):
    data = os.urandom(1 << 20) * 64

    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        out, err = await process.communicate(data)
        assert (out == data, err, process.returncode) == (True, None, 0)

    loop.run_until_complete(main())


def test_both_outputs_are_read_at_once(loop):
    # More than a pipe holds, on the one and then on the other.
    script = "head -c 1000000 /dev/zero >&2; head -c 2000000 /dev/zero; head -c 500000 /dev/zero >&2"

    async def main():
        process = await asyncio.create_subprocess_shell(script, stdout=PIPE, stderr=PIPE)
        out, err = await process.communicate()
        assert (len(out), len(err), process.returncode) == (2_000_000, 1_500_000, 0)

    loop.run_until_complete(main())


def test_a_child_that_reads_nothing_holds_the_writer_back(loop):
    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "1000", stdin=PIPE)
        process.stdin.write(bytes(1 << 20))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.stdin.drain(), 0.02)
        process.kill()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await process.stdin.drain()
        assert await process.wait() == -signal.SIGKILL

    loop.run_until_complete(main())


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_the_exit_status_is_the_return_code(loop, code):
    async def main():
        process = await asyncio.create_subprocess_shell(f"exit {code}")
        assert (await process.wait(), process.returncode) == (code, code)

    loop.run_until_complete(main())


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_is_a_negative_return_code(loop, name):
    number = getattr(signal, name)

    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        assert process.returncode is None
        process.send_signal(number)
        assert await process.wait() == -number

    loop.run_until_complete(main())


def test_everybody_who_waits_is_told(loop):
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        waiting = [asyncio.create_task(process.wait()) for _ in range(5)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        process.stdin.close()
        assert await asyncio.gather(*waiting[1:]) == [0] * 4
        assert await process.wait() == 0

    loop.run_until_complete(main())


def test_the_keywords_of_popen(loop, tmp_path):
    async def main():
        assert await shell("pwd", cwd=tmp_path) == f"{tmp_path}\n".encode()
        assert await shell("echo $A$B", env={"A": "a", "B": "b"}) == b"ab\n"
        assert await shell("echo $0", executable="/bin/sh") == b"sh\n"
        assert (await shell("umask", umask=0o123)).strip().endswith(b"123")
        own = os.getsid(0), os.getpgid(0)
        asked = "import os; print(os.getsid(0), os.getpgid(0), os.getpid())"
        session, group, pid = map(int, (await output_of(sys.executable, "-c", asked, start_new_session=True)).split())
        assert session == group == pid
        session, group, pid = map(int, (await output_of(sys.executable, "-c", asked, process_group=0)).split())
        assert (session, group) == (own[0], pid)

        ours, theirs = os.pipe()
        with open(ours, "rb") as reader:
            writes = f"import os; os.write({theirs}, b'through')"
            assert await output_of(sys.executable, "-c", writes, pass_fds=(theirs,)) == b""
            os.close(theirs)
            assert reader.read() == b"through"

        trace = tmp_path / "trace"
        assert await shell("echo x", preexec_fn=lambda: trace.write_text("in the child")) == b"x\n"
        assert trace.read_text() == "in the child"
        assert await shell("echo y", close_fds=False, restore_signals=False) == b"y\n"
        assert await output_of("/bin/echo", tmp_path, b"bytes") == f"{tmp_path} bytes\n".encode()

    loop.run_until_complete(main())


def test_streams_that_are_no_pipes(loop, tmp_path):
    path = tmp_path / "file"

    async def main():
        with open(path, "wb") as file:
            process = await asyncio.create_subprocess_shell("echo one; echo two >&2", stdout=file, stderr=STDOUT)
            assert (process.stdin, process.stdout, process.stderr) == (None, None, None)
            assert await process.communicate() == (None, None)
        assert path.read_bytes() == b"one\ntwo\n"
        with open(path, "rb") as file:
            assert await shell("cat", stdin=file.fileno()) == b"one\ntwo\n"
        assert await shell("cat", stdin=DEVNULL) == b""
        assert await shell("echo x; echo y >&2", stderr=STDOUT) == b"x\ny\n"
        process = await asyncio.create_subprocess_shell("echo lost", stdout=DEVNULL, stderr=PIPE)
        assert await process.communicate() == (None, b"")

    loop.run_until_complete(main())


def test_one_childs_output_is_anothers_input(loop):
    async def main():
        ours, theirs = os.pipe()
        first = await asyncio.create_subprocess_shell("echo through both", stdout=theirs)
        os.close(theirs)
        assert await output_of("tr", "a-z", "A-Z", stdin=ours) == b"THROUGH BOTH\n"
        os.close(ours)
        assert await first.wait() == 0

    loop.run_until_complete(main())


REFUSED = {
    "universal_newlines": {"universal_newlines": True},
    "bufsize": {"bufsize": 1},
    "text": {"text": True},
    "encoding": {"encoding": "utf-8"},
    "errors": {"errors": "strict"},
    "unknown": {"no_such_keyword": 1},
    "cwd": {"cwd": "/nowhere/to/be/found"},
    "preexec_fn": {"preexec_fn": 7},
    "pass_fds": {"pass_fds": (-1,)},
    "stdin": {"stdin": "no file"},
    "process_group and text": {"process_group": 0, "text": True, "bufsize": 2},
}


@pytest.mark.parametrize("how", REFUSED)
@pytest.mark.parametrize("shell", [False, True], ids=["exec", "shell"])
def test_what_is_refused_is_refused_as_by_asyncio(loop_factory, how, shell):
    def scenario(factory):
        async def main():
            loop = asyncio.get_running_loop()
            method = loop.subprocess_shell if shell else loop.subprocess_exec
            before = numbers()
            with pytest.raises(Exception) as caught:  # noqa: PT011, which one is what is compared
                await method(asyncio.SubprocessProtocol, "true", **REFUSED[how])
            assert (numbers(), children()) == (before, {})
            return type(caught.value), plain(caught.value)

        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main())

    like_asyncio(scenario, loop_factory)


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("subprocess_exec", ("/nowhere/to/be/found",)),
        ("subprocess_exec", ("/",)),
        ("subprocess_exec", ("true", 7)),
        ("subprocess_exec", (None,)),
        ("subprocess_exec", ("a\0b",)),
        ("subprocess_exec", ()),
        ("subprocess_shell", (7,)),
        ("subprocess_shell", (("echo", "x"),)),
        ("subprocess_shell", ("a\0b",)),
        ("subprocess_shell", ()),
    ],
)
def test_programs_that_cannot_be_run(loop_factory, method, args):
    def scenario(factory):
        async def main():
            loop = asyncio.get_running_loop()
            before = numbers()
            with pytest.raises(Exception) as caught:  # noqa: PT011, which one is what is compared
                await getattr(loop, method)(asyncio.SubprocessProtocol, *args)
            assert (numbers(), children()) == (before, {})
            # The names of the classes in a TypeError about missing arguments are the loops' own.
            text = plain(caught.value)
            return type(caught.value), text.rpartition(".")[2] if isinstance(caught.value, TypeError) else text

        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main())

    like_asyncio(scenario, loop_factory)


def test_shell_must_be_what_the_method_says(loop):
    async def main():
        with pytest.raises(ValueError, match=r"^shell must be False$"):
            await loop.subprocess_exec(asyncio.SubprocessProtocol, "true", shell=True)
        with pytest.raises(ValueError, match=r"^shell must be True$"):
            await loop.subprocess_shell(asyncio.SubprocessProtocol, "true", shell=False)

    loop.run_until_complete(main())


def test_debug_mode_says_what_is_run_without_its_arguments(loop_factory):
    def scenario(factory):
        async def main():
            loop = asyncio.get_running_loop()
            loop.slow_callback_duration = 100
            for options in ({}, {"stdout": PIPE, "stderr": STDOUT}, {"stdin": DEVNULL, "stdout": 2, "stderr": PIPE}):
                process = await asyncio.create_subprocess_exec("echo", "a secret", **options)
                await process.communicate()
                process = await asyncio.create_subprocess_shell("true # shown", **options)
                await process.communicate()

        with logged(level=10) as lines, asyncio.Runner(loop_factory=factory, debug=True) as runner:
            runner.run(main())
        assert not any("secret" in line for line in lines)
        # How far the child has come by then is a matter of luck; what the pipes say, a matter of theirs.
        kept = (
            line.partition(": <")[0]
            for line in lines
            if re.match("DEBUG: (exec|run|process .* created)|INFO: (exec|run)", line)
        )
        return [re.sub("pid .*", "pid", line) for line in kept]

    assert len(like_asyncio(scenario, loop_factory)) == 18


def test_a_loop_in_another_thread_has_children_too(loop_factory):
    results = []

    async def main(number):
        process = await asyncio.create_subprocess_exec("sh", "-c", f"cat; exit {number}", stdin=PIPE, stdout=PIPE)
        out, _ = await process.communicate(b"%d" % number)
        results.append((out, process.returncode))

    def run(number):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            for _ in range(5):
                runner.run(main(number))

    threads = [threading.Thread(target=run, args=(number,)) for number in (3, 4)]
    for thread in threads:
        thread.start()
    run(5)
    for thread in threads:
        thread.join()
    assert sorted(results) == [(b"%d" % number, number) for number in (3, 4, 5) for _ in range(5)]


@contextlib.contextmanager
def handling_sigchld(handler):
    before = signal.signal(signal.SIGCHLD, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_the_programs_own_handler_of_sigchld_stays(loop):
    seen = []

    async def main():
        for _ in range(3):
            process = await asyncio.create_subprocess_exec("true")
            assert await process.wait() == 0

    def handler(signum, frame):
        seen.append(signum)

    with handling_sigchld(handler):
        loop.run_until_complete(main())
        assert signal.getsignal(signal.SIGCHLD) is handler
    assert len(seen) == 3


def test_nothing_handles_sigchld_while_children_run(loop):
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
        process.stdin.close()
        assert await process.wait() == 0

    loop.run_until_complete(main())
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL


def test_a_loops_own_handler_of_sigchld_is_called(loop):
    seen = []

    async def main():
        loop.add_signal_handler(signal.SIGCHLD, seen.append, "a child")
        process = await asyncio.create_subprocess_exec("true")
        assert await process.wait() == 0
        while not seen:
            await asyncio.sleep(0)
        loop.remove_signal_handler(signal.SIGCHLD)

    loop.run_until_complete(main())
    assert seen == ["a child"]


def test_children_that_others_made_are_left_alone(loop):
    async def main():
        other = subprocess.Popen(["sh", "-c", "exit 4"])
        process = await asyncio.create_subprocess_exec("true")
        assert await process.wait() == 0
        while children()[other.pid] != "Z":
            await asyncio.sleep(0.001)
        assert other.wait() == 4

    loop.run_until_complete(main())


class ToldError(Exception):
    """Instead of a child: what `Popen` was called with."""


def test_every_keyword_reaches_popen(oneloop, monkeypatch):
    """Those that the loop has an opinion about are its own; every other one of the running version's is passed on."""

    def tell(*args, **keywords):
        raise ToldError(args, sorted(keywords.items()))

    names = set(inspect.signature(subprocess.Popen).parameters)
    monkeypatch.setattr(subprocess, "Popen", tell)
    own = {"args", "stdin", "stdout", "stderr", "bufsize", "shell", "text", "universal_newlines", "encoding", "errors"}
    assert own < names
    keywords = {name: f"the value of {name}" for name in names - own}

    def scenario(factory):
        with contextlib.closing(factory()) as loop:
            seen = []
            for call in (loop.subprocess_exec, loop.subprocess_shell):
                starting = call(asyncio.SubprocessProtocol, "program", stdin=None, stdout=DEVNULL, **keywords)
                with pytest.raises(ToldError) as told:
                    loop.run_until_complete(starting)
                seen.append(told.value.args)
            return seen

    for args, passed in like_asyncio(scenario, oneloop.new_event_loop):
        assert args in (("program",), (("program",),))
        assert keywords.items() <= dict(passed).items()


def test_whose_the_child_is(oneloop):
    """As root it may be anybody's; else the system refuses some of it."""
    asked = "import os; print(os.getuid(), os.getgid(), os.getgroups())"
    cases = [{"user": os.getuid(), "group": os.getgid()}, {"user": 65534}, {"group": 65534}, {"extra_groups": [65534]}]

    def scenario(factory):
        async def one(keywords):
            try:
                return await output_of(sys.executable, "-c", asked, **keywords)
            except PermissionError as error:
                return error.errno

        async def main():
            return [await one(keywords) for keywords in cases]

        with contextlib.closing(factory()) as loop:
            return loop.run_until_complete(main())

    first, *_ = like_asyncio(scenario, oneloop.new_event_loop)
    assert first.startswith(f"{os.getuid()} {os.getgid()} ".encode())


def test_how_much_a_pipe_takes(loop):
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, pipesize=16384)
        sizes = [fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) for fd in pipes_of(process)]
        assert await process.communicate(b"x") == (b"x", None)
        return sizes

    def pipes_of(process):
        transports = [process._transport.get_pipe_transport(fd) for fd in (0, 1)]
        return [transport.get_extra_info("pipe").fileno() for transport in transports]

    assert 16384 in loop.run_until_complete(main())
