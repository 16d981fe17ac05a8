# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""write() and writelines(): what may be written and when, and that it arrives whole and in order."""

import array
import asyncio
import logging
import os
import socket
import sys
from asyncio import selector_events

import pytest
from helpers import children
from helpers.compare import like_asyncio, logged
from helpers.loops import run_once
from helpers.peers import KINDS, drain
from helpers.scene import scene, until

SEND_BUFFER = 8192
# asyncio's writelines() was write(b"".join(lines)). Its own from 3.12 on forgets to look for the end.
WRITELINES_IS_WRITE = "writelines" not in vars(vars(selector_events)["_SelectorSocketTransport"])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_arrives_in_order(loop_factory, kind):
    pieces = [bytes([number % 256]) * size for number, size in enumerate((1, 0, 70_000, 3, 300_000, 1, 200_000, 17))]
    received = bytearray()
    with scene(loop_factory, kind) as stage:
        for piece in pieces:
            stage.call(stage.transport.write, piece)
        stage.call(stage.transport.writelines, pieces[:4])
        expected = b"".join(pieces + pieces[:4])

        def arrived():
            received.extend(drain(stage.peer))
            return len(received) >= len(expected)

        stage.until(arrived)
        assert received == expected
        assert stage.state() == (0, True, False)
        stage.peer.send(b"answer")
        stage.until(lambda: stage.protocol.data)
        assert ("data", b"answer") in stage.trace


# Kept here, so that a view's owner lives.
CHUNKS = {
    "bytes": b"abcd",
    "bytearray": bytearray(b"abcd"),
    "memoryview": memoryview(b"abcd"),
    "writable memoryview": memoryview(bytearray(b"abcd")),
    "sliced memoryview": memoryview(b"xxabcdxx")[2:6],
    "cast memoryview": memoryview(b"abcd").cast("I"),
    "two dimensions": memoryview(b"abcd").cast("B", (2, 2)),
    "array's memoryview": memoryview(array.array("H", [1, 2, 3])),
    "chars": memoryview(b"abcd").cast("c"),
    "with gaps": memoryview(b"aXbXcXdX")[::2],
    "backwards": memoryview(b"dcba")[::-1],
    "empty bytes": b"",
    "empty bytearray": bytearray(),
    "empty memoryview": memoryview(b""),
    "a subclass": type("Mine", (bytes,), {})(b"abcd"),
    "array": array.array("B", b"abcd"),
    "str": "abcd",
    "None": None,
    "int": 3,
    "list": [97, 98],
    "object": object(),
}


@pytest.mark.parametrize("chunk", CHUNKS)
def test_what_can_be_written(loop_factory, chunk):
    def scenario(factory):
        with scene(factory) as stage:
            result = stage.call(stage.transport.write, CHUNKS[chunk])
            stage.step(2)
            return result, stage.state(), drain(stage.peer), stage.trace, stage.reports

    result, *_ = like_asyncio(scenario, loop_factory)
    if chunk in ("str", "None", "int", "list", "array", "object"):
        name = type(CHUNKS[chunk]).__name__
        wanted = "bytes, bytearray, or memoryview" if sys.version_info >= (3, 14) else "bytes-like"
        assert result == ("TypeError", f"data argument must be a {wanted} object, not '{name}'")


# From some patch release on asyncio keeps the lines before one that is refused, and sends nothing any more.
STUCK: tuple[str, bytes, bytes, list[str]] = ("TypeError", b"", b"", [])


@pytest.mark.parametrize("chunk", [name for name in CHUNKS if "empty" not in name])
def test_what_a_line_may_be(loop_name, loop_factory, chunk):
    def scenario(factory):
        with scene(factory) as stage:
            result = stage.call(stage.transport.writelines, [b"<", CHUNKS[chunk], b">"])
            stage.step()
            seen = drain(stage.peer)
            stage.call(stage.transport.write, b"goes on")
            # The text of a refusal is the interpreter's own and differs from version to version.
            return result and result[0], seen, drain(stage.peer), [report["message"] for report in stage.reports]

    odd = chunk in ("with gaps", "backwards", "cast memoryview", "two dimensions", "array's memoryview")
    if odd and not WRITELINES_IS_WRITE:
        # There asyncio counts the items of a view that the kernel counts in bytes, or refuses it and is lost.
        result, seen, rest, reports = scenario(loop_factory)
        if loop_name == "oneloop":
            assert (result, seen, rest) == (None, b"<" + bytes(CHUNKS[chunk]) + b">", b"goes on")
            assert reports == []
        return
    expected, seen = scenario(asyncio.SelectorEventLoop), scenario(loop_factory)
    if expected == STUCK:
        expected = STUCK if loop_name == "asyncio" else ("TypeError", b"", b"goes on", [])
    assert seen == expected
    assert seen[0] in (None, "TypeError")


