"""The native part of oneloop: the loop's scheduling, and its handles."""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextvars import Context
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar, TypeVarTuple, Unpack, final, overload

from _typeshed import ReadableBuffer, WriteableBuffer
from typing_extensions import disjoint_base

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_Ts = TypeVarTuple("_Ts")

class _HasFileno(Protocol):
    def fileno(self) -> int: ...

_FileDescriptor = int | _HasFileno
_TaskFactory = Callable[..., asyncio.Future[Any]]

if sys.version_info >= (3, 14):
    __all__ = [
        "DatagramTransport",
        "Handle",
        "Loop",
        "NativeCoroutine",
        "ReadPipeTransport",
        "SSLTransport",
        "SocketTransport",
        "TimerHandle",
        "WritePipeTransport",
        "_Clients",
        "_Listener",
        "_SSLProtocol",
        "_TLSSettings",
        "_ThreadSafeHandle",
        "__version__",
        "_addresses_in_figures",
        "_adopt",
        "_literal",
        "_takes_steps",
        "_wrap_tls",
    ]
else:
    __all__ = [
        "DatagramTransport",
        "Handle",
        "Loop",
        "NativeCoroutine",
        "ReadPipeTransport",
        "SSLTransport",
        "SocketTransport",
        "TimerHandle",
        "WritePipeTransport",
        "_Clients",
        "_Listener",
        "_SSLProtocol",
        "_TLSSettings",
        "__version__",
        "_addresses_in_figures",
        "_adopt",
        "_literal",
        "_takes_steps",
        "_wrap_tls",
    ]

__version__: Final[str]

@final
class Handle(asyncio.Handle):
    """A callback that waits for its turn.

    Returned by ``call_soon()``, and by ``call_soon_threadsafe()`` before Python 3.14; follows ``asyncio.Handle``. Only
    the loop makes them.
    """

@final
class TimerHandle(asyncio.TimerHandle):
    """A callback that waits for its time.

    Returned by ``call_later()`` and ``call_at()``; follows ``asyncio.TimerHandle``. Only the loop makes them.
    """

if sys.version_info >= (3, 14):
    @final
    class _ThreadSafeHandle(asyncio.Handle):
        """What ``call_soon_threadsafe()`` returns: asyncio's ``_ThreadSafeHandle``, which typeshed does not have."""

@final
class NativeCoroutine(Coroutine[Any, Any, _T_co]):
    """A coroutine of the loop's own, returned by its native asynchronous methods. Only the loop makes them.

    It is awaited once, as any coroutine, and on the loop that made it.
    """

    @property
    def __name__(self) -> str: ...
    @property
    def __qualname__(self) -> str: ...
    @property
    def cr_code(self) -> None: ...
    @property
    def cr_frame(self) -> None: ...
    @property
    def cr_origin(self) -> tuple[tuple[str, int, str], ...] | None: ...
    @property
    def cr_running(self) -> bool: ...
    @property
    def cr_suspended(self) -> bool: ...
    if sys.version_info >= (3, 15):
        @property
        def cr_state(self) -> str: ...

    def __iter__(self) -> Self: ...
    def __await__(self) -> Generator[Any, None, _T_co]: ...
    def __next__(self) -> Any: ...
    def send(self, arg: Any, /) -> Any: ...
    @overload
    def throw(
        self, type: type[BaseException], value: object = None, traceback: TracebackType | None = None, /
    ) -> Any: ...
    @overload
    def throw(self, type: BaseException, value: None = None, traceback: TracebackType | None = None, /) -> Any: ...
    def close(self) -> None: ...

@final
class SocketTransport(asyncio.Transport):
    """A stream transport over a TCP or Unix socket; follows ``asyncio.Transport``. Only the loop makes them."""

    _sock: Final[socket.socket | None]
    _start_tls_compatible: Final[bool]
    _sendfile_compatible: Final[Any]
    _protocol_paused: Final[bool]
    def _make_empty_waiter(self) -> asyncio.Future[None]: ...
    def _reset_empty_waiter(self) -> None: ...
    def _force_close(self, exc: BaseException | None) -> None: ...
    def _read_ready(self) -> None: ...
    def _write_ready(self) -> None: ...
    def _call_connection_lost(self) -> None: ...

@final
class DatagramTransport(asyncio.Transport, asyncio.DatagramTransport):
    """A transport for datagrams; follows ``asyncio.DatagramTransport``. Only the loop makes them."""

    _sock: Final[socket.socket | None]
    def _force_close(self, exc: BaseException | None) -> None: ...
    def _read_ready(self) -> None: ...
    def _sendto_ready(self) -> None: ...
    def _call_connection_lost(self) -> None: ...

