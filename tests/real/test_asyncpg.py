# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""asyncpg against a real PostgreSQL: its own protocol on our transports, over TCP, over TLS on it
(by `start_tls`), and over a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl

import asyncpg
import pytest
from helpers.tls import client_context

from real.waiting import until


@pytest.fixture(params=["unix", "tcp", "tls"])
def address(request):
    """Over TCP asyncpg asks for TLS first, and if it is refused it goes on in plain: its default."""
    server = request.getfixturevalue("postgres_over_tls" if request.param == "tls" else "postgres")
    return server.address(request.param)


@contextlib.asynccontextmanager
async def connection(address):
    connection = await asyncpg.connect(**address)
    try:
        yield connection
    finally:
        await connection.close()


def is_running(observer, pid):
    """Whether the server is at work on a query of that process."""

    async def ask():
        return await observer.fetchval("select state = 'active' from pg_stat_activity where pid = $1", pid)

    return ask


def test_queries_and_prepared_statements(run, address):
    async def main():
        async with connection(address) as db:
            assert await db.fetchval("select 1 + $1::int", 2) == 3
            rows = await db.fetch("select i, 'row ' || i as text from generate_series(1, 1000) as i")
            assert [(row["i"], row["text"]) for row in rows] == [(i, f"row {i}") for i in range(1, 1001)]
            doubled = await db.prepare("select $1::bigint * 2")
            assert [await doubled.fetchval(i) for i in range(500)] == [2 * i for i in range(500)]
            with pytest.raises(asyncpg.DivisionByZeroError):
                await db.fetchval("select 1 / 0")
            assert await db.fetchval("select 1") == 1

    run(main())


def test_transactions_and_cursors(run, address):
    async def main():
        async with connection(address) as db:
            await db.execute("create temporary table things (id int primary key, name text)")
            await db.executemany("insert into things values ($1, $2)", [(i, str(i)) for i in range(2000)])

            async def fail():
                async with db.transaction():
                    await db.execute("delete from things where id >= 1000")
                    await db.execute("insert into things values (1, 'again')")

            with pytest.raises(asyncpg.UniqueViolationError):
                await fail()
            async with db.transaction():
                seen = [row["id"] async for row in db.cursor("select id from things order by id", prefetch=50)]
            assert seen == list(range(2000))

    run(main())


def test_values_of_many_megabytes_both_ways(run, address):
    async def main():
        async with connection(address) as db:
            value = bytes(range(256)) * 40_000
            assert await db.fetchval("select $1::bytea || $1::bytea", value) == value + value

    run(main())


def test_copy_in_and_out(run, address):
    lines = [f"{i}\t{'x' * (i % 200)}\n".encode() for i in range(50_000)]

    async def source():
        for start in range(0, len(lines), 1000):
            yield b"".join(lines[start : start + 1000])

    async def main():
        async with connection(address) as db:
            await db.execute("create temporary table copied (id int, text text)")
            assert await db.copy_to_table("copied", source=source()) == "COPY 50000"
            assert await db.copy_records_to_table("copied", records=[(-1, "one"), (-2, None)]) == "COPY 2"
            out = io.BytesIO()
            await db.copy_from_query("select * from copied where id >= 0 order by id", output=out)
            assert out.getvalue() == b"".join(lines)
            chunks = []

            async def slowly(data):
                chunks.append(data)
                await asyncio.sleep(0)

            await db.copy_from_table("copied", output=slowly)
            assert b"".join(chunks).endswith(b"-1\tone\n-2\t\\N\n")

    run(main())


def test_copy_whose_source_fails_leaves_a_working_connection(run, address):
    async def source():
        yield b"1\n" * 100_000
        raise LookupError("no more")

    async def main():
        async with connection(address) as db:
            await db.execute("create temporary table copied (id int)")
            with pytest.raises(LookupError):
                await db.copy_to_table("copied", source=source())
            assert await db.fetchval("select count(*) from copied") == 0

    run(main())


def test_listen_and_notify(run, address):
    async def main():
        heard = asyncio.Queue()
        async with connection(address) as listener, connection(address) as speaker:
            await listener.add_listener("news", lambda *event: heard.put_nowait(event[1:]))
            for i in range(200):
                await speaker.execute("select pg_notify('news', $1)", str(i))
            events = [await asyncio.wait_for(heard.get(), 10) for _ in range(200)]
            assert events == [(speaker.get_server_pid(), "news", str(i)) for i in range(200)]
            await listener.reset()

    run(main())