@pytest.mark.parametrize(
    "lines",
    [
        list,
        tuple,
        lambda: (line for line in (b"a", b"b")),
        lambda: {b"a": 1, b"b": 2},
        lambda: [b"abc"],
        lambda: None,
        lambda: 3,
        lambda: "ab",
        lambda: [b"a", "b", b"c"],
        lambda: [b"a", None],
        lambda: [bytes([n % 256]) for n in range(5000)],
    ],
)
def test_what_lines_may_be(loop_name, loop_factory, lines):
    def scenario(factory):
        with scene(factory) as stage:
            result = stage.call(stage.transport.writelines, lines())
            stage.step(5)
            return result and result[0], stage.state(), drain(stage.peer)

    expected = scenario(asyncio.SelectorEventLoop)
    seen = scenario(loop_factory)
    if lines() in (None, 3) and expected[0] is None:
        # False values are no lines at all there, whatever they are; to complain about them is as good.
        assert seen in (expected, ("TypeError", *expected[1:]))
    elif loop_name == "oneloop" and expected[0] == "TypeError" and expected[1][0] > 0:
        assert seen == ("TypeError", (0, *expected[1][1:]), b"")  # see STUCK
    else:
        assert seen == expected


def test_empty_lines_are_nothing(oneloop):
    # asyncio keeps them from 3.12 on, and spins.
    with scene(oneloop.new_event_loop) as stage:
        for lines in ([b""], [b"", b"a", b""], [b"", bytearray(), memoryview(b"")]):
            assert stage.call(stage.transport.writelines, lines) is None
        assert stage.size() == 0
        assert drain(stage.peer) == b"a"
        stage.call(stage.transport.close)
        stage.step()
        assert stage.trace == [("made",), ("lost", None)]


def test_a_line_that_raises_half_way_writes_nothing_torn(loop_name, loop_factory):
    def lines():
        yield b"one"
        raise KeyError("two")

    with scene(loop_factory) as stage:
        assert stage.call(lambda: stage.transport.writelines(lines()))[0] == "KeyError"
        is_stuck = loop_name == "asyncio" and stage.size() > 0
        stage.call(stage.transport.write, b"three")
        assert drain(stage.peer) == (b"" if is_stuck else b"three")


def test_a_changed_bytearray_is_sent_as_it_was(oneloop):
    # asyncio may send what it became, and forbids to resize it meanwhile.
    with scene(oneloop.new_event_loop, send_buffer=SEND_BUFFER) as stage:
        data, view, line = bytearray(b"a" * 100_000), memoryview(bytearray(b"b" * 10)), bytearray(b"c" * 10)
        before = bytes(data), bytes(view), bytes(line)

        def write_and_change():
            stage.transport.write(data)
            stage.transport.write(view)
            stage.transport.writelines([line])
            data[:] = b"x"
            view[:] = b"y" * 10
            line.clear()

        assert stage.call(write_and_change) is None
        assert stage.size() > 0
        assert stage.flush() == b"".join(before)


def test_large_items_of_a_view_are_sent_whole(oneloop):
    # asyncio slices by items what the kernel counted in bytes.
    numbers = array.array("Q", range(50_000))
    with scene(oneloop.new_event_loop, send_buffer=SEND_BUFFER) as stage:
        stage.call(stage.transport.write, memoryview(numbers))
        assert stage.size() > 0
        assert stage.flush() == numbers.tobytes()


def test_written_while_the_loop_does_not_run(loop_factory):
    def scenario(factory):
        with scene(factory, send_buffer=SEND_BUFFER) as stage:
            stage.transport.write(b"a")
            stage.transport.writelines([b"b", b"c"])
            # Programs write and leave: it is sent without another run.
            seen = [drain(stage.peer), stage.state()]
            stage.transport.write(bytes(100_000))
            seen.append(stage.state()[1:])
            return seen, len(stage.flush())

    assert like_asyncio(scenario, loop_factory)[0][0] == b"abc"


@pytest.mark.parametrize("leave", [KeyboardInterrupt, SystemExit])
def test_written_before_the_run_is_interrupted(loop, leave):
    with scene(lambda: loop) as stage:

        def callback():
            stage.transport.write(b"last words")
            raise leave

        loop.call_soon(callback)
        with pytest.raises(leave):
            loop.run_forever()
        assert drain(stage.peer) == b"last words"


@pytest.mark.parametrize("how", ["write", "writelines", "two writes"])
def test_written_before_the_process_ends_in_a_later_callback(loop_name, how):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        program = """
            import asyncio, os, sys
            from helpers import loops

            async def main():
                loop = asyncio.get_running_loop()
                transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", int(sys.argv[1]))
                def speak():
                    match sys.argv[2]:
                        case "write":
                            transport.write(b"last words")
                        case "writelines":
                            transport.writelines([b"last ", b"words"])
                        case "two writes":
                            transport.write(b"last ")
                            transport.write(b"words")
                loop.call_soon(speak)
                loop.call_soon(os._exit, 7)
                await loop.create_future()

            loops.run(main())
        """
        finished = children.run_program(program, loop_name, str(listener.getsockname()[1]), how)
        assert (finished.returncode, finished.err) == (7, "")
        end, _ = listener.accept()
        with end:
            assert end.recv(100) == b"last words"


