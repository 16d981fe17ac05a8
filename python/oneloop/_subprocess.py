"""Processes: ``subprocess_exec()`` and ``subprocess_shell()``.

``subprocess.Popen`` makes the child, with all of its keywords that make sense without text streams; here are the checks
of the others, with asyncio's messages, and what becomes of a child whose start is cancelled or fails half-way.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from typing import IO, Any, TypeVar

from . import _core
from ._checks import logger
from ._subprocess_transport import SubprocessTransport

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)
_File = int | IO[Any] | None


class Subprocesses(_core.Loop, asyncio.AbstractEventLoop):
    """The loop's methods that make child processes."""

    async def subprocess_shell(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        cmd: bytes | str,
        *,
        stdin: _File = subprocess.PIPE,
        stdout: _File = subprocess.PIPE,
        stderr: _File = subprocess.PIPE,
        universal_newlines: object = False,
        shell: object = True,
        bufsize: int = 0,
        encoding: None = None,
        errors: None = None,
        text: object = None,
        **kwargs: Any,
    ) -> tuple[asyncio.SubprocessTransport, _ProtocolT]:
        """Run ``cmd`` by the shell. Follows ``asyncio.loop.subprocess_shell``.

        Args:
            protocol_factory: makes the protocol, commonly an ``asyncio.SubprocessProtocol``.
            cmd: what the shell is to run.
            stdin, stdout, stderr: a pipe of the transport's by default; ``None`` inherits, and whatever
                ``subprocess.Popen`` takes.
            universal_newlines, shell, bufsize, encoding, errors, text: only their defaults: the streams are of bytes.
            kwargs: every other keyword of ``subprocess.Popen``.

        Raises:
            ValueError: for what streams of bytes cannot be.
            OSError: if the child cannot be started.
        """
        if not isinstance(cmd, (bytes, str)):
            raise ValueError("cmd must be a string")
        if not shell:
            raise ValueError("shell must be True")
        _check_binary(universal_newlines, bufsize, text, encoding, errors)
        label = f"run shell command {cmd!r}"
        files = (stdin, stdout, stderr)
        return await self._run_child(protocol_factory, label, cmd, files, shell=True, **kwargs)

    async def subprocess_exec(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        program: Any,
        *args: Any,
        stdin: _File = subprocess.PIPE,
        stdout: _File = subprocess.PIPE,
        stderr: _File = subprocess.PIPE,
        universal_newlines: object = False,
        shell: object = False,
        bufsize: int = 0,
        encoding: None = None,
        errors: None = None,
        text: object = None,
        **kwargs: Any,
    ) -> tuple[asyncio.SubprocessTransport, _ProtocolT]:
        """Run ``program`` with ``args``. Follows ``asyncio.loop.subprocess_exec``.

        Args:
            protocol_factory: makes the protocol, commonly an ``asyncio.SubprocessProtocol``.
            program, args: strings, bytes or paths.
            stdin, stdout, stderr: as in ``subprocess_shell()``.
            universal_newlines, shell, bufsize, encoding, errors, text: only their defaults: the streams are of bytes.
            kwargs: every other keyword of ``subprocess.Popen``.

        Raises:
            ValueError: for what streams of bytes cannot be.
            OSError: if the child cannot be started; no such program, above all.
        """
        if shell:
            raise ValueError("shell must be False")
        _check_binary(universal_newlines, bufsize, text, encoding, errors)
        # Without the arguments, which may be secret, or long.
        label = f"execute program {program!r}"
        files = (stdin, stdout, stderr)
        return await self._run_child(protocol_factory, label, (program, *args), files, shell=False, **kwargs)

    async def _run_child(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        label: str,
        args: Any,
        files: tuple[_File, _File, _File],
        **kwargs: Any,
    ) -> tuple[SubprocessTransport, _ProtocolT]:
        protocol = protocol_factory()
        debug = self.get_debug()
        if debug:
            logger().debug("%s%s", label, _describe(*files))
        transport = self._start_child(protocol, args, files, kwargs)
        if debug:
            program = args if isinstance(args, (bytes, str)) else args[0]
            logger().debug("process %r created: pid %s", program, transport.get_pid())
        try:
            await transport.connect()
        except (SystemExit, KeyboardInterrupt):
            transport.close()
            raise
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        if debug:
            logger().info("%s: %r", label, transport)
        return transport, protocol

    def _start_child(
        self, protocol: asyncio.BaseProtocol, args: Any, files: tuple[_File, _File, _File], keywords: dict[str, Any]
    ) -> SubprocessTransport:
        """Start a child; kill it if its exit cannot be watched."""
        stdin, stdout, stderr = files
        child = subprocess.Popen(
            args, stdin=stdin, stdout=stdout, stderr=stderr, universal_newlines=False, bufsize=0, **keywords
        )
        try:
            return SubprocessTransport(self, protocol, child)
        except BaseException:
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe is not None:
                    pipe.close()
            try:
                child.kill()
            except PermissionError:
                pass  # It runs as another user by now. The subprocess module will reap it some day.
            else:
                child.wait()
            raise


def _check_binary(universal_newlines: object, bufsize: int, text: object, encoding: object, errors: object) -> None:
    """Raise ``ValueError`` for what would make the child's streams anything but raw bytes."""
    if universal_newlines:
        raise ValueError("universal_newlines must be False")
    if bufsize != 0:
        raise ValueError("bufsize must be 0")
    if text:
        raise ValueError("text must be False")
    if encoding is not None:
        raise ValueError("encoding must be None")
    if errors is not None:
        raise ValueError("errors must be None")


def _describe(stdin: _File, stdout: _File, stderr: _File) -> str:
    """The child's files as asyncio's debug messages show them."""
    words = []
    if stdin is not None:
        words.append(f"stdin={_name(stdin)}")
    if stdout is not None and stderr == subprocess.STDOUT:
        words.append(f"stdout=stderr={_name(stdout)}")
    else:
        if stdout is not None:
            words.append(f"stdout={_name(stdout)}")
        if stderr is not None:
            words.append(f"stderr={_name(stderr)}")
    return "".join(f" {word}" for word in words)


def _name(file: _File) -> str:
    if file == subprocess.PIPE:
        return "<pipe>"
    if file == subprocess.STDOUT:
        return "<stdout>"
    return repr(file)