@final
class SSLTransport(asyncio.Transport):
    """A stream transport over TLS; follows ``asyncio.Transport``. Only the loop makes them."""

    _start_tls_compatible: Final[bool]
    _sendfile_compatible: Final[Any]
    _protocol_paused: Final[bool]
    _ssl_protocol: Final[_SSLProtocol]
    def _force_close(self, exc: BaseException | None) -> None: ...
    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def get_read_buffer_limits(self) -> tuple[int, int]: ...
    def get_read_buffer_size(self) -> int: ...

@final
class _SSLProtocol(asyncio.BufferedProtocol):
    """TLS over a transport, as the protocol of that transport; follows ``asyncio.BufferedProtocol``."""

    _app_transport: Final[SSLTransport | None]
    def get_buffer(self, sizehint: int) -> memoryview: ...
    def eof_received(self) -> bool: ...
    def _proceed(self) -> None: ...
    def _check_handshake_timeout(self) -> None: ...
    def _check_shutdown_timeout(self) -> None: ...
    def _feed(self, data: bytes | bytearray | memoryview) -> None: ...

@final
class _TLSSettings:
    """What TLS on a connection is to be like: for all connections of a server, or for one."""

    def __new__(
        cls,
        context: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        handshake_timeout: float | None = None,
        shutdown_timeout: float | None = None,
    ) -> Self: ...

def _wrap_tls(
    loop: asyncio.AbstractEventLoop,
    protocol: asyncio.BaseProtocol,
    settings: _TLSSettings,
    waiter: asyncio.Future[None] | None = None,
    *,
    knows: bool = False,
) -> _SSLProtocol:
    """Put TLS between a protocol and a transport, and return the protocol for that transport."""

@final
class ReadPipeTransport(asyncio.ReadTransport):
    """A transport that reads from a pipe; follows ``asyncio.ReadTransport``. Only the loop makes them."""

    def _read_ready(self) -> None: ...
    def _call_connection_lost(self) -> None: ...

@final
class WritePipeTransport(asyncio.WriteTransport):
    """A transport that writes to a pipe; follows ``asyncio.WriteTransport``. Only the loop makes them."""

    def _read_ready(self) -> None: ...
    def _write_ready(self) -> None: ...
    def _call_connection_lost(self) -> None: ...

def _adopt(cls: type[Loop]) -> None: ...
def _addresses_in_figures(
    host: Any, port: Any, family: Any, kind: Any, proto: Any, flags: Any
) -> list[tuple[Any, Any, int, str, Any]] | None: ...
def _literal(host: Any, port: Any, family: Any, proto: Any) -> tuple[int, tuple[Any, ...]] | None: ...
def _takes_steps() -> bool: ...

