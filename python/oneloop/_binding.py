"""Binding: what is set on a socket before, and the files that Unix sockets leave behind; the messages are asyncio's."""

from __future__ import annotations

import os
import socket
import stat

from ._checks import logger


def set_reuse_port(sock: socket.socket) -> None:
    """Let others who say the same have the port, too.

    Raises:
        ValueError: where the system does not have that.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError("reuse_port not supported by socket module")
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        raise ValueError(
            "reuse_port not supported by socket module, SO_REUSEPORT defined but not implemented."
        ) from None


def has_file(path: str | bytes) -> bool:
    """Whether it is a file's path: not an abstract name, and not the empty one, for which the kernel makes up such."""
    return bool(path) and path[0] not in (0, "\x00")


def remove_stale(path: str | bytes) -> None:
    """Remove the socket that an earlier program left at ``path``, if there is one; what fails is logged."""
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.remove(path)
    except FileNotFoundError:
        pass
    except OSError as failure:
        # One may be allowed to make a socket here and not to look; binding tells.
        logger().error("Unable to check or remove stale UNIX socket %r: %r", path, failure)


def remove_own(path: str | bytes, inode: int | None) -> None:
    """Remove the socket at ``path`` if it is the one with this inode; what fails is logged."""
    try:
        if os.stat(path).st_ino == inode:
            os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as failure:
        logger().error("Unable to clean up listening UNIX socket %r: %r", path, failure)
