"""``SubprocessTransport``: a child process and the pipes to it, as a protocol sees them.

Promises, which are asyncio's: ``connection_made()`` comes first, when every pipe is connected; then, as they happen,
``pipe_data_received()``, ``pipe_connection_lost()`` and ``process_exited()``; and last, once the child has exited and
every pipe is disconnected, ``connection_lost()``. Each is a callback of its own.

The exit is seen by the loop itself (``_core.Loop._watch_child``), which also reaps the child. If somebody else has
reaped it, the return code is what its ``Popen`` says, or else 255, with a warning.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import types
import warnings
from asyncio import base_subprocess, unix_events
from collections.abc import Awaitable, Callable
from typing import IO, TYPE_CHECKING, Any

from ._checks import logger

if TYPE_CHECKING:
    from ._subprocess import Subprocesses


def _names_used(function: object) -> tuple[str, ...]:
    """The names in a function's code; none if it is no Python function."""
    code = getattr(function, "__code__", None)
    return code.co_names if isinstance(code, types.CodeType) else ()


# What differs between the versions of asyncio is found out from the code of the running one, since some of it came with
# a patch release.
#
# Through how many iterations an exit goes before the transport takes notice: the older, the more time for the pipes.
_HOPS = sum(
    name in ("call_soon", "call_soon_threadsafe")
    for name in _names_used(getattr(asyncio.SelectorEventLoop, "_child_watcher_callback", None))
)
# Whether waiting for a child ends with the child, or only when its pipes are disconnected as well.
_EXIT_ENDS_WAIT = "_exit_waiters" in _names_used(base_subprocess.BaseSubprocessTransport._process_exited)
# Whether asyncio's own loop would have used a pidfd, whose message is another one.
_PREFERS_PIDFD = hasattr(unix_events, "can_use_pidfd")


