# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""The four sock_ calls that receive, so that a test can go through them; and a call that had the time to wait."""

from helpers.loops import steps


def waiting(loop, coroutine):
    """A task that had the time to get to where it waits."""
    task = loop.create_task(coroutine)
    steps(loop, 3)
    return task


READS = {
    "sock_recv": (lambda loop, sock: loop.sock_recv(sock, 100), lambda result, buffer: result),
    "sock_recv_into": (lambda loop, sock, buffer: loop.sock_recv_into(sock, buffer), lambda n, buffer: buffer[:n]),
    "sock_recvfrom": (lambda loop, sock: loop.sock_recvfrom(sock, 100), lambda result, buffer: result[0]),
    "sock_recvfrom_into": (
        lambda loop, sock, buffer: loop.sock_recvfrom_into(sock, buffer),
        lambda result, buffer: buffer[: result[0]],
    ),
}


def reading(loop, call, sock):
    """The call as a coroutine that returns the bytes."""
    start, get = READS[call]
    buffer = bytearray(100)

    async def read():
        result = await (start(loop, sock, buffer) if "into" in call else start(loop, sock))
        return bytes(get(result, buffer))

    return read()
