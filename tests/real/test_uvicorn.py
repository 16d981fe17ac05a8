"""uvicorn, started by its own command line, serving a FastAPI application: under wrk, and to clients of every kind."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import struct
import urllib.request

import pytest
from websockets.sync.client import connect

from real.web import CommandLine, load

LOOPS = {"asyncio": "asyncio", "oneloop": "oneloop:new_event_loop"}


def uvicorn(loop_name: str, *options: str) -> CommandLine:
    address = () if "--uds" in options else ("--port", "0")
    return CommandLine(
        *(loop_name, "uvicorn", "real.apps.fastapi_app:app", "--loop", LOOPS[loop_name]),
        *("--no-access-log", *address, *options),
        ready=r"running on unix socket" if "--uds" in options else r"running on http://[\d.]+:(\d+)",
    )


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        body = answer.read()
    assert isinstance(body, bytes)
    return body


def complaints(log: str) -> list[str]:
    return [line for line in log.splitlines() if "ERROR" in line or "Traceback" in line or "WARNING" in line]


def test_under_load(loop_name: str) -> None:
    with uvicorn(loop_name) as server:
        assert json.loads(get(f"{server.url}/loop")) == loop_name
        for path in ("/plain", "/json", "/thread"):
            load(server.url + path)
        assert complaints(server.log()) == []


def test_under_load_that_is_unkind(loop_name: str) -> None:
    """Bodies in many pieces, both ways, and connections that come and go."""
    with uvicorn(loop_name) as server:
        load(f"{server.url}/stream")
        load(f"{server.url}/echo", script="echo.lua")
        load(f"{server.url}/plain", header="Connection: close")
        assert get(f"{server.url}/plain") == b"Hello, World!"
        assert complaints(server.log()) == []


def test_under_load_with_the_other_parser(loop_name: str) -> None:
    with uvicorn(loop_name, "--http", "h11") as server:
        load(f"{server.url}/json")
        load(f"{server.url}/echo", script="echo.lua")
        assert complaints(server.log()) == []


def test_answers_are_whole(loop_name: str) -> None:
    with uvicorn(loop_name) as server:
        assert json.loads(get(f"{server.url}/json?number=100000"))["numbers"] == list(range(100_000))
        assert get(f"{server.url}/stream?chunks=1000") == b"x" * 4096 * 1000
        body = os.urandom(10_000_000)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        for _ in range(3):  # on one connection
            connection.request("POST", "/echo", body)
            assert connection.getresponse().read() == body
        chunks = (body[start : start + 100_000] for start in range(0, len(body), 100_000))
        connection.request("POST", "/echo", chunks, encode_chunked=True)
        assert connection.getresponse().read() == body
        connection.close()
        with connect(f"ws://127.0.0.1:{server.port}/socket") as websocket:
            for text in ("", "stressed", "ab" * 200_000):
                websocket.send(text)
                assert websocket.recv(20) == text[::-1]
        assert complaints(server.log()) == []


def test_clients_that_go_away_in_the_middle(loop_name: str) -> None:
    with uvicorn(loop_name) as server:
        for request in (
            b"GET /stream?chunks=100000 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nonly this",
            b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /pl",
        ):
            for reset in (False, True):
                with server.connect() as client:
                    client.sendall(request)
                    if b"stream" in request:
                        assert client.recv(100).startswith(b"HTTP/1.1 200")
                    if reset:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert get(f"{server.url}/plain") == b"Hello, World!"
        assert server.end(signal.SIGTERM) == -signal.SIGTERM
        assert "lifespan: ended" in server.log()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_lets_the_request_in_flight_finish(loop_name: str, signum: signal.Signals) -> None:
    status = {signal.SIGTERM: -signal.SIGTERM, signal.SIGINT: 0}[signum]  # that is how uvicorn ends
    with uvicorn(loop_name) as server, server.connect() as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_for_log("slow: begun")
        assert server.end(signum) == status
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.read() == b"slow, but whole"
        assert "lifespan: ended" in server.log()
        assert "Finished server process" in server.log()


def test_several_processes(loop_name: str) -> None:
    with uvicorn(loop_name, "--workers", "2") as server:
        server.wait_for_log("(?s)(startup complete.*){2}")
        assert json.loads(get(f"{server.url}/loop")) == loop_name
        load(f"{server.url}/plain")
        assert server.end(signal.SIGTERM) == 0
        assert server.log().count("lifespan: ended") == 2


def test_a_unix_socket(loop_name: str, tmp_path: object) -> None:
    path = f"{tmp_path}/socket"
    with uvicorn(loop_name, "--uds", path), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"GET /plain HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.read() == b"Hello, World!"
