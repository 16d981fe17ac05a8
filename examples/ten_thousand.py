"""10,000 coroutines sleep at once while a ticker shows that the loop stays responsive.

The ticker asks to be woken every 10 ms, by its own clock, and notes how late each tick came. Whatever holds
the loop up, be it starting the sleepers or waking all of them at one moment, shows as a late tick.
"""

import asyncio
import time

import oneloop

SLEEPERS = 10_000
SLEEP = 1.0
PERIOD = 0.010


async def tick(lateness: list[float]) -> None:
    due = time.monotonic()
    while True:
        # From the time it was due, not from now: a late tick must not excuse the next one.
        due += PERIOD
        await asyncio.sleep(due - time.monotonic())
        lateness.append(time.monotonic() - due)


async def main() -> None:
    lateness: list[float] = []
    ticker = asyncio.create_task(tick(lateness))
    start = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(SLEEPERS):
            group.create_task(asyncio.sleep(SLEEP))
    took = time.monotonic() - start
    ticker.cancel()

    lateness.sort()
    print(f"{SLEEPERS:,} coroutines slept {SLEEP:g} s at once; all were done after {took:.3f} s")
    print(f"meanwhile a ticker ran {len(lateness)} times, one every {PERIOD * 1000:g} ms")
    print(f"median lateness {lateness[len(lateness) // 2] * 1000:.2f} ms, worst {lateness[-1] * 1000:.2f} ms")


if __name__ == "__main__":
    oneloop.run(main())
