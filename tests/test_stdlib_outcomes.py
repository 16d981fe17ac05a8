# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What asyncio's own tests show by looking inside its loop, shown from outside, on asyncio's loop and on oneloop.

Each test here stands beside the excluded tests that name it in `exclusions.toml`: those read the selector, the ready
queue or the heap of asyncio's loop, or call one iteration of it; these observe the same outcome through public calls.
The fixtures that run a test on both loops are those of `tests/conftest.py`.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import gc
import os
import re
import resource
import signal
import socket
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Factory = Callable[[], asyncio.AbstractEventLoop]


def iterate(loop: asyncio.AbstractEventLoop) -> None:
    """Exactly one iteration: what is ready now runs, what that schedules does not."""
    loop.stop()
    loop.run_forever()


def test_loop_overrides_every_public_method(loop: asyncio.AbstractEventLoop) -> None:
    """BaseEventLoop leaves hooks to its subclasses; the abstract class that users know has none left open in ours."""
    for name, method in vars(asyncio.AbstractEventLoop).items():
        if callable(method) and not name.startswith("_"):
            assert getattr(type(loop), name) is not method, name


def test_handle_runs_once_in_next_iteration(loop: asyncio.AbstractEventLoop) -> None:
    calls: list[str] = []
    handle = loop.call_soon(calls.append, "ran")
    assert isinstance(handle, asyncio.Handle)
    assert calls == []
    iterate(loop)
    iterate(loop)
    assert calls == ["ran"]


def test_cancelled_handle_does_not_run(loop: asyncio.AbstractEventLoop) -> None:
    calls: list[str] = []
    handle = loop.call_soon(calls.append, "cancelled")
    loop.call_soon(calls.append, "kept")
    handle.cancel()
    iterate(loop)
    assert calls == ["kept"]


def test_timer_waits_for_its_time(loop: asyncio.AbstractEventLoop) -> None:
    calls: list[str] = []
    handle = loop.call_later(10.0, calls.append, "timer")
    assert isinstance(handle, asyncio.TimerHandle)
    iterate(loop)
    assert calls == []
    assert not handle.cancelled()
    assert 9.0 < handle.when() - loop.time() <= 10.0
    with pytest.raises(TypeError):
        loop.call_later(None, calls.append)  # type: ignore[arg-type]


def test_wait_ends_at_first_timer_that_is_not_cancelled(loop: asyncio.AbstractEventLoop) -> None:
    """A cancelled timer at the head neither wakes the loop early nor keeps it from waiting for the next one."""
    cancelled = loop.call_later(0.001, loop.stop)
    loop.call_later(0.05, loop.stop)
    cancelled.cancel()
    started = time.monotonic()
    loop.run_forever()
    assert 0.045 <= time.monotonic() - started < 5


def test_what_a_timer_schedules_runs_in_the_iteration_after(loop: asyncio.AbstractEventLoop) -> None:
    calls: list[str] = []

    def timer() -> None:
        calls.append("timer")
        loop.call_soon(calls.append, "scheduled")

    loop.call_at(loop.time() - 1, timer)
    iterate(loop)
    assert calls == ["timer"]
    iterate(loop)
    assert calls == ["timer", "scheduled"]


def test_cancelled_timers_are_forgotten(loop: asyncio.AbstractEventLoop) -> None:
    """Most timers are cancelled long before their time; their callbacks must not live on until then."""

    class Payload:
        pass

    references = []
    kept = [loop.call_later(3000, id, None) for _ in range(10)]
    for _ in range(1000):
        payload = Payload()
        references.append(weakref.ref(payload))
        loop.call_later(3600, id, payload).cancel()
    del payload
    iterate(loop)
    iterate(loop)
    gc.collect()
    assert sum(reference() is not None for reference in references) == 0
    assert not any(handle.cancelled() for handle in kept)


def raise_zero_division() -> None:
    raise ZeroDivisionError


