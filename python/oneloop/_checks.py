"""Checks of arguments that the connecting and the listening calls share; the messages are asyncio's."""

from __future__ import annotations

import logging
import socket
import sys
from asyncio import base_events
from types import ModuleType
from typing import Any

# From 3.13 on asyncio's messages give a failure's number, too.
_SAYS_NUMBER = sys.version_info >= (3, 13)

ssl_module: ModuleType | None
try:
    import ssl as ssl_module
except ImportError:  # a Python that was built without it
    ssl_module = None


def logger() -> logging.Logger:
    """asyncio's logger, under the name by which asyncio's loop logs: it is there that people replace it."""
    logger: logging.Logger = vars(base_events)["logger"]
    return logger


def modules_are_gone() -> bool:
    """Whether the interpreter is clearing its modules, at the very end: their names are None then."""
    module: ModuleType | None = globals()["base_events"]
    return module is None or vars(module)["logger"] is None


def reason(failure: OSError) -> str:
    """What asyncio's messages say of a failed system call."""
    if _SAYS_NUMBER or failure.strerror is None:
        return str(failure).lower()
    return failure.strerror.lower()


def refuse_ssl_socket(sock: socket.socket | None) -> None:
    """Raise ``TypeError`` for a socket that does TLS by itself."""
    if ssl_module is not None and isinstance(sock, ssl_module.SSLSocket):
        raise TypeError("Socket cannot be of type SSLSocket")


def require_stream_socket(sock: socket.socket) -> None:
    """Raise ``ValueError`` unless ``sock`` is a stream socket, of whatever family."""
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A Stream Socket was expected, got {sock!r}")


def require_unix_socket(sock: socket.socket) -> None:
    """Raise ``ValueError`` unless ``sock`` is a Unix stream socket."""
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")


def check_tls_timeouts(ssl: Any, handshake: float | None, shutdown: float | None) -> None:
    """Raise ``ValueError`` for a TLS time limit on a connection without TLS."""
    if ssl:
        return
    if handshake is not None:
        raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
    if shutdown is not None:
        raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")


def check_server_tls(ssl: Any, handshake: float | None, shutdown: float | None) -> None:
    """The same for a server, which takes a context and not ``True``: there is no default certificate."""
    if isinstance(ssl, bool):
        raise TypeError("ssl argument must be an SSLContext or None")
    check_tls_timeouts(ssl, handshake, shutdown)
