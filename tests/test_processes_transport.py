# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The transport of a child process, and what its protocol is told, in which order."""

import asyncio
import contextvars
import gc
import re
import signal
import subprocess
import warnings

import pytest
from helpers.compare import like_asyncio, logged, raised, reports
from helpers.loops import run_once, steps
from helpers.processes import Diary, children, eventually, look, numbers, soon, state

pytestmark = pytest.mark.usefixtures("no_child_is_left")

PIPE = subprocess.PIPE


@pytest.fixture
def loop(loop):
    yield loop
    # A wait may end before the transport has been told to close.
    if not loop.is_closed():
        steps(loop, 5)


def run(factory, main, **kwargs):
    with asyncio.Runner(loop_factory=factory, **kwargs) as runner:
        return runner.run(main())


async def start(script, **kwargs):
    """A shell with a diary."""
    return await asyncio.get_running_loop().subprocess_exec(Diary, "sh", "-c", script, **kwargs)


def test_a_childs_life_is_told_in_order(loop):
    async def main():
        transport, diary = await start("echo out; echo err >&2; read line; exit 3")
        assert diary.events[0] == ("made",)
        assert diary.transport is transport
        await soon(lambda: diary.output == {1: b"out\n", 2: b"err\n"})
        assert set(diary.events) == {("made",), ("data", 1), ("data", 2)}
        transport.get_pipe_transport(0).close()
        await diary.lost
        last = [("pipe lost", fd, "NoneType") for fd in range(3)] + [("exited", 3)]
        assert sorted(diary.events[3:-1]) == sorted(last)
        assert diary.events[-1] == ("lost", None)
        transport.close()

    loop.run_until_complete(main())


def test_each_pipe_is_told_of_in_order_however_quick_the_child_is(loop):
    async def main():
        for _ in range(20):
            transport, diary = await start("echo out; echo err >&2", stdin=None)
            await diary.lost
            assert diary.events[0] == ("made",)
            assert diary.events[-1] == ("lost", None)
            assert diary.events.count(("exited", 0)) == 1
            for fd in (1, 2):
                data, lost = (diary.events.index(event) for event in (("data", fd), ("pipe lost", fd, "NoneType")))
                assert data < lost
            assert diary.output == {1: b"out\n", 2: b"err\n"}
            transport.close()

    loop.run_until_complete(main())


def test_a_grandchild_that_keeps_the_pipes_does_not_keep_the_exit(loop):
    async def main():
        # The grandchild reads the shell's input, and writes to its output.
        transport, diary = await start("exec 3<&0; cat <&3 & exit 5", stderr=None)
        await diary.exited
        assert diary.events == [("made",), ("exited", 5)]
        assert transport.get_returncode() == 5
        transport.get_pipe_transport(0).write(b"still there")
        await soon(lambda: diary.output[1] == b"still there")
        transport.get_pipe_transport(0).close()
        await diary.lost
        transport.close()

    loop.run_until_complete(main())


def test_waiting_while_a_grandchild_keeps_the_pipes(loop_factory):
    # Up to some patch release of 3.13 this ends only with the pipes.
    def scenario(factory):
        async def main():
            process = await asyncio.create_subprocess_exec(
                "sh", "-c", "read line; exec 3<&0; cat <&3 & exit 5", stdin=PIPE, stdout=PIPE
            )
            waiting = asyncio.ensure_future(process.wait())
            await asyncio.sleep(0)
            process.stdin.write(b"\n")
            await soon(lambda: process.returncode == 5)
            for _ in range(5):
                await asyncio.sleep(0)
            with_the_child = waiting.done()
            process.stdin.close()
            assert await waiting == 5
            assert await process.stdout.read() == b""
            return with_the_child

        return run(factory, main)

    like_asyncio(scenario, loop_factory)


def test_what_happens_before_the_connection_is_told_after_it(oneloop):
    # Where all of it happens before, asyncio's transport never comes to its end.
    class Slow(oneloop.Loop):
        async def connect_read_pipe(self, factory, pipe):
            connected = await super().connect_read_pipe(factory, pipe)
            for _ in range(20):
                await asyncio.sleep(0.001)
            return connected

    async def main():
        transport, diary = await start("echo out; echo err >&2; exit 6", stdin=None)
        await diary.lost
        assert diary.events[0] == ("made",)
        assert diary.events[-1] == ("lost", None)
        assert ("exited", 6) in diary.events
        assert diary.output == {1: b"out\n", 2: b"err\n"}
        transport.close()

    run(Slow, main)


