# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What large messages cost in memory: once they have come, no page is asked of the system again for the next one."""

import os
import platform
import subprocess
import sys

import pytest

SWITCH = "ONELOOP_KEEP_MEMORY"

# Many connections have a message each at once, whole in their readers' buffers, and all are taken out, again and again:
# how many pages a message of the second half cost.
PROGRAM = """
import asyncio, resource, socket
import oneloop

SIZE, ROUNDS, CONNECTIONS = 100_000, 20, 30

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

async def take(reader, message):
    come = 0
    while come < SIZE:
        part = await reader.read(65536)
        assert part == message[come:come + len(part)]
        come += len(part)

async def main():
    pairs = [socket.socketpair() for _ in range(CONNECTIONS)]
    streams = [await asyncio.open_connection(sock=ours, limit=2**20) for ours, _ in pairs]
    message = memoryview(bytes(range(250)) * (SIZE // 250))
    for number in range(2 * ROUNDS):
        if number == ROUNDS:
            before = faults()
        for _, peer in pairs:
            assert peer.send(message) == SIZE
        # One pass of the loop reads from all of them.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for reader, _ in streams:
            await take(reader, message)
    print((faults() - before) / (ROUNDS * CONNECTIONS))
    for _, writer in streams:
        writer.close()
        await writer.wait_closed()
    for _, peer in pairs:
        peer.close()

oneloop.run(main())
"""


def pages_per_message(switch, **limits):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "PYTHONMALLOC"))}
    # Where reads are native, the pieces happen not to be freed at the end of memory, where the rule looks.
    kept["ONELOOP_NATIVE_STREAMS"] = "0"
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**kept, **limits, SWITCH: switch},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr
    return float(child.stdout)


ONLY_GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other rules")


@ONLY_GLIBC
def test_memory_of_large_messages_is_used_again():
    assert pages_per_message("1") < 1


@ONLY_GLIBC
@pytest.mark.parametrize("switch", ["0", "1"])
def test_a_limit_of_the_users_stands(switch):
    """With this one the C library asks the system for each piece of memory that is large, and hands it back."""
    assert pages_per_message(switch, MALLOC_MMAP_THRESHOLD_="65536") > 10


@ONLY_GLIBC
def test_the_switch_leaves_it_to_the_c_library():
    """Its own rule is to hand back what is free at the end of its memory."""
    assert pages_per_message("0") > pages_per_message("1")