def test_a_write_is_sent_before_the_next_callback_runs(loop_factory):
    with scene(loop_factory) as stage:
        seen = []
        for number in range(5):
            stage.loop.call_soon(stage.transport.write, b"%d" % number)
            stage.loop.call_soon(lambda: seen.append(drain(stage.peer)))
        run_once(stage.loop)
        assert seen == [b"0", b"1", b"2", b"3", b"4"]


def test_a_task_that_waits_for_its_answer_has_sent_its_question(loop_factory):
    with scene(loop_factory) as stage:

        async def main():
            stage.transport.write(b"question")
            stage.transport.write(b"?")
            await asyncio.sleep(0)
            return drain(stage.peer)

        assert stage.loop.run_until_complete(main()) == b"question?"


ENDS = {
    "close": lambda transport: transport.close(),
    "abort": lambda transport: transport.abort(),
    "write_eof": lambda transport: transport.write_eof(),
    "the peer is gone": None,
}


def _end(stage, how):
    if ENDS[how]:
        return stage.call(ENDS[how], stage.transport)
    stage.peer.close()
    stage.step()
    return None


@pytest.mark.parametrize("unsent", [0, 100_000])
@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("how", ENDS)
def test_write_after_the_end(loop_factory, how, late, unsent):
    def scenario(factory):
        with scene(factory, send_buffer=SEND_BUFFER) as stage:
            stage.call(stage.transport.write, bytes(unsent))
            seen = []
            with logged(logging.WARNING) as lines:
                seen.append(_end(stage, how))
                if late:
                    stage.step(2)
                for _ in range(8):
                    seen.append(stage.call(stage.transport.write, b"x"))
                    seen.append((stage.state(), len(lines)))
                seen.append(stage.call(stage.transport.write, "wrong"))
                seen.append(stage.call(stage.transport.write, b""))
                stage.step(2)
            return seen, lines, stage.trace, stage.reports

    seen, lines, *_ = like_asyncio(scenario, loop_factory)
    if how == "write_eof":
        assert seen[1] == ("RuntimeError", "Cannot call write() after write_eof()")
    elif how == "abort" or not unsent:
        # The first few are ignored, since a program cannot always know.
        assert len(lines) == 4
        assert set(lines) == {"WARNING: socket.send() raised exception. [NoneType: None]"}


@pytest.mark.parametrize("how", ENDS)
def test_writelines_after_the_end(loop_factory, how):
    with scene(loop_factory) as stage, logged(logging.WARNING) as lines:
        _end(stage, how)
        stage.step(2)
        results = [stage.call(stage.transport.writelines, [b"a", b"b"]) for _ in range(8)]
        if how == "write_eof":
            name = "write" if WRITELINES_IS_WRITE else "writelines"
            assert results == [("RuntimeError", f"Cannot call {name}() after write_eof()")] * 8
        elif WRITELINES_IS_WRITE:
            assert results == [None] * 8
            assert len(lines) == 4
        stage.step(2)
        assert stage.trace.count(("lost", None)) == (how != "write_eof")


def test_writelines_after_the_end_are_dropped_as_written_bytes_are(oneloop):
    with scene(oneloop.new_event_loop) as stage, logged(logging.WARNING) as lines:
        stage.call(stage.transport.close)
        assert [stage.call(stage.transport.writelines, [b"a", b"b"]) for _ in range(8)] == [None] * 8
        assert len(lines) == 4
        assert stage.trace == [("made",), ("lost", None)]
        assert stage.reports == []


def test_a_broken_pipe_is_an_end_and_not_a_signal(loop_factory):
    def scenario(factory):
        with scene(factory) as stage:
            stage.call(stage.transport.pause_reading)
            stage.peer.close()
            result = stage.call(stage.transport.write, b"x")
            stage.step(2)
            return result, stage.trace, stage.reports, stage.transport.is_closing()

    result, trace, reports, closing = like_asyncio(scenario, loop_factory)
    assert trace == [("made",), ("lost", "BrokenPipeError: [Errno 32] Broken pipe")]
    assert (result, reports, closing) == (None, [], True)


def test_other_threads_only_through_the_loop(loop_factory):
    # A transport's calls belong to the loop's thread; what a thread hands over arrives in its order.
    with scene(loop_factory) as stage:

        async def main():
            def work():
                for number in range(200):
                    stage.loop.call_soon_threadsafe(stage.transport.write, b"%03d" % number)

            await stage.loop.run_in_executor(None, work)

        stage.loop.run_until_complete(main())
        until(stage.loop, lambda: stage.size() == 0)
        assert drain(stage.peer) == b"".join(b"%03d" % number for number in range(200))


def test_more_pieces_than_one_system_call_takes(loop_factory):
    count = os.sysconf("SC_IOV_MAX") * 3 + 5
    lines = [b"%05d" % number for number in range(count)]
    with scene(loop_factory, send_buffer=SEND_BUFFER) as stage:
        stage.call(stage.transport.writelines, lines)
        for line in lines[:2000]:
            stage.transport.write(line)
        assert stage.flush() == b"".join(lines + lines[:2000])
