"""What was flagged: the search, and one exchange."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response

from gateway.console.entrance import Entrance
from gateway.console.pages import HEADERS, Pages
from gateway.console.queue_pages import SIZE, around, offset_of
from gateway.console.sessions import Session
from gateway.console.turns import Reader, marks_of
from gateway.console.verdict_view import rows
from gateway.console.words import words
from gateway.errors import UnknownReview
from gateway.review import severity
from gateway.review.case import SEVERE
from gateway.review.decision import CHOICES
from gateway.review.desk import Desk
from guards.verdict import CATEGORIES, Action

PATH = "/console/history"
ASKED = ("text", "since", "action", "category", "decision", "model", "guard")
AGES = (("", "Ever"), ("3600", "1 hour"), ("86400", "1 day"), ("604800", "7 days"), ("2592000", "30 days"))
"""Seconds."""


class HistoryPages:
    """`/console/history` and `/console/flags`."""

    def __init__(
        self, desk: Desk, entrance: Entrance, pages: Pages, reader: Reader, clock: Callable[[], float] = time.time
    ) -> None:
        self._desk = desk
        self._entrance = entrance
        self._pages = pages
        self._reader = reader
        self._clock = clock

    async def search(self, request: Request) -> Response:
        session = await self._entrance.session(request)
        asked = {name: request.query_params.get(name, "").strip()[:200] for name in ASKED}
        start = offset_of(request)
        rows = await self._desk.history(session.person, filters(asked, self._clock()), offset=start, limit=SIZE + 1)
        return self._pages.show(
            "history.html",
            session,
            asked=asked,
            rows=[told(row) for row in rows[:SIZE]],
            ages=AGES,
            actions=[str(action) for action in Action],
            categories=sorted(CATEGORIES),
            decisions=CHOICES,
            **around(PATH, asked, start, more=len(rows) > SIZE),
        )

    async def flag(self, request: Request) -> Response:
        session = await self._entrance.session(request)
        flag = await self._desk.flag(session.person, id_of(request))
        if flag is None:
            raise UnknownReview("There is no such exchange, or it is not kept any more.")
        return await asyncio.to_thread(self._render, session, flag)

    def _render(self, session: Session, flag: dict[str, Any]) -> Response:
        """Beside the event loop: a conversation may be long."""
        marks = marks_of(flag.get("verdicts") or ())
        severe = [c for c in flag.get("categories") or () if severity.of(c) >= SEVERE]
        return self._pages.show(
            "flag.html",
            session,
            flag=told(flag),
            verdicts=rows(flag.get("verdicts") or ()),
            turns=self._reader.turns(flag.get("request") or {}, marks),
            answer=[self._reader.shown(p, t, marks) for p, t in (flag.get("answer") or {}).items() if t],
            severe=bool(severe),
            strip=words(severe[0]).capitalize() if severe else "",
            reveal=f"/console/flags/{quote(str(flag['id']), safe='')}/reveal",
            facts=[(name.capitalize(), fact(flag[name])) for name in FACTS if flag.get(name) is not None],
        )

    async def reveal(self, request: Request) -> Response:
        session, _ = await self._entrance.form(request)
        await self._desk.reveal_flag(session.person, id_of(request))
        return Response(status_code=204, headers=HEADERS)


FACTS = ("time", "tenant", "model", "policy", "route", "outcome", "took")


def fact(value: object) -> str:
    """Of times spent, which are the only numbers, milliseconds."""
    return f"{value * 1e3:.1f} ms" if isinstance(value, float) else str(value)


def id_of(request: Request) -> str:
    return str(request.path_params["flag"])


def filters(asked: dict[str, str], now: float) -> dict[str, Any]:
    """Without those that ask for nothing."""
    given = {name: value for name, value in asked.items() if value and name != "since"}
    age = asked["since"]
    return {**given, "since": now - int(age)} if age and age in dict(AGES) else given


def told(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the template wants it: every name is there."""
    empty: dict[str, Any] = {"case": None, "decision": None, "model": None, "policy": None, "categories": []}
    return {**empty, **row}