def test_what_the_transport_says_of_itself(loop_factory):
    def scenario(factory):
        async def main():
            seen = []

            def see():
                process = transport.get_extra_info("subprocess")
                pipes = [transport.get_pipe_transport(fd) for fd in range(4)]
                seen.append((look(transport), transport.get_returncode(), transport.is_closing()))
                seen.append([None if pipe is None else look(pipe) for pipe in pipes])
                seen.append((type(process).__name__, process.pid == transport.get_pid(), process.returncode))
                seen.append(transport.get_extra_info("nothing", 7))
                seen.append(transport.get_protocol() is diary)

            transport, diary = await start("read line; exit 2", stderr=None)
            assert isinstance(transport, asyncio.SubprocessTransport)
            see()
            transport.get_pipe_transport(0).close()
            await diary.lost
            await asyncio.sleep(0)
            see()
            transport.close()
            transport.close()
            see()
            return seen

        return run(factory, main)

    # asyncio's pipes say whether the selector watches them.
    like_asyncio(lambda factory: _without_polling(scenario(factory)), loop_factory)


def _without_polling(seen):
    return repr(seen).replace(" polling", "").replace(" idle", "")


@pytest.mark.parametrize("how", ["send_signal", "terminate", "kill"])
def test_signalling_a_child_that_is_over(loop_factory, how):
    arguments = (signal.SIGTERM,) if how == "send_signal" else ()

    def scenario(factory):
        async def main():
            transport, diary = await start("read line", stdout=None, stderr=None)
            transport.get_pipe_transport(0).write(b"\n")
            # It is a zombie, which the loop has not noticed; up to 3.11 a thread of asyncio's may have reaped it.
            eventually(lambda: state(transport.get_pid()) in ("Z", None))
            signal_it = getattr(transport, how)
            early = raised(lambda: signal_it(*arguments))
            await diary.exited
            exited = raised(lambda: signal_it(*arguments))
            await diary.lost
            await asyncio.sleep(0)
            late = raised(lambda: signal_it(*arguments))
            transport.close()
            # asyncio may no longer know how it ended, if signalling has reaped it.
            assert factory is asyncio.SelectorEventLoop or transport.get_returncode() == 0
            return early, exited, late, diary.events[-1]

        return run(factory, main)

    seen = like_asyncio(scenario, loop_factory)
    assert seen[2][0] == "ProcessLookupError"


def test_a_signal_that_does_not_exist_is_an_error(loop_factory):
    def scenario(factory):
        async def main():
            transport, diary = await start("read line", stdout=None, stderr=None)
            errors = [
                raised(lambda number=number: transport.send_signal(number)) for number in (-1, 4711, "TERM", None)
            ]
            transport.kill()
            await diary.lost
            transport.close()
            return errors, transport.get_returncode()

        return run(factory, main)

    like_asyncio(scenario, loop_factory)


def test_closing_kills_the_child_and_tells_the_protocol(loop):
    async def main():
        transport, diary = await start("exec sleep 1000")
        assert not transport.is_closing()
        transport.close()
        assert transport.is_closing()
        assert transport.get_returncode() is None
        assert diary.events == [("made",)]
        transport.close()
        await diary.lost
        assert transport.get_returncode() == -signal.SIGKILL
        assert sorted(diary.events[1:-1]) == [("exited", -9), *(("pipe lost", fd, "NoneType") for fd in range(3))]

    loop.run_until_complete(main())
    assert children() == {}


def test_closing_kills_nobody_who_has_exited(loop, loop_name):
    async def main():
        transport, diary = await start("read line; exit 4", stdout=None, stderr=None)
        process = transport.get_extra_info("subprocess")
        transport.get_pipe_transport(0).write(b"\n")
        # The loop, which stands still, has not noticed.
        eventually(lambda: state(process.pid) in ("Z", None))
        process.kill = lambda: pytest.fail("it has exited")
        transport.close()
        await diary.lost
        # asyncio may not know any more, if closing has reaped the child.
        assert transport.get_returncode() in ([4] if loop_name == "oneloop" else [4, 255])

    loop.run_until_complete(main())


def test_a_transport_that_nobody_closed_warns_and_kills(oneloop):
    # Before 3.14 asyncio's stumbles over the closed loop, and the child lives on.
    loop = oneloop.new_event_loop()

    async def main():
        transport, diary = await start("exec sleep 1000", stdin=None)
        diary.transport = None
        return transport.get_pid(), diary.lost

    pid, lost = loop.run_until_complete(main())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
    # The pipes' transports hold it, and the loop holds theirs, so it lives.
    assert (caught, state(pid) in "RSD") == ([], True)
    loop.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
    assert all(warning.category is ResourceWarning for warning in caught)
    said = sorted(look(warning.message) for warning in caught)
    assert any(text.startswith("unclosed transport <Subprocess pid=N running") for text in said)
    assert lost.done() is False
    eventually(lambda: state(pid) in ("Z", None))
    subprocess.run(["true"], check=True)  # which reaps what nobody has waited for


