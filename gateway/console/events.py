"""Changes of cases as they happen, for pages that are open."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from gateway.api.desk_events import events
from gateway.console.entrance import Entrance
from gateway.console.pages import HEADERS
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
        frames = events(self._desk.changes(session.person), lambda: self._entrance.session(request), BEAT)
        return StreamingResponse(frames, media_type="text/event-stream", headers=headers)
