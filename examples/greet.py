"""The first program: it knows nothing of oneloop. `python -m oneloop examples/greet.py` runs it there."""

import asyncio


async def greet() -> None:
    print("Hello...")
    await asyncio.sleep(1)
    print("...Asyncio World!")


if __name__ == "__main__":
    asyncio.run(greet())
