# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Servers and fork: workers that share one listening socket, each with a loop of its own, as pre-forking servers have
them; and a process with a server and connections that forks, whose child must not take anything from it.
"""

import socket
import textwrap

import pytest
from helpers import children

HOST = "127.0.0.1"


def test_workers_that_share_a_listening_socket(loop_name):
    program = r"""
        import asyncio, os, signal, socket, sys
        from helpers import loops

        class Pid(asyncio.Protocol):
            def connection_made(self, transport):
                transport.write(b"%d" % os.getpid())
                transport.close()

        async def work():
            loop = asyncio.get_running_loop()
            ended = asyncio.Event()
            loop.add_signal_handler(signal.SIGTERM, ended.set)
            server = await loop.create_server(Pid, sock=listener)
            os.write(1, b"%d\n" % os.getpid())  # in one piece
            await ended.wait()
            server.close()

        listener = socket.create_server(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        workers = []
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    loops.run(work())
                    code = 0
                finally:
                    os._exit(code)
            workers.append(pid)
        # Also when the test is over before its time.
        sys.stdin.readline()
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
        print(*(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers))
    """
    child = children.start(["-c", textwrap.dedent(program)], loop_name)
    try:
        port = int(child.stdout.readline())
        workers = {int(child.stdout.readline()) for _ in range(3)}
        seen = set()
        for _ in range(60):
            with socket.create_connection((HOST, port), timeout=10) as client:
                seen.add(int(client.recv(100)))
    finally:
        finished = children.finish(child, "end\n")
    assert seen
    assert seen <= workers
    assert (finished.out, finished.err, finished.returncode) == ("0 0 0\n", "", 0)


ANYBODYS = {
    "exits at once": "os._exit(0)",
    "runs a loop of its own": "loops.run(asyncio.sleep(0.001)); os._exit(0)",
}
# asyncio's child takes the parent's watches away, in the set that both share.
OURS = {
    "closes the server": "server.close(); os._exit(0)",
    "closes the server and its clients": "server.close(); [each.abort() for each in accepted]; os._exit(0)",
    "aborts the connections": "[transport.abort() for transport in accepted]; os._exit(0)",
    "drops everything": "server = None; accepted.clear(); gc.collect(); os._exit(0)",
}


@pytest.mark.parametrize("leaves", ANYBODYS)
def test_a_process_with_a_server_that_forks(loop_name, leaves):
    check(loop_name, ANYBODYS[leaves])


@pytest.mark.parametrize("leaves", OURS)
def test_a_child_that_ends_what_it_inherits(oneloop, leaves):
    check("oneloop", OURS[leaves])


def check(loop_name, action):
    program = f"""
        import asyncio, gc, os, socket
        from helpers import loops

        class Echo(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport
                accepted.append(transport)
            def data_received(self, data):
                self.transport.write(data)

        def ask(client, data):
            client.send(data)
            return asyncio.get_running_loop().run_in_executor(None, client.recv, 100)

        async def main():
            global server, loop
            loop = asyncio.get_running_loop()
            server = await loop.create_server(Echo, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            with socket.create_connection(address) as before:
                while not accepted:
                    await asyncio.sleep(0.001)
                pid = os.fork()
                if pid == 0:
                    try:
                        {action}
                    finally:
                        os._exit(9)
                status = await loop.run_in_executor(None, os.waitpid, pid, 0)
                assert os.waitstatus_to_exitcode(status[1]) == 0, status
                assert await asyncio.wait_for(ask(before, b"before"), 5) == b"before"
                with socket.create_connection(address) as after:
                    assert await asyncio.wait_for(ask(after, b"after"), 5) == b"after"
            server.close()
            for transport in accepted:
                transport.abort()
            await asyncio.sleep(0)

        accepted = []
        loops.run(main())
        print("done")
    """
    finished = children.run_program(program, loop_name, options=("-W", "ignore::DeprecationWarning"))
    assert (finished.out, finished.err) == ("done\n", "")