def test_exception_handler_gets_the_context(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[Any] = []
    loop.set_debug(True)
    loop.set_exception_handler(lambda *args: seen.append(args))
    handle: Any = loop.call_soon(raise_zero_division)
    iterate(loop)
    [(given_loop, context)] = seen
    assert given_loop is loop
    assert isinstance(context.pop("exception"), ZeroDivisionError)
    assert "Exception in callback" in context["message"]
    assert "raise_zero_division" in context.pop("message")
    assert context == {"handle": handle, "source_traceback": handle._source_traceback}


def test_default_handler_logs_after_custom_handler_is_removed(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []
    loop.set_exception_handler(lambda *args: seen.append(args))
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None
    loop.call_soon(raise_zero_division)
    iterate(loop)
    assert seen == []
    [record] = caplog.records
    assert (record.name, record.levelname) == ("asyncio", "ERROR")
    assert "Exception in callback raise_zero_division" in record.getMessage()
    assert record.exc_info
    assert record.exc_info[0] is ZeroDivisionError


def test_broken_exception_handler_is_logged(loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture) -> None:
    def handler(loop: object, context: object) -> None:
        raise AttributeError("spam")

    loop.set_exception_handler(handler)
    loop.call_soon(raise_zero_division)
    iterate(loop)
    [record] = caplog.records
    assert "Unhandled error in exception handler" in record.getMessage()
    assert record.exc_info
    assert record.exc_info[0] is AttributeError


def test_broken_default_handler_is_logged(
    loop_class: type[asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture
) -> None:
    """A subclass's own default handler fails; then so does a custom handler before it, and the context tells why."""
    contexts: list[dict[str, Any]] = []

    def default_exception_handler(self: object, context: dict[str, Any]) -> None:
        contexts.append(context)
        raise ValueError("spam")

    derived = type("Derived", (loop_class,), {"default_exception_handler": default_exception_handler})
    loop = derived()
    try:
        loop.call_soon(raise_zero_division)
        iterate(loop)
        assert caplog.records.pop().getMessage() == "Exception in default exception handler"

        def custom(loop: object, context: object) -> None:
            raise ValueError("ham")

        loop.set_exception_handler(custom)
        loop.call_soon(raise_zero_division)
        iterate(loop)
        message = caplog.records.pop().getMessage()
        assert message.startswith("Exception in default exception handler while handling")
        assert "in custom" in message
        assert isinstance(contexts[-1]["context"]["exception"], ZeroDivisionError)
    finally:
        loop.close()


def test_reader_runs_once_per_stopped_run(loop: asyncio.AbstractEventLoop) -> None:
    """A run that is stopped delivers each event once, and leaves nothing behind that would deliver it again."""
    calls: list[int] = []
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.send(b"x")
        for run in (1, 2):
            loop.add_reader(reader, lambda: calls.append(1))
            loop.call_soon(loop.stop)
            loop.run_forever()
            assert len(calls) == run
            loop.remove_reader(reader)


def test_stop_before_run_makes_one_iteration_without_waiting(loop: asyncio.AbstractEventLoop) -> None:
    calls: list[str] = []
    loop.call_later(30, calls.append, "timer")
    loop.call_soon(loop.call_soon, calls.append, "second")
    started = time.monotonic()
    iterate(loop)
    assert time.monotonic() - started < 5
    assert calls == []


def test_loop_is_set_up_and_cleaned_up_around_a_run(loop: asyncio.AbstractEventLoop) -> None:
    """During a run the loop is the thread's running loop and owns the async generator hooks; afterwards nothing is."""
    hooks = sys.get_asyncgen_hooks()
    seen: list[Any] = []

    def look() -> None:
        seen.extend((asyncio.get_running_loop(), loop.is_running(), sys.get_asyncgen_hooks().firstiter is not None))

    loop.call_soon(look)
    iterate(loop)
    assert seen == [loop, True, True]
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert not loop.is_running()
    assert sys.get_asyncgen_hooks() == hooks


def test_destroyed_pending_task_is_reported(loop: asyncio.AbstractEventLoop) -> None:
    """A task whose future nobody else holds is collected while pending; the loop's handler hears of it."""
    seen: list[Any] = []

    async def wait_for_ever() -> None:
        await loop.create_future()

    # The task itself, which the context holds too, must not live on: a resurrected one is listed again on 3.14.
    loop.set_debug(True)
    loop.set_exception_handler(lambda _, context: seen.append((context["message"], context["source_traceback"])))
    task: Any = loop.create_task(wait_for_ever())
    assert asyncio.all_tasks(loop) == {task}
    iterate(loop)
    traceback = task._source_traceback
    del task
    gc.collect()
    assert seen == [("Task was destroyed but it is pending!", traceback)]
    assert asyncio.all_tasks(loop) == set()


def test_closed_loop_holds_no_descriptor(loop_factory: Factory) -> None:
    """What the self-pipe tests count inside: every descriptor of a loop is gone once it is closed."""
    counts = []
    for _ in range(3):  # the first run may open what belongs to the process and stays
        loop = loop_factory()
        loop.run_until_complete(asyncio.sleep(0))
        running = len(os.listdir("/proc/self/fd"))
        loop.close()
        counts.append((running, len(os.listdir("/proc/self/fd"))))
    assert counts[1] == counts[2]
    assert counts[2][0] > counts[2][1]


def test_short_sleeps_do_not_spin(loop: asyncio.AbstractEventLoop) -> None:
    """The loop waits for a timer in the kernel, and one that is shorter than the clock's resolution still ends."""

    async def sleep() -> None:
        for delay in (1e-1, 1e-4, 1e-6, 1e-8, 1e-10):
            await asyncio.sleep(delay)

    started = time.thread_time()
    loop.run_until_complete(sleep())
    assert time.thread_time() - started < 0.05, "more than half of the wait was spent running"


def test_accepting_goes_on_after_descriptors_ran_out(loop: asyncio.AbstractEventLoop) -> None:
    """The server says so once it cannot accept, leaves the socket alone for a second, and then serves who waited."""
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))

    async def scenario() -> bytes:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        client = socket.create_connection(server.sockets[0].getsockname())
        lowest_free = os.dup(0)
        os.close(lowest_free)
        # Not zero: poll(2) takes no more descriptors than the limit.
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
        while not told:
            await asyncio.sleep(0.001)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        with client:
            closed = await asyncio.to_thread(client.recv, 1)
        server.close()
        await server.wait_closed()
        return closed

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert loop.run_until_complete(scenario()) == b""
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)  # also if the loop itself fails in the middle
    assert {context["message"] for context in told} == {"socket.accept() out of system resource"}
    assert {context["exception"].errno for context in told} == {errno.EMFILE}
    assert {type(context["socket"]).__name__ for context in told} == {"TransportSocket"}


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_connection_that_times_out_closes_its_socket(loop: Any) -> None:
    """TimeoutError is an OSError, so create_connection() takes it for the failure of that address."""

    async def silent(*_: object) -> None:
        raise TimeoutError

    loop.run_until_complete(asyncio.sleep(0))
    loop.sock_connect = silent
    before = descriptors()
    with pytest.raises(TimeoutError):
        loop.run_until_complete(loop.create_connection(asyncio.Protocol, "127.0.0.1", 80))
    assert descriptors() == before


