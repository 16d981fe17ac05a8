# mypy: disallow-untyped-decorators=False
"""A FastAPI application: a text and a small JSON document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

app = FastAPI()


@app.get("/plain", response_class=PlainTextResponse)
async def plain() -> str:
    return "Hello, World!"


@app.get("/json")
async def json() -> dict[str, Any]:
    return {"message": "Hello, World!", "numbers": list(range(20))}
