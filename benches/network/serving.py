"""The measured server process: one server on one loop.

    PYTHON -m benches.network.serving LOOP SERVER [--unix PATH] [--tls CERTIFICATE] [--size N] [--core N]

Prints one line of JSON once it can be connected to, `{"address": …}`, or why it cannot, `{"unavailable": …}`; then it
serves until it is killed. What it costs is read from outside, by the load generator, off this process's own clock.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import ssl
from collections.abc import Sequence

from benches.network.servers import SERVERS, Where
from benches.suite import loops

# Whoever started it may have died; nobody needs it for as long as that.
LIFETIME = 600


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    signal.alarm(LIFETIME)
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    try:
        loop = loops.factory(options.loop)()
        where = Where(options.unix, tls(options.tls) if options.tls else None, options.size)
        address = loop.run_until_complete(SERVERS[options.server](loop, where))
    except Exception as error:  # a loop that lacks something is a cell of the table, not a crash
        print(json.dumps({"unavailable": f"{type(error).__name__}: {error}"}), flush=True)
        return
    print(json.dumps({"address": address}), flush=True)
    loop.run_forever()


def tls(certificate: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate)
    return context


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches.network.serving", description="One server on one loop.")
    parser.add_argument("loop")
    parser.add_argument("server", choices=SERVERS)
    parser.add_argument("--unix")
    parser.add_argument("--tls")
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--core", type=int)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