def test_the_protocol_is_told_when_to_stop_writing(loop):
    async def main():
        transport, diary = await start("read line; cat >/dev/null", stdout=None, stderr=None)
        pipe = transport.get_pipe_transport(0)
        pipe.set_write_buffer_limits(high=1000)
        pipe.write(bytes(1 << 20))
        assert diary.events == [("made",), ("pause",)]
        pipe.write(b"\n")
        await soon(lambda: ("resume",) in diary.events)
        pipe.close()
        await diary.lost
        assert diary.events[1:3] == [("pause",), ("resume",)]
        transport.close()

    loop.run_until_complete(main())


def test_another_protocol_takes_over(loop):
    async def main():
        transport, diary = await start("echo one; read line; echo two", stderr=None)
        await soon(lambda: diary.output[1] == b"one\n")
        other = Diary()
        other.transport = transport
        transport.set_protocol(other)
        assert transport.get_protocol() is other
        transport.get_pipe_transport(0).close()
        await other.lost
        assert other.output[1] == b"two\n"
        assert diary.events == [("made",), ("data", 1)]
        transport.close()

    loop.run_until_complete(main())


def test_what_a_protocol_raises_is_reported_and_the_end_comes_all_the_same(loop_factory):
    class Angry(Diary):
        def _fail(self, *_):
            raise ZeroDivisionError("on purpose")

        pipe_data_received = pipe_connection_lost = process_exited = _fail

        def connection_lost(self, exc):
            super().connection_lost(exc)
            self._fail()

    def scenario(factory):
        async def main():
            loop = asyncio.get_running_loop()
            seen = reports(loop)
            transport, diary = await loop.subprocess_exec(Angry, "sh", "-c", "echo out", stdin=None, stderr=None)
            await diary.lost
            assert await transport._wait() == 0
            assert diary.events == [("made",), ("lost", None)]
            transport.close()
            return sorted(
                (context["message"].partition("(")[0].replace("BaseSub", "Sub"), context["exception"])
                for context in seen
            )

        return run(factory, main)

    assert len(like_asyncio(scenario, loop_factory)) == 4


def test_a_connection_that_is_made_badly_is_reported_too(loop):
    class Angry(Diary):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise ZeroDivisionError("on purpose")

    async def main():
        seen = reports(loop)
        transport, diary = await loop.subprocess_exec(Angry, "true")
        await diary.lost
        assert [context["exception"] for context in seen] == ["ZeroDivisionError('on purpose')"]
        transport.close()

    loop.run_until_complete(main())


def test_everything_is_told_in_the_context_of_the_one_who_started_it(oneloop):
    # As by asyncio where it has pidfds, from 3.12 on.
    loop = oneloop.new_event_loop()
    here = contextvars.ContextVar("here", default="elsewhere")

    class Curious(Diary):
        def __init__(self):
            super().__init__()
            self.where = []

        def _note(self, name, *args):
            self.where.append(here.get())
            getattr(Diary, name)(self, *args)

        def connection_made(self, transport):
            self._note("connection_made", transport)

        def pipe_data_received(self, fd, data):
            self._note("pipe_data_received", fd, data)

        def pipe_connection_lost(self, fd, exc):
            self._note("pipe_connection_lost", fd, exc)

        def process_exited(self):
            self._note("process_exited")

        def connection_lost(self, exc):
            self._note("connection_lost", exc)

    async def start_there():
        here.set("there")
        return await loop.subprocess_exec(Curious, "echo", "x", stdin=None, stderr=None)

    async def main():
        transport, diary = await asyncio.create_task(start_there())
        await diary.lost
        assert diary.where == ["there"] * 5
        transport.close()

    loop.run_until_complete(main())
    loop.close()


def test_debug_mode_tells_of_exits_and_kills(loop_factory):
    def scenario(factory):
        async def main():
            asyncio.get_running_loop().slow_callback_duration = 100
            with logged(level=10) as lines:
                transport, diary = await start("read line; exit 3", stdout=None, stderr=None)
                transport.get_pipe_transport(0).write(b"\n")
                await diary.lost
                transport.close()
                transport, diary = await start("exec sleep 1000", stdin=None, stdout=None, stderr=None)
                transport.close()
                await diary.lost
            words = ("exited with return code", "Close running child process")
            return [re.sub("<.*>", "IT", look(line)) for line in lines if any(word in line for word in words)]

        return run(factory, main, debug=True)

    assert len(like_asyncio(scenario, loop_factory)) == 3


def test_nothing_is_left_of_a_transport(loop):
    async def main():
        before = numbers()
        for _ in range(3):
            transport, diary = await start("echo out; cat >&2")
            transport.get_pipe_transport(0).close()
            await diary.lost
            transport.close()
            await asyncio.sleep(0)
            assert transport._protocol is None
        assert (numbers(), children()) == (before, {})

    run_once(loop)
    loop.run_until_complete(main())