@disjoint_base
class Loop:
    """The native loop. ``oneloop.Loop`` is this and ``asyncio.AbstractEventLoop``; use that one.

    Raises:
        OSError: if the system refuses the descriptors that a loop needs.
        ValueError: if ``ONELOOP_DRIVER`` names no driver of this build.
    """

    slow_callback_duration: float
    """In debug mode, callbacks and task steps that take longer than this are logged; seconds. Follows
    ``asyncio.loop.slow_callback_duration``."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Make a loop that does not run. The arguments are those of a subclass's ``__init__``, and left to it."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Accept what a subclass passes on, as ``__new__`` does."""

    # Running.

    def run_forever(self) -> None:
        """Run until ``stop()`` is called. Follows ``asyncio.loop.run_forever``.

        Raises:
            RuntimeError: if the loop is closed or running, or another one is running in this thread.
            SystemExit, KeyboardInterrupt: from a callback; what was ready stays ready.
        """

    def run_until_complete(self, future: Generator[Any, None, _T] | Awaitable[_T]) -> _T:
        """Run until the future is done, and return its result. Follows ``asyncio.loop.run_until_complete``.

        Args:
            future: a future of this loop, or a coroutine or other awaitable, which becomes a task.

        Raises:
            RuntimeError: as ``run_forever()``, and if the loop was stopped before the future was done.
            ValueError: if the future belongs to another loop.
            TypeError: if it cannot be awaited.
            BaseException: what the future raises.
        """

    def stop(self) -> None:
        """Let the run end after the callbacks that are ready now. Follows ``asyncio.loop.stop``."""

    def close(self) -> None:
        """Drop what is scheduled and release the descriptors. Follows ``asyncio.loop.close``.

        Raises:
            RuntimeError: if the loop is running.
        """

    def is_running(self) -> bool:
        """Return whether the loop is running. Follows ``asyncio.loop.is_running``."""

    def is_closed(self) -> bool:
        """Return whether the loop was closed. Follows ``asyncio.loop.is_closed``."""

    # Scheduling.

    def call_soon(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Schedule ``callback(*args)`` for the next iteration. Follows ``asyncio.loop.call_soon``.

        Args:
            callback: not a coroutine function; checked in debug mode only.
            args: its positional arguments.
            context: what it runs in; ``None`` is a copy of the current context.

        Raises:
            RuntimeError: if the loop is closed, and in debug mode if it runs in another thread.
            TypeError: in debug mode, if the callback cannot be called.
        """

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As ``call_soon()``, from any thread. Follows ``asyncio.loop.call_soon_threadsafe``.

        Raises:
            RuntimeError: if the loop is closed.
            TypeError: in debug mode, if the callback cannot be called.
        """

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Schedule ``callback(*args)`` after ``delay`` seconds. Follows ``asyncio.loop.call_later``.

        Args:
            delay: seconds; not positive is as soon as possible.
            callback: as in ``call_soon()``.
            args: its positional arguments.
            context: as in ``call_soon()``.

        Raises:
            RuntimeError: as ``call_soon()``.
            TypeError: if the delay is None or no number, and as ``call_soon()``.
        """

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Schedule ``callback(*args)`` at a time of ``time()``'s clock. Follows ``asyncio.loop.call_at``.

        Args:
            when: seconds, as ``time()`` counts them.
            callback: as in ``call_soon()``.
            args: its positional arguments.
            context: as in ``call_soon()``.

        Raises:
            RuntimeError: as ``call_soon()``.
            TypeError: if the time is None or no number, and as ``call_soon()``.
        """

    def time(self) -> float:
        """Return the loop's time: seconds of ``time.monotonic()``. Follows ``asyncio.loop.time``.

        A subclass or an instance that overrides it moves its timers.
        """

    # Futures and tasks.

    def create_future(self) -> asyncio.Future[Any]:
        """Return a new ``asyncio.Future`` of this loop. Follows ``asyncio.loop.create_future``."""

    def create_task(self, coro: Generator[Any, None, _T] | Coroutine[Any, Any, _T], **kwargs: Any) -> asyncio.Task[_T]:
        """Schedule a coroutine as a task and return the task. Follows ``asyncio.loop.create_task``.

        Args:
            coro: the coroutine.
            kwargs: those of the running interpreter: ``name``, ``context``, and ``eager_start`` where it has it.

        Raises:
            RuntimeError: if the loop is closed.
            TypeError: if it is no coroutine.
        """

    def set_task_factory(self, factory: _TaskFactory | None) -> None:
        """Set what makes the tasks of ``create_task()``. Follows ``asyncio.loop.set_task_factory``.

        Args:
            factory: ``factory(loop, coro, **kwargs)``, which returns a future; ``None`` is ``asyncio.Task``.

        Raises:
            TypeError: if it is neither callable nor None.
        """

    def get_task_factory(self) -> _TaskFactory | None:
        """Return the task factory, or None if it is the default one. Follows ``asyncio.loop.get_task_factory``."""

    # Descriptors.

    def add_reader(self, fd: _FileDescriptor, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts) -> None:
        """Call ``callback(*args)`` whenever the descriptor can be read. Follows ``asyncio.loop.add_reader``.

        Args:
            fd: a descriptor or an object with ``fileno()``; it stays the caller's.
            callback: replaces an earlier one.
            args: its positional arguments.

        Raises:
            RuntimeError: if the loop is closed.
            ValueError: if it is no valid descriptor.
            OSError: if the system cannot watch it (``PermissionError`` for a regular file).
        """

    def remove_reader(self, fd: _FileDescriptor) -> bool:
        """Stop watching for reading; return whether it was watched. Follows ``asyncio.loop.remove_reader``.

        Raises:
            ValueError: if it is no valid descriptor.
        """

    def add_writer(self, fd: _FileDescriptor, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts) -> None:
        """Call ``callback(*args)`` whenever the descriptor can be written. Follows ``asyncio.loop.add_writer``.

        Args and errors as ``add_reader()``.
        """

    def remove_writer(self, fd: _FileDescriptor) -> bool:
        """Stop watching for writing; return whether it was watched. Follows ``asyncio.loop.remove_writer``.

        Raises:
            ValueError: if it is no valid descriptor.
        """

    # Transports.

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[Any] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: asyncio.Server | None = None,
        context: Context | None = None,
        is_ours: bool = False,
    ) -> SocketTransport: ...
    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        waiter: asyncio.Future[Any] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> DatagramTransport: ...
    def _make_read_pipe_transport(
        self,
        pipe: _HasFileno,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[Any] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> ReadPipeTransport: ...
    def _make_write_pipe_transport(
        self,
        pipe: _HasFileno,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[Any] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> WritePipeTransport: ...

    # Sockets. They stay the caller's, and are to be non-blocking; outside debug mode nobody checks that.

    def sock_recv(self, sock: socket.socket, n: int) -> NativeCoroutine[bytes]:
        """Receive up to ``n`` bytes; none at the end of the stream. Follows ``asyncio.loop.sock_recv``.

        Cancelling it loses nothing: what was not returned is still to be received.

        Raises:
            TypeError: for a TLS socket.
            ValueError: in debug mode, for a socket that blocks.
            RuntimeError: if a transport of this loop uses the socket, or the loop is closed.
            OSError: what receiving fails with.
        """

    def sock_recv_into(self, sock: socket.socket, buf: WriteableBuffer) -> NativeCoroutine[int]:
        """Receive into a writable buffer; return how much. Follows ``asyncio.loop.sock_recv_into``.

        Errors as ``sock_recv()``.
        """

    def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> NativeCoroutine[tuple[bytes, Any]]:
        """Receive a datagram; return up to ``bufsize`` bytes of it, and its sender.

        Follows ``asyncio.loop.sock_recvfrom``; errors as ``sock_recv()``.
        """

    def sock_recvfrom_into(
        self, sock: socket.socket, buf: WriteableBuffer, nbytes: int = 0
    ) -> NativeCoroutine[tuple[int, Any]]:
        """Receive a datagram into a writable buffer; return how much, and its sender.

        Follows ``asyncio.loop.sock_recvfrom_into``; errors as ``sock_recv()``.

        Args:
            sock: the socket.
            buf: where to.
            nbytes: at most; zero is the buffer's length.
        """

    def sock_sendall(self, sock: socket.socket, data: ReadableBuffer) -> NativeCoroutine[None]:
        """Send all of ``data``. Follows ``asyncio.loop.sock_sendall``.

        After it was cancelled or has failed there is no telling how much was sent. Errors as ``sock_recv()``.
        """

    def sock_sendto(self, sock: socket.socket, data: ReadableBuffer, address: Any) -> NativeCoroutine[int]:
        """Send a datagram; return how much of it was sent. Follows ``asyncio.loop.sock_sendto``.

        Errors as ``sock_recv()``.
        """

    def sock_accept(self, sock: socket.socket) -> NativeCoroutine[tuple[socket.socket, Any]]:
        """Accept a connection; return a non-blocking socket and the peer. Follows ``asyncio.loop.sock_accept``.

        Cancelling it loses nothing: a connection that was not returned is still to be accepted. Errors as
        ``sock_recv()``.
        """

    def _sock_connect(self, sock: socket.socket, address: Any, family: Any = None) -> NativeCoroutine[None]: ...
    def _sock_writable(self, sock: socket.socket) -> NativeCoroutine[None]: ...
    def _ask_in_thread(self, function: Callable[..., Any], *args: Any) -> NativeCoroutine[Any]: ...

    # Processes.

    def _watch_child(self, pid: int, callback: Callable[[int, int | None], object]) -> bool: ...

    # Signals.

    def add_signal_handler(self, sig: int, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts) -> None:
        """Call ``callback(*args)`` on the loop when the signal arrives. Follows ``asyncio.loop.add_signal_handler``.

        Args:
            sig: a signal's number.
            callback: not a coroutine function; replaces an earlier one.
            args: its positional arguments.

        Raises:
            TypeError: if the number is no int or the callback a coroutine.
            ValueError: if there is no such signal.
            RuntimeError: if the loop is closed, this is not the main thread, or the signal cannot be caught.
        """

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove the handler; return whether there was one. Follows ``asyncio.loop.remove_signal_handler``.

        Raises:
            TypeError, ValueError: as ``add_signal_handler()``.
        """

    # Debug mode and identity.

    def get_debug(self) -> bool:
        """Return whether debug mode is on. Follows ``asyncio.loop.get_debug``."""

    def set_debug(self, enabled: bool) -> None:
        """Turn debug mode on or off. Follows ``asyncio.loop.set_debug``."""

    @property
    def backend(self) -> str:
        """The driver's name: ``"epoll"`` or ``"portable"``."""

    @property
    def _thread_id(self) -> int | None: ...
    @property
    def _current_handle(self) -> asyncio.Handle | None: ...
    def _check_closed(self) -> None: ...
    def _handled_signals(self) -> list[int]: ...

    # Listening.

    def _listen(
        self,
        sock: socket.socket,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        server: asyncio.Server | None,
        backlog: int,
        context: Context | None,
        tls: _TLSSettings | None,
    ) -> _Listener: ...
    def _stop_listening(self, listener: _Listener) -> None: ...

@final
class _Clients:
    """The transports of a server that are not closed."""

    def __new__(cls) -> Self: ...
    def __contains__(self, transport: object, /) -> bool: ...
    def __iter__(self) -> Iterator[asyncio.Transport]: ...
    def __len__(self) -> int: ...
    def add(self, transport: asyncio.BaseTransport) -> None: ...
    def copy(self) -> list[asyncio.Transport]: ...
    def discard(self, transport: asyncio.BaseTransport) -> None: ...

@final
class _Listener:
    """A socket that accepts connections, until ``_stop_listening()``."""
