"""aiohttp's run_app, hypercorn, granian and gunicorn: each started as its documentation says, loaded, and ended."""

from __future__ import annotations

import http.client
import json
import re
import signal
import sys

import pytest

from benches.real.services import free_port
from real.web import CommandLine, load


def get(server: CommandLine, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def without_bug_of_asyncio(log: str, loop_name: str) -> str:
    """asyncio's writelines of 3.12.1 and 3.13.0 fails on a connection that its client has left: it is not asked."""
    if loop_name != "asyncio" or sys.version_info[:3] not in ((3, 12, 1), (3, 13, 0)):
        return log
    entry = (
        r"Traceback(?:(?!Traceback).)*?in writelines\n(?:(?!Traceback).)*?TypeError: 'NoneType' object is not callable"
    )
    return re.sub(entry, "", log, flags=re.DOTALL)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_run_app_of_aiohttp(loop_name: str, signum: signal.Signals) -> None:
    with CommandLine(loop_name, "real.apps.aiohttp_app") as server:
        server.wait_for_log("background: begun")
        assert json.loads(get(server, "/loop")) == loop_name
        load(f"{server.url}/loop")
        with server.connect() as client:
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            server.wait_for_log("slow: begun")
            assert server.end(signum) == 0
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert answer.read() == b"slow, but whole"
        assert server.log().endswith("background: ended\nrun_app returned\n")


def test_hypercorn(loop_name: str) -> None:
    with CommandLine(loop_name, "real.apps.run_hypercorn", ready=r"Running on http://127.0.0.1:(\d+)") as server:
        assert get(server, "/").decode() == loop_name
        load(f"{server.url}/")
        load(f"{server.url}/echo", script="echo.lua")
        assert server.end(signal.SIGTERM) == 0
        assert "lifespan.shutdown" in server.log()
        assert "Traceback" not in server.log()


def test_granian(loop_name: str) -> None:
    ready = r"(?s)Listening at: http://127.0.0.1:(\d+).*Started worker-1"
    with CommandLine(loop_name, "real.apps.run_granian", str(free_port()), ready=ready) as server:
        assert get(server, "/").decode() == loop_name
        load(f"{server.url}/")
        load(f"{server.url}/echo", script="echo.lua")
        # What its worker logs then is not looked at: on asyncio too, one in forty dies at its exit, in its own threads.
        assert server.end(signal.SIGTERM) == 0


def test_gunicorn(loop_name: str) -> None:
    """Its workers are forked from a master, which has no loop of its own."""
    options = ["--bind", "127.0.0.1:0", "--workers", "2", "-k", "real.apps.gunicorn_worker.Worker"]
    ready = r"(?s)Listening at: http://127.0.0.1:(\d+).*(lifespan.startup.*){2}"
    with CommandLine(loop_name, "gunicorn", *options, "real.apps.asgi:app", ready=ready) as server:
        assert get(server, "/").decode() == loop_name
        load(f"{server.url}/")
        load(f"{server.url}/echo", script="echo.lua")
        assert server.end(signal.SIGTERM) == 0
        assert server.log().count("lifespan.shutdown") == 2
        assert "Traceback" not in without_bug_of_asyncio(server.log(), loop_name)
