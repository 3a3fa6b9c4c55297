"""The list of cases."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import Response

from gateway.console.entrance import HOME, Entrance
from gateway.console.pages import Pages
from gateway.console.words import span
from gateway.review.case import Source, State
from gateway.review.desk import Desk
from gateway.review.queue import Counts
from guards.verdict import CATEGORIES

SOURCES: tuple[Source, ...] = ("guard", "audit", "drift", "redteam", "eval")
STATES: tuple[State, ...] = ("open", "leased", "deciding", "closed")
WAITING: tuple[State, ...] = ("open", "leased", "deciding")
SIZE = 50
"""Cases on a page."""


class QueuePages:
    """`/console/queue`."""

    def __init__(self, desk: Desk, entrance: Entrance, pages: Pages, clock: Callable[[], float] = time.time) -> None:
        self._desk = desk
        self._entrance = entrance
        self._pages = pages
        self._clock = clock

    async def show(self, request: Request) -> Response:
        session = await self._entrance.session(request)
        asked = {name: request.query_params.get(name, "") for name in ("state", "source", "category", "level")}
        start = offset_of(request)
        views = await self._desk.list(session.person, offset=start, limit=SIZE + 1, **wanted(asked))
        counts = await self._desk.counts(session.person)
        empty = "The queue is empty: nothing waits for you." if "empty" in request.query_params else ""
        return self._pages.show(
            "queue.html",
            session,
            told=empty,
            asked=asked,
            views=views[:SIZE],
            figures=figures(counts, self._clock()),
            sources=SOURCES,
            categories=sorted(CATEGORIES),
            self_url=page_url(HOME, asked, start),
            **around(HOME, asked, start, more=len(views) > SIZE),
        )


def offset_of(request: Request) -> int:
    text = request.query_params.get("offset", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0


def wanted(asked: dict[str, str]) -> dict[str, Any]:
    """What the desk is asked for; words that it does not know ask for everything."""
    return {
        "states": (asked["state"],) if asked["state"] in STATES else WAITING,
        "sources": (asked["source"],) if asked["source"] in SOURCES else (),
        "categories": (asked["category"],) if asked["category"] in CATEGORIES else (),
        "level": asked["level"] if asked["level"] in ("reviewer", "senior") else None,
    }


def page_url(path: str, asked: dict[str, str], start: int) -> str:
    query = {name: value for name, value in asked.items() if value} | ({"offset": str(start)} if start else {})
    return f"{path}?{urlencode(query)}" if query else path


def around(path: str, asked: dict[str, str], start: int, *, more: bool) -> dict[str, Any]:
    """Where the list goes on, and where it came from."""
    return {
        "first": start + 1,
        "earlier_url": page_url(path, asked, max(0, start - SIZE)) if start else "",
        "later_url": page_url(path, asked, start + SIZE) if more else "",
    }


def figures(counts: Counts, now: float) -> list[tuple[str, str, str]]:
    """Name, figure, and what it is of."""
    oldest = "none" if counts.oldest is None else span(now - counts.oldest)
    late = counts.next_deadline is not None and counts.next_deadline <= now
    due = "none" if counts.next_deadline is None else "past due" if late else span(counts.next_deadline - now)
    return [
        ("Waiting", str(counts.ready + counts.senior), f"{counts.senior} for a senior" if counts.senior else ""),
        ("With somebody", str(counts.leased), ""),
        ("Can be undone", str(counts.deciding), ""),
        ("Oldest waits", oldest, ""),
        ("Next due in", due, ""),
        ("Closed", str(counts.closed), ""),
    ]
