"""The other side of idle connections: connects as often as it is told, and stays until its input ends.

PYTHON peers.py HOST PORT COUNT plain|tls
"""

from __future__ import annotations

import resource
import socket
import ssl
import sys


def main(host: str, port: str, count: str, kind: str) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    held = []
    for _ in range(int(count)):
        connected = socket.create_connection((host, int(port)))
        held.append(context.wrap_socket(connected) if kind == "tls" else connected)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
