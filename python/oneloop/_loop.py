"""`Loop`: the native loop, plus what is cold and about coroutines or text.

The scheduling is `_core.Loop`. Here stands what runs once per loop, per failure or per executor job, where what users
see has to be asyncio's to the letter: exception handlers, asynchronous generators, the default executor, `close`
around the core's own, and the warning about a loop that nobody closed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import sys
import threading
import traceback
import warnings
import weakref
from asyncio import coroutines
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

from . import _core, _executor
from ._checks import logger, modules_are_gone
from ._connections import Connections
from ._datagram import Datagrams
from ._names import Names
from ._sendfile import Sendfile
from ._server import Servers
from ._sockets import Sockets
from ._subprocess import Subprocesses

if TYPE_CHECKING:  # stubtest does not know the latter as a module's attribute
    _T = TypeVar("_T")
    _Ts = TypeVarTuple("_Ts")

_Context = dict[str, Any]
_ExceptionHandler = Callable[[asyncio.AbstractEventLoop, _Context], object]

# 3.14 deprecates the public name of what asyncio itself goes on using under a private one.
_iscoroutinefunction: Callable[[object], bool] = (
    vars(coroutines).get("_iscoroutinefunction") or vars(coroutines)["iscoroutinefunction"]
)


class Loop(Connections, Datagrams, Servers, Sockets, Sendfile, Names, Subprocesses):
    """An asyncio event loop, running on oneloop's engine.

    Made by ``oneloop.new_event_loop()``, ``oneloop.run()`` or by calling it. It can be subclassed as asyncio's loops
    can, and an overridden method is honoured: one that overrides ``time()`` moves its timers.

    A loop belongs to the thread that runs it. Only ``call_soon_threadsafe()`` may be called from another one.
    """

    # Instances have a __dict__ as well. As long as nobody uses it, CPython calls the loop's methods by a shorter way.
    __slots__ = (
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_default_executor",
        "_exception_handler",
        "_executor_shutdown_called",
        "_listeners",
        "_socket_files",
    )

    def __init__(self) -> None:
        super().__init__()
        self._exception_handler: _ExceptionHandler | None = None
        self._default_executor: concurrent.futures.Executor | None = None
        self._executor_shutdown_called = False
        self._asyncgens: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        self._asyncgens_shutdown_called = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} running={self.is_running()} closed={self.is_closed()} debug={self.get_debug()}>"

    def __del__(
        self, _warn: Callable[..., None] = warnings.warn, _modules_are_gone: Callable[[], bool] = modules_are_gone
    ) -> None:
        # Bound early, since this module's own names may be gone as well. Then asyncio's loop says nothing either: it is
        # a cycle, and nobody can be told any more when it is finalized. The interactive shell leaves such a loop.
        if not self.is_closed() and not _modules_are_gone():
            _warn(f"unclosed event loop {self!r}", ResourceWarning, source=self)
            if not self.is_running():
                self.close()

    def close(self) -> None:
        """Close the loop: drop what is scheduled, shut the default executor down without waiting for its jobs.

        Closing twice is harmless. Follows ``asyncio.BaseEventLoop.close``.

        Raises:
            RuntimeError: if the loop is running.
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        if self.get_debug():
            logger().debug("Close %r", self)
        super().close()
        self._executor_shutdown_called = True
        executor, self._default_executor = self._default_executor, None
        if executor is not None:
            executor.shutdown(wait=False)
        self._forget_signal_handlers()

    def _forget_signal_handlers(self) -> None:
        handled = self._handled_signals()
        if handled and sys.is_finalizing():
            # The signal module may be half gone; asyncio leaves the process's handlers alone here, too.
            warnings.warn(
                f"Closing the loop {self!r} on interpreter shutdown stage, skipping signal handlers removal",
                ResourceWarning,
                stacklevel=3,
                source=self,
            )
            return
        for signal in handled:
            self.remove_signal_handler(signal)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """What ``asyncio.TimerHandle.cancel`` tells its loop; our own timer handles have a shorter way."""

    # Exception handlers.

    def get_exception_handler(self) -> _ExceptionHandler | None:
        """Return the exception handler, or None if it is the default one.

        Follows ``asyncio.loop.get_exception_handler``.
        """
        return self._exception_handler

    def set_exception_handler(self, handler: _ExceptionHandler | None) -> None:
        """Set what is called when nobody else can handle an exception.

        Follows ``asyncio.loop.set_exception_handler``.

        Args:
            handler: ``handler(loop, context)``, where ``context`` is as in ``call_exception_handler()``; ``None`` is
                the default handler, which logs.

        Raises:
            TypeError: if it is neither callable nor None.
        """
        if handler is not None and not callable(handler):
            raise TypeError(f"A callable object or None is expected, got {handler!r}")
        self._exception_handler = handler

    def default_exception_handler(self, context: _Context) -> None:
        """Log the error that ``context`` describes, with every key of it, to the ``asyncio`` logger.

        Follows ``asyncio.loop.default_exception_handler``; a handler of one's own may call it.

        Args:
            context: as in ``call_exception_handler()``. In debug mode the stack that made the running handle is added
                to it.
        """
        message = context.get("message") or "Unhandled exception in event loop"
        running = self._current_handle
        if "source_traceback" not in context and running is not None:
            made_at = getattr(running, "_source_traceback", None)
            if made_at:
                context["handle_traceback"] = made_at

        lines = [message]
        for key in sorted(context):
            if key == "source_traceback":
                text = _stack_text("Object", context[key])
            elif key == "handle_traceback":
                text = _stack_text("Handle", context[key])
            elif key in ("message", "exception"):
                continue
            else:
                text = repr(context[key])
            lines.append(f"{key}: {text}")

        # Not `exc_info=exception` alone: logging takes a falsy exception for none at all.
        exception = context.get("exception")
        exc_info = exception is not None and (type(exception), exception, exception.__traceback__)
        logger().error("\n".join(lines), exc_info=exc_info)

    def call_exception_handler(self, context: _Context) -> None:
        """Call the loop's exception handler, and log what it raises itself.

        Follows ``asyncio.loop.call_exception_handler``. From Python 3.12 a handler that was set runs in the context
        of the task, future or handle that failed.

        Args:
            context: ``message`` (str), and as far as they are known ``exception``, ``future``, ``task``, ``handle``,
                ``protocol``, ``transport``, ``socket``, ``asyncgen``, ``source_traceback``, ``handle_traceback``.

        Raises:
            SystemExit, KeyboardInterrupt: from the handler; everything else is logged.
        """
        if self._exception_handler is None:
            self._log_by_default(context, "Exception in default exception handler")
            return
        try:
            _run_in_context_of_culprit(context, self._exception_handler, self)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._log_by_default(
                {"message": "Unhandled error in exception handler", "exception": exc, "context": context},
                "Exception in default exception handler while handling an unexpected error in custom exception handler",
            )

    def _log_by_default(self, context: _Context, if_that_fails: str) -> None:
        """Call ``default_exception_handler``, which a subclass may have overridden with something that raises."""
        try:
            self.default_exception_handler(context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            logger().error(if_that_fails, exc_info=True)

    # Asynchronous generators. While it runs, the core has the two hooks installed.

    def _asyncgen_firstiter_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        if self._asyncgens_shutdown_called:
            warnings.warn(  # noqa: B028, its caller is the interpreter: `source` says what matters
                f"asynchronous generator {agen!r} was scheduled after loop.shutdown_asyncgens() call",
                ResourceWarning,
                source=self,
            )
        self._asyncgens.add(agen)

    def _asyncgen_finalizer_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        # The collector may find the generator on any thread.
        self._asyncgens.discard(agen)
        if not self.is_closed():
            self.call_soon_threadsafe(self.create_task, agen.aclose())

    async def shutdown_asyncgens(self) -> None:
        """Close every asynchronous generator that was started on this loop and is not finished.

        A generator that is started later gives a ``ResourceWarning``. What one raises while it is closed goes to the
        exception handler. Follows ``asyncio.loop.shutdown_asyncgens``.
        """
        self._asyncgens_shutdown_called = True
        closing = list(self._asyncgens)
        self._asyncgens.clear()
        if not closing:
            return
        results = await asyncio.gather(*(agen.aclose() for agen in closing), return_exceptions=True)
        for agen, result in zip(closing, results, strict=True):
            if isinstance(result, Exception):
                self.call_exception_handler(
                    {
                        "message": f"an error occurred during closing of asynchronous generator {agen!r}",
                        "exception": result,
                        "asyncgen": agen,
                    }
                )

    # Threads.

    def run_in_executor(
        self,
        executor: concurrent.futures.Executor | None,
        func: Callable[[Unpack[_Ts]], _T],
        *args: *_Ts,
    ) -> asyncio.Future[_T]:
        """Run ``func(*args)`` in a thread (or process) of ``executor`` and return a future of its result.

        Follows ``asyncio.loop.run_in_executor``.

        Args:
            executor: ``None`` is the default executor: the one that was set, or a ``ThreadPoolExecutor`` that is made
                on the first call.
            func: not a coroutine function; checked in debug mode only.
            args: its positional arguments.

        Raises:
            RuntimeError: if the loop is closed or the default executor was shut down.
            TypeError: in debug mode, if ``func`` cannot be called in a thread.
        """
        self._check_closed()
        if self.get_debug():
            _check_callback(func, "run_in_executor")
        if executor is None:
            executor = self._ready_default_executor()
        return _executor.wrap(executor.submit(func, *args), self)

    def _ready_default_executor(self) -> concurrent.futures.Executor:
        if self._executor_shutdown_called:
            raise RuntimeError("Executor shutdown has been called")
        if self._default_executor is None:
            self._default_executor = concurrent.futures.ThreadPoolExecutor(thread_name_prefix="asyncio")
        return self._default_executor

    def set_default_executor(self, executor: concurrent.futures.Executor) -> None:
        """Set the executor of ``run_in_executor(None, …)``. Follows ``asyncio.loop.set_default_executor``.

        Raises:
            TypeError: if it is no ``ThreadPoolExecutor``, the only kind that asyncio takes here.
        """
        if not isinstance(executor, concurrent.futures.ThreadPoolExecutor):
            raise TypeError("executor must be ThreadPoolExecutor instance")
        self._default_executor = executor

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109, asyncio's name
        """Wait until the default executor has done its jobs and its threads have ended.

        ``run_in_executor(None, …)`` raises from then on. Follows ``asyncio.loop.shutdown_default_executor``; on every
        Python version the timeout works as in 3.13.

        Args:
            timeout: seconds to wait; ``None`` is for ever. When they are over this warns (``RuntimeWarning``) and
                leaves the threads to themselves.
        """
        self._executor_shutdown_called = True
        executor = self._default_executor
        if executor is None:
            return
        ended = self.create_future()
        thread = threading.Thread(target=self._shut_down, args=(executor, ended))
        thread.start()
        try:
            async with asyncio.timeout(timeout):
                await ended
        except TimeoutError:
            warnings.warn(
                f"The executor did not finishing joining its threads within {timeout} seconds.",
                RuntimeWarning,
                stacklevel=2,
            )
            executor.shutdown(wait=False)
        else:
            thread.join()

    def _shut_down(self, executor: concurrent.futures.Executor, ended: asyncio.Future[None]) -> None:
        """Wait for the executor in a thread of its own, and tell the loop's."""
        failure: Exception | None = None
        try:
            executor.shutdown(wait=True)
        except Exception as exc:
            failure = exc
        # The loop may be closed at any moment, and nobody waits any more then.
        with contextlib.suppress(RuntimeError):
            self.call_soon_threadsafe(_finish, ended, failure)


_core._adopt(Loop)


def _finish(future: asyncio.Future[None], failure: Exception | None) -> None:
    if future.cancelled():
        return  # The shutdown timed out, or who awaited it was cancelled.
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(failure)


def _stack_text(what: str, stack: traceback.StackSummary) -> str:
    return f"{what} created at (most recent call last):\n{''.join(traceback.format_list(stack)).rstrip()}"


def _run_in_context_of_culprit(context: _Context, handler: _ExceptionHandler, loop: Loop) -> None:
    """Call the handler in the ``contextvars.Context`` of what failed, where that says which it is (3.12)."""
    for key in ("task", "future", "handle"):
        culprit = context.get(key)
        if culprit is not None:
            get_context = getattr(culprit, "get_context", None)
            run = None if get_context is None else getattr(get_context(), "run", None)
            if run is not None:
                run(handler, loop, context)
                return
            break
    handler(loop, context)


def _check_callback(callback: Any, method: str) -> None:
    if asyncio.iscoroutine(callback) or _iscoroutinefunction(callback):
        raise TypeError(f"coroutines cannot be used with {method}()")
    if not callable(callback):
        raise TypeError(f"a callable object was expected by {method}(), got {callback!r}")