def test_every_failure_of_several_local_addresses_is_told(loop: Any) -> None:
    """An address that cannot be bound to is a failure beside that of connecting from the next one."""
    somebody_elses, any_address = "192.0.2.1", "127.0.0.1"

    async def getaddrinfo(host: str | None, *_: object, **__: object) -> list[Any]:
        addresses = ["127.0.0.1"] if host else [somebody_elses, any_address]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    loop.run_until_complete(asyncio.sleep(0))
    loop.getaddrinfo = getaddrinfo
    before = descriptors()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match=r"^Multiple exceptions: .*192\.0\.2\.1.*, .*127\.0\.0\.1"):
            loop.run_until_complete(loop.create_connection(asyncio.Protocol, "a.name", 80, local_addr=(None, 0)))
    assert descriptors() == before


def test_a_server_that_cannot_bind_leaves_no_socket(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(asyncio.sleep(0))
    before = descriptors()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
            loop.run_until_complete(loop.create_server(asyncio.Protocol, *taken.getsockname()))
    assert caught.value.errno == errno.EADDRINUSE
    assert descriptors() == before


@pytest.mark.parametrize("value", [None, -1], ids=["no constant", "no option"])
def test_reuse_port_where_it_does_not_exist(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, value: int | None
) -> None:
    if value is None:
        monkeypatch.delattr(socket, "SO_REUSEPORT")
    else:
        monkeypatch.setattr(socket, "SO_REUSEPORT", value)
    with pytest.raises(ValueError, match=r"^reuse_port not supported by socket module"):
        loop.run_until_complete(loop.create_server(asyncio.Protocol, "127.0.0.1", 0, reuse_port=True))
    gc.collect()


def test_a_host_that_is_named_twice_is_bound_once(loop: asyncio.AbstractEventLoop) -> None:
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.1"]
    server = loop.run_until_complete(loop.create_server(asyncio.Protocol, hosts, 0))
    assert sorted(sock.getsockname()[0] for sock in server.sockets) == ["127.0.0.1", "127.0.0.2"]
    server.close()
    loop.run_until_complete(server.wait_closed())


def test_every_socket_that_cannot_be_opened_is_told(loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each address has its own failure, in the order of the addresses; a replaced ``socket.socket`` is the one used."""
    failures = iter([OSError("the first"), OSError("the second")])

    async def getaddrinfo(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (1, 2)]

    def no_socket(*_: object, **__: object) -> socket.socket:
        raise next(failures)

    loop.getaddrinfo = getaddrinfo
    monkeypatch.setattr(socket, "socket", no_socket)
    with pytest.raises(OSError, match=r"^Multiple exceptions: the first, the second$"):
        loop.run_until_complete(loop.create_connection(asyncio.Protocol, "a.name", 80))


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_a_literal_is_not_looked_up(loop: Any, host: str, family: socket.AddressFamily) -> None:
    async def getaddrinfo(*_: object, **__: object) -> list[Any]:
        raise AssertionError("asked")

    loop.getaddrinfo = getaddrinfo
    with socket.create_server((host, 0), family=family) as listener:
        address = listener.getsockname()
        connecting = loop.create_connection(asyncio.Protocol, host, address[1])
        transport, _ = loop.run_until_complete(connecting)
        assert transport.get_extra_info("peername") == address
        transport.close()
        loop.run_until_complete(asyncio.sleep(0))


class Seen(socket.socket):
    """A socket that says where it is to be connected to, and is not."""

    def connect(self, address: Any) -> None:
        raise OSError(0, repr(address))


@pytest.mark.parametrize(
    ("address", "seen"),
    [
        (("127.0.0.1", "http"), ("127.0.0.1", 80)),
        (("127.0.0.1", b"http"), ("127.0.0.1", 80)),
        (("fe80::1%1", 80), ("fe80::1", 80, 0, 1)),
    ],
)
def test_services_and_zones_are_looked_up(loop: asyncio.AbstractEventLoop, address: Any, seen: Any) -> None:
    with Seen(socket.AF_INET if len(seen) == 2 else socket.AF_INET6) as sock:
        sock.setblocking(False)
        with pytest.raises(OSError, match=re.escape(repr(seen))):
            loop.run_until_complete(loop.sock_connect(sock, address))
        with pytest.raises(socket.gaierror):
            loop.run_until_complete(loop.sock_connect(sock, (address[0], "nonsense")))


def test_what_is_no_literal_is_looked_up(loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Bluetooth address, say: whatever the lookup answers is connected to."""
    asked = []

    def getaddrinfo(*question: Any) -> list[Any]:
        asked.append(question[:2])
        return [(999, 1, 999, "", ("an address", 1))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with Seen() as sock:
        sock.setblocking(False)
        with pytest.raises(OSError, match=re.escape(repr(("an address", 1)))):
            loop.run_until_complete(loop.sock_connect(sock, ("00:01:02:03:04:05", 1)))
    assert asked == [("00:01:02:03:04:05", 1)]


class Sending:
    """A file of 10,000 bytes, a socket to send it over, and what the system says to it, call by call."""

    def __init__(self, loop: Any, path: Path, monkeypatch: pytest.MonkeyPatch):
        path.write_bytes(b"0123456789" * 1000)
        self.loop, self.file = loop, path.open("rb")
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.script: list[int | BaseException] = []
        self.calls: list[tuple[int, int]] = []
        monkeypatch.setattr(os, "sendfile", self._sendfile)

    def _sendfile(self, _to: int, _from: int, offset: int, size: int) -> int:
        self.calls.append((offset, size))
        answer = self.script.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def __enter__(self) -> Sending:
        return self

    def __exit__(self, *_: object) -> None:
        assert not self.loop.remove_writer(self.ours)
        for each in (self.file, self.ours, self.theirs):
            each.close()

    def send(self, *script: int | BaseException) -> Any:
        self.script[:] = script
        return self.loop.run_until_complete(self.loop.sock_sendfile(self.ours, self.file, fallback=False))


def test_a_file_is_sent_in_parts_and_waits_for_room(loop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Sending(loop, tmp_path / "file", monkeypatch) as sending:
        assert sending.send(BlockingIOError(), 4000, InterruptedError(), 6000, 0) == 10_000
        assert sending.calls == [(0, 10_000)] * 2 + [(4000, 10_000)] * 2 + [(10_000, 10_000)]
        assert sending.file.tell() == 10_000


@pytest.mark.parametrize("sent", [0, 4000])
def test_a_file_whose_sending_is_cancelled(
    loop: Any, loop_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: int
) -> None:
    with Sending(loop, tmp_path / "file", monkeypatch) as sending:
        sending.script[:] = [*([sent] if sent else []), *(BlockingIOError() for _ in range(20))]
        task = loop.create_task(loop.sock_sendfile(sending.ours, sending.file))
        for _ in range(4):
            iterate(loop)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        # asyncio documents this, too, but mostly leaves the file where it was.
        assert sending.file.tell() in ({sent} if loop_name == "oneloop" else {0, sent})


def test_a_file_that_the_system_cannot_send(loop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Sending(loop, tmp_path / "file", monkeypatch) as sending:
        with pytest.raises(asyncio.SendfileNotAvailableError, match="call failed"):
            sending.send(OSError(errno.EINVAL, "no such file"))
        assert sending.file.tell() == 0


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "a broken disk"), asyncio.SendfileNotAvailableError("mine"), ZeroDivisionError("mine")]
)
def test_a_file_that_fails_half_way(
    loop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with Sending(loop, tmp_path / "file", monkeypatch) as sending:
        with pytest.raises(type(error)) as caught:
            sending.send(1000, error)
        assert caught.value is error
        assert sending.file.tell() == 1000
        error.__traceback__ = None


def test_a_system_that_cannot_send_files(loop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Sending(loop, tmp_path / "file", monkeypatch) as sending:
        monkeypatch.delattr(os, "sendfile")
        with pytest.raises(asyncio.SendfileNotAvailableError, match=r"os\.sendfile\(\) is not available"):
            sending.send()
        assert sending.file.tell() == 0


class FailingSocket(socket.socket):
    """A socket one of whose methods fails."""

    fails = "none"

    def bind(self, address: Any) -> None:
        if self.fails == "bind":
            raise OSError(errno.EADDRNOTAVAIL, "no such address")
        super().bind(address)

    def setblocking(self, flag: bool) -> None:
        if self.fails == "setblocking":
            raise OSError(errno.EIO, "broken")
        super().setblocking(flag)


@pytest.mark.parametrize("method", ["bind", "setblocking"])
def test_a_datagram_socket_that_fails_is_closed(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    loop.run_until_complete(asyncio.sleep(0))
    before = descriptors()
    monkeypatch.setattr(FailingSocket, "fails", method)
    monkeypatch.setattr(socket, "socket", FailingSocket)
    opening = loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    with pytest.raises(OSError, match="no such address" if method == "bind" else "broken"):
        loop.run_until_complete(opening)
    assert descriptors() == before


def test_a_datagram_socket_that_cannot_be_opened(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_socket(*_: object, **__: object) -> socket.socket:
        raise OSError(errno.EMFILE, "no more")

    monkeypatch.setattr(socket, "socket", no_socket)
    for given in ({"family": socket.AF_INET}, {"local_addr": ("127.0.0.1", 0)}):
        opening = loop.create_datagram_endpoint(asyncio.DatagramProtocol, **given)
        with pytest.raises(OSError, match="no more"):
            loop.run_until_complete(opening)


@pytest.mark.parametrize("value", [None, -1], ids=["no constant", "no option"])
def test_datagrams_on_a_port_of_several_where_that_does_not_exist(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, value: int | None
) -> None:
    if value is None:
        monkeypatch.delattr(socket, "SO_REUSEPORT")
    else:
        monkeypatch.setattr(socket, "SO_REUSEPORT", value)
    opening = loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0), reuse_port=True)
    with pytest.raises(ValueError, match=r"^reuse_port not supported by socket module"):
        loop.run_until_complete(opening)


def test_a_datagram_endpoint_s_name_without_an_address(loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    opening = loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("a.name", 0))
    with pytest.raises(OSError, match=r"^getaddrinfo\(\) returned empty list$"):
        loop.run_until_complete(opening)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_datagram_endpoint_s_literal_is_not_looked_up(loop: Any, host: str) -> None:
    async def getaddrinfo(*_: object, **__: object) -> list[Any]:
        raise AssertionError("asked")

    loop.getaddrinfo = getaddrinfo
    opening = loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(host, 0), reuse_port=True)
    transport, _ = loop.run_until_complete(opening)
    assert transport.get_extra_info("sockname")[0] == host
    transport.close()
    loop.run_until_complete(asyncio.sleep(0))


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EPERM])
def test_a_handler_whose_default_cannot_be_restored(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """EINVAL says that the signal cannot be caught; whatever else the system says comes out as it is."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    with monkeypatch.context() as patched:
        patched.setattr(signal, "signal", refuse)
        with pytest.raises(RuntimeError if number == errno.EINVAL else PermissionError):
            loop.remove_signal_handler(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    loop.close()
    signal.set_wakeup_fd(-1)  # asyncio's loop, which has no handler any more, leaves its own


@pytest.mark.parametrize("error", [PermissionError, MemoryError])
def test_a_unix_server_that_cannot_bind_leaves_no_socket(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    class Unbound(socket.socket):
        def bind(self, _: object) -> None:
            raise error

    loop.run_until_complete(asyncio.sleep(0))
    before = descriptors()
    monkeypatch.setattr(socket, "socket", Unbound)
    with pytest.raises(error):
        loop.run_until_complete(loop.create_unix_server(asyncio.Protocol, "/nowhere/socket"))
    assert descriptors() == before


@pytest.mark.skipif(sys.version_info < (3, 15), reason="before 3.15 each callback has the context of who asked for it")
def test_who_resumes_reading_does_not_lend_its_context(loop: asyncio.AbstractEventLoop) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen: list[tuple[str, str]] = []

    class Pausing(asyncio.Protocol):
        transport: asyncio.Transport

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport
            seen.append(("made", variable.get()))

        def data_received(self, data: bytes) -> None:
            seen.append(("data", variable.get()))
            self.transport.pause_reading()
            self.task = loop.create_task(self.resume())

        async def resume(self) -> None:
            variable.set("the task's")
            self.transport.resume_reading()

        def connection_lost(self, exc: Exception | None) -> None:
            seen.append(("lost", variable.get()))
            lost.set_result(None)

    async def scenario() -> None:
        server = await loop.create_server(Pausing, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x")
        writer.close()
        await lost
        server.close()

    lost = loop.create_future()
    loop.run_until_complete(scenario())
    assert seen == [("made", "unset"), ("data", "unset"), ("lost", "unset")]
