"""The first program as a module of a package, with an argument."""

import asyncio
import sys


async def greet(name: str) -> None:
    print("Hello...")
    await asyncio.sleep(1)
    print(f"...{name}!")


if __name__ == "__main__":
    asyncio.run(greet(" ".join(sys.argv[1:]) or "Asyncio World"))
