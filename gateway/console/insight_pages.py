"""Figures about reviewers and about deliveries, and what somebody sets for himself."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from gateway.console import preferences
from gateway.console.entrance import HOME, Entrance, go, inside
from gateway.console.pages import Pages
from gateway.console.sessions import Sessions
from gateway.console.words import span
from gateway.review.desk import Desk, Stats

DAYS = 14
"""Of the chart."""


class InsightPages:
    """`/console/stats`, `/console/agreement`, `/console/webhooks` and `/console/settings`."""

    def __init__(
        self,
        desk: Desk,
        entrance: Entrance,
        sessions: Sessions,
        pages: Pages,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._desk = desk
        self._entrance = entrance
        self._sessions = sessions
        self._pages = pages

    async def stats(self, request: Request) -> Response:
        session = await self._entrance.session(request)
        mine = await self._desk.stats(session.person)
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        return self._pages.show("stats.html", session, figures=figures(mine), days=days(mine, today))

    async def agreement(self, request: Request) -> Response:
        session = await self._entrance.session(request)
        rows = await self._desk.agreement(session.person)
        return self._pages.show("agreement.html", session, rows=[drawn(row) for row in rows])

    async def webhooks(self, request: Request) -> Response:
        session = await self._entrance.session(request)
        return self._pages.show("webhooks.html", session, rows=await self._desk.dead(session.person))

    async def resend(self, request: Request) -> Response:
        session, _ = await self._entrance.form(request)
        await self._desk.resend(session.person, str(request.path_params["hook"]))
        return go("/console/webhooks")

    async def settings(self, request: Request) -> Response:
        session = await self._entrance.session(request)
        return self._pages.show(
            "settings.html",
            session,
            told="Saved." if "saved" in request.query_params else "",
            themes=preferences.THEMES,
            blurs=preferences.BLURS,
            breaks=preferences.BREAKS,
            severe_break=preferences.SEVERE_BREAK,
        )

    async def set(self, request: Request) -> Response:
        session, form = await self._entrance.form(request)
        await self._sessions.prefer(session, preferences.read(form))
        return go("/console/settings?saved=1")

    async def rest(self, request: Request) -> Response:
        """A break begins: the count of work starts anew."""
        session, form = await self._entrance.form(request)
        await self._sessions.rested(session)
        return go(inside(form.one("to", HOME)))


def figures(mine: Stats) -> list[tuple[str, str, str]]:
    """Name, figure, and what it is of."""
    return [
        ("Decisions", str(mine.count), ""),
        ("Median time", "none" if mine.median is None else span(mine.median), "a case"),
        ("Overturned", share(mine.overturned), "by a later decision"),
        ("Agreement", share(mine.agreement), "with second reviews"),
    ]


def share(value: float | None) -> str:
    return "too few" if value is None else f"{100 * value:.0f}%"


def days(mine: Stats, today: date) -> list[dict[str, Any]]:
    """Each of the last days' decisions, and their share of the busiest day's; nothing where there are none."""
    names = [(today - timedelta(days=back)).isoformat() for back in reversed(range(DAYS))]
    counts = [mine.days.get(name, 0) for name in names]
    most = max(counts)
    return [{"day": n, "count": c, "share": c / most} for n, c in zip(names, counts, strict=True)] if most else []


def drawn(row: dict[str, Any]) -> dict[str, Any]:
    """With places on a scale from 0 to 100; below chance is 0."""
    low, high = row.get("interval") or (0.0, 0.0)
    scaled = [100 * min(1.0, max(0.0, value)) for value in (low, high, row.get("alpha") or 0.0)]
    return {**row, "from": scaled[0], "to": scaled[1], "point": scaled[2]}
