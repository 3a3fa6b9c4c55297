"""Changes of cases as they happen, for pages that are open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from gateway.console.entrance import Entrance
from gateway.console.errors import SignedOut
from gateway.console.pages import HEADERS
from gateway.console.sessions import Session
from gateway.review.desk import Desk

BEAT = 20.0
"""Seconds between signs of life, at each of which the session must still stand."""


class Events:
    """`/console/events`: server-sent events `changed`."""

    def __init__(self, desk: Desk, entrance: Entrance) -> None:
        self._desk = desk
        self._entrance = entrance

    async def show(self, request: Request) -> Response:
        session = await self._entrance.session(request)
        headers = {**HEADERS, "x-accel-buffering": "no"}
        return StreamingResponse(self._frames(request, session), media_type="text/event-stream", headers=headers)

    async def _frames(self, request: Request, session: Session) -> AsyncIterator[bytes]:
        """A session that has ended hears nothing more."""
        changes = aiter(self._desk.changes(session.person))
        upcoming = asyncio.ensure_future(anext(changes))
        yield b"retry: 3000\n\n"
        try:
            while True:
                done, _ = await asyncio.wait({upcoming}, timeout=BEAT)
                if not done:
                    await self._entrance.session(request)
                    yield b": still here\n\n"
                    continue
                yield b"event: changed\ndata: " + orjson.dumps(upcoming.result()) + b"\n\n"
                upcoming = asyncio.ensure_future(anext(changes))
        except (StopAsyncIteration, SignedOut):
            return
        finally:
            upcoming.cancel()
