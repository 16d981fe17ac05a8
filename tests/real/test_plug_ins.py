"""How test frameworks are told to use the loop: each runs a small suite of its own, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from helpers import children

ECHO = """
import asyncio

async def echo_once():
    async def serve(reader, writer):
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\\n")
        assert await reader.read() == b"hello\\n"
        writer.close()
        await writer.wait_closed()
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]
"""


def run(folder: Path, loop_name: str, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=children.environment(loop_name, PYTHONWARNINGS="error"),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def write(folder: Path, **files: str) -> None:
    for name, text in {"echo": ECHO, **files}.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")


def test_pytest_asyncio(loop_name: str, tmp_path: Path) -> None:
    write(
        tmp_path,
        conftest="""
            from helpers import loops

            def pytest_asyncio_loop_factories(config, item):
                return {"chosen": loops.new_event_loop}
        """,
        test_suite=f"""
            import asyncio, pytest, pytest_asyncio
            from echo import echo_once

            @pytest_asyncio.fixture
            async def server():
                async def close(reader, writer):
                    writer.close()
                async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
                    yield server

            @pytest.mark.asyncio
            async def test_loop():
                assert await echo_once() == "{loop_name}"

            @pytest.mark.asyncio
            async def test_fixture(server):
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                assert await reader.read() == b""
                writer.close()
                await writer.wait_closed()
        """,
    )
    assert "2 passed" in run(tmp_path, loop_name, "pytest", "-p", "no:anyio")


def test_anyio_s_plug_in(loop_name: str, tmp_path: Path) -> None:
    write(
        tmp_path,
        test_suite=f"""
            import pytest
            from echo import echo_once
            from helpers import loops

            @pytest.fixture
            def anyio_backend():
                return "asyncio", {{"loop_factory": loops.new_event_loop}}

            @pytest.mark.anyio
            async def test_loop():
                assert await echo_once() == "{loop_name}"
        """,
    )
    assert "1 passed" in run(tmp_path, loop_name, "pytest", "-p", "no:asyncio")


@pytest.mark.skipif(sys.version_info < (3, 13), reason="IsolatedAsyncioTestCase has a loop_factory from 3.13 on")
def test_isolated_asyncio_test_case(loop_name: str, tmp_path: Path) -> None:
    write(
        tmp_path,
        test_suite=f"""
            import unittest
            from echo import echo_once
            from helpers import loops

            class Suite(unittest.IsolatedAsyncioTestCase):
                loop_factory = staticmethod(loops.new_event_loop)

                async def asyncSetUp(self):
                    self.assertEqual(await echo_once(), "{loop_name}")

                async def test_loop(self):
                    self.assertEqual(await echo_once(), "{loop_name}")
        """,
    )
    assert "Ran 1 test" in run(tmp_path, loop_name, "unittest", "test_suite")


def test_unittest_by_the_command_line(loop_name: str, tmp_path: Path) -> None:
    """Where nothing else takes a loop: `python -m oneloop -m …` on every version that has policies."""
    write(
        tmp_path,
        test_suite=f"""
            import unittest
            from echo import echo_once

            class Suite(unittest.IsolatedAsyncioTestCase):
                async def test_loop(self):
                    self.assertEqual(await echo_once(), "{loop_name}")
        """,
    )
    way = ["oneloop", "-m"] if loop_name == "oneloop" else []
    assert "Ran 1 test" in run(tmp_path, loop_name, *way, "unittest", "test_suite")
