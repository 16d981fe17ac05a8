"""What ``getaddrinfo()`` answers, where it is not asked (literals), and in which order families take their turns.

An overridden ``loop.getaddrinfo()`` is honoured, and as with asyncio it is not asked for a host that is an address
already.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

AddressInfo: TypeAlias = tuple[int, int, int, str, Any]
"""Family, type, protocol, canonical name and address: an item of ``socket.getaddrinfo()``'s answer."""

_PROTOCOL_OF_TYPE: dict[int, int] = {socket.SOCK_STREAM: socket.IPPROTO_TCP, socket.SOCK_DGRAM: socket.IPPROTO_UDP}


async def resolve(
    loop: asyncio.AbstractEventLoop,
    address: tuple[Any, ...],
    *,
    family: int,
    kind: int = socket.SOCK_STREAM,
    proto: int = 0,
    flags: int = 0,
) -> Sequence[AddressInfo]:
    """Return what ``address`` stands for: at once if its host is a literal, and by ``loop.getaddrinfo()`` if not.

    Args:
        address: host and port, and for IPv6 perhaps flow information and scope.
        family, kind, proto, flags: as in ``socket.getaddrinfo()``; ``kind`` is its ``type``.

    Raises:
        OSError: what ``loop.getaddrinfo()`` raises.
    """
    host, port = address[:2]
    found = literal(host, port, family, kind, proto, *address[2:])
    if found is not None:
        return [found]
    return await loop.getaddrinfo(host, port, family=family, type=kind, proto=proto, flags=flags)


def interleave(infos: Iterable[AddressInfo], first: int) -> list[AddressInfo]:
    """Return ``infos`` with their families taking turns; the first ``first`` are of the family that came first.

    This is ``interleave`` of ``asyncio.loop.create_connection`` (First Address Family Count in RFC 8305).
    """
    by_family: dict[int, list[AddressInfo]] = {}
    for info in infos:
        by_family.setdefault(info[0], []).append(info)
    families = list(by_family.values())
    if not families:
        return []
    head = families[0][: max(first - 1, 0)]
    families[0] = families[0][len(head) :]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*families))
    return [*head, *(info for info in turns if info is not None)]


def literal(
    host: Any, port: Any, family: int, kind: int, proto: int, flowinfo: Any = 0, scope_id: Any = 0
) -> AddressInfo | None:
    """Return what ``getaddrinfo()`` would answer, if neither a name nor a zone is to be looked up in the address."""
    proto_of_type = _PROTOCOL_OF_TYPE.get(kind)
    if host is None or proto_of_type is None or proto not in (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return None
    number = _numeric_port(port)
    if number is None:
        return None
    if isinstance(host, bytes):
        host = host.decode("idna")
    if "%" in host:
        return None
    for candidate in (socket.AF_INET, socket.AF_INET6) if family == socket.AF_UNSPEC else (family,):
        try:
            socket.inet_pton(candidate, host)
        except OSError:
            continue
        if candidate == socket.AF_INET6:
            return candidate, kind, proto_of_type, "", (host, number, flowinfo, scope_id)
        return candidate, kind, proto_of_type, "", (host, number)
    return None


def _numeric_port(port: Any) -> int | None:
    if port is None or port in ("", b""):
        return 0
    try:
        return int(port)
    except (TypeError, ValueError):
        return None  # A service's name, or a mistake, which getaddrinfo() knows how to report.
