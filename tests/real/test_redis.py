# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""redis-py's asyncio client against a real Redis: asyncio's streams on our transports, over TCP and a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import redis.asyncio

from benches.real.services import Redis
from real.waiting import until


@pytest.fixture(params=["unix", "tcp"])
def address(redis_server, request):
    return redis_server.address(request.param)


@contextlib.asynccontextmanager
async def client(address, **options):
    client = redis.asyncio.Redis(**address, **options)
    try:
        await client.flushdb()  # whatever an earlier test did not come to
        yield client
    finally:
        await client.aclose()


def test_values_of_every_size(run, address):
    async def main():
        async with client(address) as db:
            for size in (0, 1, 1000, 65_536, 5_000_000):
                value = bytes(i % 251 for i in range(997)) * (size // 997 + 1)
                await db.set("value", value[:size])
                assert await db.get("value") == value[:size]
            assert await db.get("absent") is None

    run(main())


def test_pipelines(run, address):
    async def main():
        async with client(address) as db:
            async with db.pipeline(transaction=False) as pipe:
                for i in range(5000):
                    pipe.set(f"key:{i}", i)
                    pipe.get(f"key:{i}")
                answers = await pipe.execute()
            assert answers == [answer for i in range(5000) for answer in (True, str(i).encode())]
            async with db.pipeline(transaction=True) as pipe:
                assert await pipe.incr("counter").incrby("counter", 41).execute() == [1, 42]

    run(main())


def test_an_optimistic_transaction_starts_again(run, address):
    async def main():
        async with client(address) as db:

            async def increment():
                async with db.pipeline() as pipe:
                    while True:
                        try:
                            await pipe.watch("counter")
                            value = int(await pipe.get("counter") or 0)
                            pipe.multi()
                            await pipe.set("counter", value + 1).execute()
                            return
                        except redis.WatchError:
                            continue

            await asyncio.gather(*(increment() for _ in range(20)))
            assert await db.get("counter") == b"20"

    run(main())


def test_publish_and_subscribe(run, address):
    async def main():
        async with client(address) as db, db.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe("news")
            await channel.psubscribe("other.*")

            async def listeners():
                return (await db.pubsub_numsub("news"))[0][1] and await db.pubsub_numpat()

            await until(listeners)
            for i in range(500):
                await db.publish("news" if i % 2 else "other.news", i)
            heard = []
            async with asyncio.timeout(10):
                async for message in channel.listen():
                    heard.append(int(message["data"]))
                    if len(heard) == 500:
                        break
            assert heard == list(range(500))

    run(main())


def test_a_blocking_pop_gets_what_is_pushed_and_times_out_otherwise(run, address):
    async def main():
        async with client(address) as db:
            popped = asyncio.create_task(db.blpop("list", timeout=10))
            await until(is_blocked(db, 1))
            await db.rpush("list", "value")
            assert list(await popped) == [b"list", b"value"]
            assert await db.blpop("list", timeout=0.05) is None

    run(main())


def is_blocked(db, count):
    async def ask():
        return (await db.info("clients"))["blocked_clients"] == count

    return ask


def test_cancelling_a_blocking_pop_loses_no_value(run, address):
    """The connection of a cancelled command is closed, so that its answer cannot be taken for that of another."""

    async def main():
        async with client(address) as db:
            for _ in range(10):
                pop = asyncio.create_task(db.blpop("list", timeout=0))
                await until(is_blocked(db, 1))
                pop.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await pop
                await until(is_blocked(db, 0))
                await db.rpush("list", "kept")
                assert list(await db.blpop("list", timeout=1)) == [b"list", b"kept"]

    run(main())


def test_a_hundred_connections(run, address):
    async def main():
        async with client(address, max_connections=101) as db:
            pops = [asyncio.create_task(db.blpop("list", timeout=20)) for _ in range(100)]
            await until(is_blocked(db, 100))
            await db.rpush("list", *range(100))
            answers = await asyncio.gather(*pops)
            assert sorted(int(value) for _, value in answers) == list(range(100))

            async def count():
                for _ in range(20):
                    await db.incr("counter")

            await asyncio.gather(*(count() for _ in range(100)))
            assert await db.get("counter") == b"2000"

    run(main())


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_a_server_that_is_killed(run, kind):
    async def main(server):
        db = redis.asyncio.Redis(**server.address(kind), retry=None)
        assert await db.ping()
        pop = asyncio.create_task(db.blpop("list", timeout=0))
        await until(is_blocked(db, 1))
        server.kill()
        with pytest.raises(redis.ConnectionError):
            await pop
        with pytest.raises(redis.ConnectionError):
            await db.ping()
        server.start()
        assert await db.ping()
        await db.aclose()

    with Redis() as server:
        run(main(server))


def test_nobody_listens(run, address):
    async def main():
        absent = {"port": 1, "unix_socket_path": "/absent"}
        db = redis.asyncio.Redis(**{key: absent.get(key, value) for key, value in address.items()}, retry=None)
        with pytest.raises(redis.ConnectionError):
            await db.ping()
        await db.aclose()

    run(main())
