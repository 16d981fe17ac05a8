# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What the calls that begin TLS refuse, with asyncio's words; and a Python that has no `ssl`."""

import asyncio
import contextlib
import gc
import os
import socket
import ssl

from helpers.compare import like_asyncio
from helpers.loops import steps
from helpers.recorder import Recorder
from helpers.scene import scene
from helpers.tls import HOST, client_context, same


def test_arguments(loop_factory):
    def scenario(factory):
        with contextlib.closing(factory()) as loop:
            sock = socket.socket()
            wrapped = client_context().wrap_socket(socket.socket(), server_hostname=HOST)
            ours, theirs = socket.socketpair()
            third, fourth = socket.socketpair()
            context = client_context()
            calls = [
                lambda: loop.create_connection(Recorder, "127.0.0.1", 1, server_hostname=HOST),
                lambda: loop.create_connection(Recorder, "127.0.0.1", 1, ssl_handshake_timeout=1),
                lambda: loop.create_connection(Recorder, "127.0.0.1", 1, ssl_shutdown_timeout=1),
                lambda: loop.create_connection(Recorder, None, 1, ssl=context),
                lambda: loop.create_connection(Recorder, "", 1, ssl=context),
                lambda: loop.create_connection(Recorder, sock=sock, ssl=context),
                lambda: loop.create_connection(Recorder, sock=wrapped),
                lambda: loop.create_connection(Recorder, sock=wrapped, ssl=context, server_hostname=HOST),
                lambda: loop.create_server(Recorder, "127.0.0.1", 0, ssl=True),
                lambda: loop.create_server(Recorder, "127.0.0.1", 0, ssl=False),
                lambda: loop.create_server(Recorder, "127.0.0.1", 0, ssl_handshake_timeout=1),
                lambda: loop.create_server(Recorder, "127.0.0.1", 0, ssl_shutdown_timeout=1),
                lambda: loop.create_server(Recorder, sock=wrapped),
                lambda: loop.create_unix_connection(Recorder, "/nowhere", ssl=context),
                lambda: loop.create_unix_connection(Recorder, "/nowhere", server_hostname=HOST),
                lambda: loop.create_unix_connection(Recorder, "/nowhere", ssl_handshake_timeout=1),
                lambda: loop.create_unix_connection(Recorder, "/nowhere", ssl_shutdown_timeout=1),
                lambda: loop.create_unix_server(Recorder, "/nowhere/s", ssl=True),
                lambda: loop.create_unix_server(Recorder, "/nowhere/s", ssl_handshake_timeout=1),
                lambda: loop.create_unix_server(Recorder, "/nowhere/s", ssl_shutdown_timeout=1),
                lambda: loop.connect_accepted_socket(Recorder, sock, ssl_handshake_timeout=1),
                lambda: loop.connect_accepted_socket(Recorder, sock, ssl_shutdown_timeout=1),
                lambda: loop.connect_accepted_socket(Recorder, wrapped),
                lambda: loop.connect_accepted_socket(Recorder, ours, ssl=True),
                lambda: loop.connect_accepted_socket(Recorder, third, ssl=context),
            ]
            seen = []
            for call in calls:
                try:
                    seen.append(loop.run_until_complete(call()))
                except Exception as error:
                    seen.append((type(error).__name__, same(error)))
            for each in (sock, wrapped, ours, theirs, third, fourth):
                each.close()
            return seen

    seen = like_asyncio(scenario, loop_factory)
    assert all(isinstance(each, tuple) and isinstance(each[0], str) for each in seen)


def test_without_the_ssl_module(oneloop):
    """A Python that was built without `ssl` has no TLS, and everything else."""
    from helpers.children import run_program

    finished = run_program(
        """
        import sys
        sys.modules["ssl"] = sys.modules["_ssl"] = None
        import asyncio, socket
        from helpers.loops import run

        async def main():
            loop = asyncio.get_running_loop()
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            transport, _ = await loop.create_connection(asyncio.Protocol, *address)
            for call in (
                lambda: loop.start_tls(transport, asyncio.Protocol(), None),
                lambda: loop.create_connection(asyncio.Protocol, *address, ssl=True),
            ):
                try:
                    await call()
                except RuntimeError as error:
                    print(error)
            transport.close()
            server.close()
            await server.wait_closed()

        run(main())
        """,
        "oneloop",
    )
    assert finished.quiet, finished.err
    assert finished.out == "Python ssl module is not available\nstdlib ssl module not available\n"


def test_arguments_of_start_tls(loop_factory):
    def scenario(factory):
        with scene(factory) as stage:
            loop, transport, protocol = stage.loop, stage.transport, stage.protocol
            context = client_context()

            class Incapable(asyncio.Transport):
                def __repr__(self):
                    return "<incapable>"

            calls = [
                lambda: loop.start_tls(transport, protocol, None),
                lambda: loop.start_tls(transport, protocol, True),
                lambda: loop.start_tls(transport, protocol, ssl),
                lambda: loop.start_tls(Incapable(), protocol, context),
                lambda: loop.start_tls(None, protocol, context),
                lambda: loop.start_tls(transport, protocol, context, ssl_handshake_timeout=0),
                lambda: loop.start_tls(transport, protocol, context, ssl_handshake_timeout=-1.5),
                lambda: loop.start_tls(transport, protocol, context, ssl_shutdown_timeout=0),
                lambda: loop.start_tls(transport, protocol, context, ssl_handshake_timeout="1"),
                lambda: loop.start_tls(transport, protocol, context, server_side=True),
                lambda: loop.start_tls(transport, protocol, context, server_hostname=7),
            ]
            seen = []
            for call in calls:
                try:
                    seen.append(loop.run_until_complete(call()))
                except Exception as error:
                    seen.append((type(error).__name__, same(error)))
            return seen, transport.is_reading(), transport.get_protocol() is protocol

    seen, is_reading, is_protocol = like_asyncio(scenario, loop_factory)
    assert is_reading
    assert is_protocol
    assert all(isinstance(each, tuple) for each in seen)
    gc.collect()


def test_a_pipe_s_transport_cannot_carry_it(loop_factory):
    def scenario(factory):
        loop = factory()
        reading, writing = os.pipe()
        pipe = os.fdopen(writing, "wb", 0)
        transport, protocol = loop.run_until_complete(loop.connect_write_pipe(Recorder, pipe))
        try:
            loop.run_until_complete(loop.start_tls(transport, protocol, client_context(), server_hostname=HOST))
        except TypeError as error:
            return "is not supported by start_tls()" in str(error)
        finally:
            transport.abort()
            steps(loop, 3)
            os.close(reading)
            loop.close()

    assert like_asyncio(scenario, loop_factory) is True
