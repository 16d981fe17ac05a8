# mypy: disallow-untyped-decorators=False
"""A FastAPI application with one route for each way in which a server is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    print("lifespan: begun", flush=True)
    yield
    print("lifespan: ended", flush=True)


app = FastAPI(lifespan=lifespan)


@app.get("/loop")
async def loop() -> str:
    """Which loop serves this."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


@app.get("/plain", response_class=PlainTextResponse)
async def plain() -> str:
    return "Hello, World!"


@app.get("/json")
async def json(number: int = 20) -> dict[str, Any]:
    return {"message": "Hello, World!", "numbers": list(range(number))}


@app.get("/thread")
def thread() -> dict[str, str]:
    """Not a coroutine, so it runs in a thread, and the loop is woken by it."""
    return {"from": "a thread"}


@app.post("/echo")
async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type="application/octet-stream")


@app.get("/stream")
async def stream(chunks: int = 32) -> StreamingResponse:
    async def produce() -> AsyncIterator[bytes]:
        for _ in range(chunks):
            yield b"x" * 4096
            await asyncio.sleep(0)

    return StreamingResponse(produce(), media_type="application/octet-stream")


@app.get("/slow", response_class=PlainTextResponse)
async def slow() -> str:
    print("slow: begun", flush=True)
    await asyncio.sleep(0.5)
    return "slow, but whole"


@app.websocket("/socket")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text[::-1])
