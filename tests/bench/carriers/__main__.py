"""`python -m tests.bench.carriers PORT`: the mock as a raw ASGI application."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import uvicorn

from tests.bench.carriers import chat, completions, messages, responses
from tests.bench.carriers.plan import Plan, read, streamed

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
MODELS = b'{"object":"list","data":[{"id":"bench","object":"model","created":1700000000,"owned_by":"vllm"}]}'
SURFACES: Mapping[str, ModuleType] = {
    "/v1/chat/completions": chat,
    "/v1/completions": completions,
    "/v1/responses": responses,
    "/v1/messages": messages,
}


async def app(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    body = await _body(receive) if scope["method"] == "POST" else b""
    surface = SURFACES.get(scope["path"])
    if surface is None or scope["method"] != "POST":
        known = scope["method"] == "GET"
        await _say(send, 200 if known else 404, MODELS if known else b"{}")
    elif streamed(body):
        await _stream(send, surface, read(body))
    else:
        await _say(send, 200, json.dumps(surface.whole(read(body))).encode())


async def _body(receive: Receive) -> bytes:
    found = b""
    while True:
        message = await receive()
        found += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return found


async def _say(send: Send, status: int, body: bytes) -> None:
    await _start(send, status, (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.body", "body": body})


async def _start(send: Send, status: int, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _stream(send: Send, surface: ModuleType, plan: Plan) -> None:
    await _start(send, 200, (b"content-type", b"text/event-stream; charset=utf-8"))
    for frame in frames(surface, plan):
        await send({"type": "http.response.body", "body": frame, "more_body": True})
        await asyncio.sleep(plan.gap)
    await send({"type": "http.response.body", "body": b""})


def frames(surface: ModuleType, plan: Plan) -> Iterator[bytes]:
    for event in surface.events(plan):
        name = f"event: {event['type']}\n" if "type" in event else ""
        yield f"{name}data: {json.dumps(event)}\n\n".encode()
    if surface in (chat, completions):
        yield b"data: [DONE]\n\n"


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), lifespan="off", log_level="warning", access_log=False)