class SubprocessTransport(asyncio.SubprocessTransport):
    """A child process. Follows the transport that asyncio's loops return from ``subprocess_exec()``."""

    # Until something has begun, there is nothing to close or to warn about.
    _closed = True

    def __init__(self, loop: Subprocesses, protocol: asyncio.BaseProtocol, child: subprocess.Popen[bytes]) -> None:
        super().__init__({"subprocess": child})
        self._loop: Subprocesses | None = loop
        self._protocol: Any = protocol
        self._proc: subprocess.Popen[bytes] | None = child
        self._pid = child.pid
        self._returncode: int | None = None
        # What happened before connection_made(). None from then on.
        self._pending: list[tuple[Callable[..., object], tuple[Any, ...]]] | None = []
        # Held, since the loop holds its tasks weakly.
        self._connecting: asyncio.Task[None] | None = None
        self._failed = False
        self._finished = False
        self._exit_waiters: set[asyncio.Future[int]] = set()
        # By the child's descriptor; None until it is being connected.
        files = enumerate((child.stdin, child.stdout, child.stderr))
        self._pipes: dict[int, _PipeProtocol | None] = {fd: None for fd, file in files if file is not None}
        self._is_pidfd = loop._watch_child(child.pid, self._child_exited)
        self._closed = False

    def __repr__(self) -> str:
        words = [type(self).__name__]
        if self._closed:
            words.append("closed")
        words.append(f"pid={self._pid}")
        words.append("running" if self._returncode is None else f"returncode={self._returncode}")
        for fd, name in enumerate(("stdin", "stdout", "stderr")):
            pipe = self._pipes.get(fd)
            if pipe is not None:
                words.append(f"{name}={pipe.pipe}")
        return f"<{' '.join(words)}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        # `_warn` is bound early: at the interpreter's exit the module's own names may be gone.
        if not self._closed:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self.close()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Set the protocol that hears of the child from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_closing(self) -> bool:
        """Return whether the transport was closed."""
        return self._closed

    def get_pid(self) -> int:
        """Return the child's process identifier."""
        return self._pid

    def get_returncode(self) -> int | None:
        """Return the child's return code, which is negative if a signal killed it; ``None`` while it runs."""
        return self._returncode

    def get_pipe_transport(self, fd: int) -> asyncio.BaseTransport | None:
        """Return the transport of the pipe to the child's descriptor ``fd``, 0 to 2; ``None`` if there is no pipe."""
        pipe = self._pipes.get(fd)
        return None if pipe is None else pipe.pipe

    def send_signal(self, signal: int) -> None:
        """Send a signal to the child; nobody is signalled if it has exited.

        Raises:
            ProcessLookupError: if the transport is done with the child.
        """
        child = self._proc
        if child is None:
            raise ProcessLookupError
        # Its number belongs to it until it is reaped, and what we have reaped says so.
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal)

    def terminate(self) -> None:
        """Send SIGTERM to the child. Raises as ``send_signal()``."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the child. Raises as ``send_signal()``."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Close the pipes, and kill the child if it runs. The protocol hears of both."""
        if self._closed:
            return
        self._closed = True
        self._close_pipes()
        child = self._proc
        if child is None or self._returncode is not None or child.poll() is not None:
            return
        if self._loop is not None and self._loop.get_debug():
            logger().warning("Close running child process: kill %r", self)
        # It may have exited meanwhile, or run as another user.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            child.kill()

    def _close_pipes(self) -> None:
        # On a closed loop they close themselves when they are collected: nobody would hear of it any more.
        if self._loop is None or self._loop.is_closed():
            return
        for pipe in self._pipes.values():
            if pipe is not None and pipe.pipe is not None:
                pipe.pipe.close()

    async def _wait(self) -> int:
        """Wait for the child as ``asyncio.subprocess.Process.wait()`` does, which calls this."""
        if self._returncode is not None:
            return self._returncode
        assert self._loop is not None, "cleared only after the exit"
        waiter = self._loop.create_future()
        self._exit_waiters.add(waiter)
        try:
            returncode: int = await waiter
        finally:
            self._exit_waiters.discard(waiter)
        return returncode

    # Beginning.

    def connect(self) -> asyncio.Future[None]:
        """Begin to connect the pipes; return a future that is done when the protocol has been told of its child.

        That is a task's work: whoever gives up waiting for it gives up the child, and not half of its pipes.
        """
        assert self._loop is not None
        assert self._proc is not None
        connected: asyncio.Future[None] = self._loop.create_future()
        self._connecting = self._loop.create_task(self._connect(self._loop, self._proc, connected))
        return connected

    async def _connect(
        self, loop: Subprocesses, child: subprocess.Popen[bytes], connected: asyncio.Future[None]
    ) -> None:
        try:
            await self._connect_pipe(0, child.stdin, loop.connect_write_pipe, _PipeProtocol)
            await self._connect_pipe(1, child.stdout, loop.connect_read_pipe, _OutputProtocol)
            await self._connect_pipe(2, child.stderr, loop.connect_read_pipe, _OutputProtocol)
            loop.call_soon(self._protocol.connection_made, self)
            pending, self._pending = self._pending, None
            for callback, args in pending or ():
                loop.call_soon(callback, *args)
            # All may be over by now.
            self._try_finish()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fail(loop, child)
            if not connected.done():
                connected.set_exception(exc)
        else:
            if not connected.done():
                connected.set_result(None)
        finally:
            self._connecting = None

    async def _connect_pipe(
        self,
        fd: int,
        file: IO[bytes] | None,
        connect: Callable[..., Awaitable[tuple[Any, Any]]],
        protocol_class: type[_PipeProtocol],
    ) -> None:
        if file is None:
            return

        def make() -> _PipeProtocol:
            protocol = self._pipes[fd] = protocol_class(self, fd)
            return protocol

        await connect(make, file)

    def _fail(self, loop: Subprocesses, child: subprocess.Popen[bytes]) -> None:
        """A pipe could not be connected. Whoever started the child closes this and waits for the exit, and no more."""
        self._failed = True
        self._close_pipes()
        for fd, file in enumerate((child.stdin, child.stdout, child.stderr)):
            pipe = self._pipes.get(fd)
            if file is not None and (pipe is None or pipe.pipe is None):
                # Later, since there may be a transport that is about to close it.
                loop.call_soon(file.close)

    # What happens, as the pipes and the loop tell it.

    def _child_exited(self, pid: int, returncode: int | None) -> None:
        child, loop = self._proc, self._loop
        assert child is not None
        assert loop is not None
        if returncode is None:
            returncode = child.returncode
        if returncode is None:
            returncode = 255
            if self._is_pidfd and _PREFERS_PIDFD:
                logger().warning("child process pid %d exit status already read:  will report returncode 255", pid)
            else:
                logger().warning("Unknown child process pid %d, will report returncode 255", pid)
        # At once, so that nobody polls or signals what has been reaped.
        if child.returncode is None:
            child.returncode = returncode
        if _HOPS == 0:
            self._process_exited(returncode)
        elif _HOPS == 1:
            loop.call_soon(self._process_exited, returncode)
        else:
            loop.call_soon(loop.call_soon, self._process_exited, returncode)

    def _process_exited(self, returncode: int) -> None:
        assert self._loop is not None
        if self._loop.get_debug():
            logger().info("%r exited with return code %r", self, returncode)
        self._returncode = returncode
        self._call(self._protocol.process_exited)
        self._try_finish()
        if _EXIT_ENDS_WAIT or self._failed:
            self._wake_waiters(returncode)

    def _pipe_data_received(self, fd: int, data: bytes) -> None:
        self._call(self._protocol.pipe_data_received, fd, data)

    def _pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._call(self._protocol.pipe_connection_lost, fd, exc)
        self._try_finish()

    def _call(self, callback: Callable[..., object], *args: Any) -> None:
        if self._pending is not None:
            self._pending.append((callback, args))
        elif self._loop is not None:
            self._loop.call_soon(callback, *args)

    def _try_finish(self) -> None:
        if self._finished or self._pending is not None or self._returncode is None:
            return
        if all(pipe is not None and pipe.disconnected for pipe in self._pipes.values()):
            self._finished = True
            self._call(self._call_connection_lost, self._returncode)

    def _call_connection_lost(self, returncode: int) -> None:
        try:
            self._protocol.connection_lost(None)
        finally:
            self._wake_waiters(returncode)
            self._loop = None
            self._proc = None
            self._protocol = None

    def _wake_waiters(self, returncode: int) -> None:
        for waiter in self._exit_waiters:
            if not waiter.done():
                waiter.set_result(returncode)
        self._exit_waiters.clear()


class _PipeProtocol(asyncio.BaseProtocol):
    """The protocol of the pipe to the child's input, or of either pipe from it."""

    pipe: Any = None
    disconnected = False

    def __init__(self, process: SubprocessTransport, fd: int) -> None:
        self._process: SubprocessTransport | None = process
        self._fd = fd

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fd={self._fd} pipe={self.pipe!r}>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.pipe = transport
        if self._process is not None and self._process.is_closing():
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.disconnected = True
        process, self._process = self._process, None
        if process is not None:
            process._pipe_connection_lost(self._fd, exc)

    def pause_writing(self) -> None:
        if self._process is not None:
            self._process._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._process is not None:
            self._process._protocol.resume_writing()


class _OutputProtocol(_PipeProtocol, asyncio.Protocol):
    """The protocol of a pipe from the child."""

    def data_received(self, data: bytes) -> None:
        if self._process is not None:
            self._process._pipe_data_received(self._fd, data)