def test_a_pool_of_twenty_serves_many_tasks(run, address):
    async def main():
        async with asyncpg.create_pool(**address, min_size=20, max_size=20) as pool:
            assert pool.get_size() == 20

            async def work(i):
                async with pool.acquire() as db, db.transaction():
                    pid = db.get_server_pid()
                    return pid, await db.fetchval("select $1::int + (select count(*) from pg_class where false)", i)

            results = await asyncio.gather(*(work(i) for i in range(1000)))
            assert [value for _, value in results] == list(range(1000))
            assert len({pid for pid, _ in results}) == 20

    run(main())


def test_cancelling_a_task_cancels_its_query_on_the_server(run, address):
    async def main():
        async with connection(address) as db, connection(address) as observer:
            pid = db.get_server_pid()
            task = asyncio.create_task(db.execute("select pg_sleep(60)"))
            await until(is_running(observer, pid))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await db.fetchval("select 'alive'") == "alive"
            assert not await is_running(observer, pid)()

    run(main())


def test_cancelling_in_every_moment_loses_neither_connection_nor_answer(run, address):
    async def main():
        async with connection(address) as db:
            for turns in range(40):
                task = asyncio.create_task(db.fetchval("select 1"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled() or task.result() == 1
                assert await db.fetchval("select $1::int", turns) == turns

    run(main())


def test_a_query_that_takes_too_long(run, address):
    async def main():
        async with connection(address) as db:
            with pytest.raises(TimeoutError):
                # Should the server be so slow that it is asked to cancel a query which it has not begun: not for ever.
                await db.execute("select pg_sleep(5)", timeout=0.2)
            assert await db.fetchval("select 2") == 2

    run(main())


def test_a_terminated_backend_is_told_to_the_waiting_task_and_to_listeners(run, address):
    async def main():
        async with connection(address) as observer:
            victim = await asyncpg.connect(**address)
            closed = asyncio.Event()
            victim.add_termination_listener(lambda _: closed.set())
            task = asyncio.create_task(victim.execute("select pg_sleep(60)"))
            await until(is_running(observer, victim.get_server_pid()))
            await observer.execute("select pg_terminate_backend($1)", victim.get_server_pid())
            with pytest.raises(asyncpg.PostgresError, match="terminating connection due to administrator command"):
                await task
            await asyncio.wait_for(closed.wait(), 10)
            assert victim.is_closed()
            with pytest.raises(asyncpg.InterfaceError):
                await victim.fetchval("select 1")

    run(main())


def test_a_pool_replaces_connections_that_were_terminated(run, address):
    async def main():
        async with connection(address) as observer, asyncpg.create_pool(**address, min_size=5, max_size=5) as pool:

            async def pids():
                ask = "select pg_backend_pid() from pg_sleep(0.01)"  # so long that each connection gets one
                return set(await asyncio.gather(*(pool.fetchval(ask) for _ in range(5)), return_exceptions=True))

            before = await pids()
            assert len(before) == 5
            await observer.execute("select pg_terminate_backend(pid) from unnest($1::int[]) as pid", list(before))

            async def replaced():
                now = await pids()
                return len(now) == 5 and all(isinstance(pid, int) for pid in now) and not now & before

            await until(replaced)

    run(main())


def test_nobody_listens(run, postgres):
    async def main():
        with pytest.raises(ConnectionRefusedError):
            await asyncpg.connect(**{**postgres.address("tcp"), "port": 1})
        with pytest.raises(FileNotFoundError):
            await asyncpg.connect(**{**postgres.address("unix"), "port": 1})
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(**{**postgres.address("tcp"), "password": "wrong"})

    run(main())


def test_tls_is_what_the_server_says_it_is(run, postgres_over_tls):
    async def main():
        async with connection(postgres_over_tls.address("tls")) as db:
            row = await db.fetchrow("select * from pg_stat_ssl where pid = pg_backend_pid()")
            assert row["ssl"] is True
            assert row["client_dn"] == "/CN=a client"
            tls = db._transport.get_extra_info("ssl_object")
            assert (row["version"], row["cipher"]) == (tls.version(), tls.cipher()[0])
            assert ("DNS", "localhost") in db._transport.get_extra_info("peercert")["subjectAltName"]

    run(main())


def test_tls_that_one_side_refuses(run, postgres_over_tls):
    address = postgres_over_tls.address("tls")

    async def main():
        for _ in range(3):
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncpg.connect(**{**address, "ssl": ssl.create_default_context()})
            with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="client certificate"):
                await asyncpg.connect(**{**address, "ssl": client_context()})
            with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="no encryption"):
                await asyncpg.connect(**{**address, "ssl": False})
        async with connection(address) as db:
            assert await db.fetchval("select 1") == 1

    run(main())
