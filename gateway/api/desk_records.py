"""The part of `/api` that looks back: flags, the ledger, figures, webhooks, and changes as they happen."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from gateway.access import Access
from gateway.api.asked import Asked
from gateway.api.desk_caller import MOST, PAGING, paging, person_of
from gateway.api.desk_events import events
from gateway.api.desk_schema import Routes
from gateway.api.desk_shapes import Rows, answer
from gateway.errors import UnknownReview
from gateway.review.decision import CHOICES
from gateway.review.desk import Desk, Person, Stats
from guards.verdict import CATEGORIES, Action

FLAGS: dict[str, dict[str, Any]] = {
    "text": {"type": "string", "description": "Somewhere in the request or the answer, whatever the case."},
    "since": {"type": "number", "description": "Unix time."},
    "until": {"type": "number", "description": "Unix time."},
    **{name: {"type": "string"} for name in ("model", "policy", "guard")},
    "category": {"type": "string", "enum": sorted(CATEGORIES)},
    "action": {"type": "string", "enum": [str(a) for a in Action]},
    "decision": {"type": "string", "enum": list(CHOICES)},
    **PAGING,
}
LEDGER: dict[str, dict[str, Any]] = {
    "after": {"type": "string", "description": "Id of a row."},
    "limit": PAGING["limit"],
}


class RecordRoutes:
    """What was flagged and decided, and what went wrong on the way."""

    def __init__(self, desk: Desk, access: Access, beat: float) -> None:
        """`beat`: seconds between signs of life in a stream of events."""
        self._desk = desk
        self._access = access
        self._beat = beat

    def add(self, routes: Routes) -> None:
        routes.get("/flags", self.flags, "Flagged exchanges, the latest first, without texts.", Rows, FLAGS)
        routes.get("/flags/{flag}", self.flag, "One flagged exchange.", dict[str, Any])
        routes.get("/stats/me", self.stats, "Your own figures of 30 days.", Stats)
        routes.get("/agreement", self.agreement, "How far reviewers agree, by policy.", Rows)
        routes.get("/ledger", self.ledger, "What people did, the oldest first.", Rows, LEDGER)
        routes.get("/webhooks/dead", self.dead, "Webhooks that could not be delivered.", Rows)
        routes.post("/webhooks/dead/{hook}/resend", self.resend, "Deliver it anew.", None)
        routes.get("/events", self.events, "Changes of cases, as server-sent events `changed`.", str)

    async def flags(self, request: Request) -> Response:
        person, asked = self._person(request), Asked.query(request, FLAGS)
        offset, limit = paging(asked)
        given = {name: asked.text(name) for name in ("text", "model", "policy", "guard")}
        named = {
            "category": asked.named("category", CATEGORIES) or "",
            "action": asked.named("action", [str(a) for a in Action]) or "",
            "decision": asked.named("decision", CHOICES) or "",
        }
        times = {name: asked.number(name) for name in ("since", "until")}
        rows = await self._desk.history(person, {**given, **named, **times}, offset=offset, limit=limit + 1)
        return answer(Rows(rows[:limit], len(rows) > limit))

    async def flag(self, request: Request) -> Response:
        found = await self._desk.flag(self._person(request), str(request.path_params["flag"]))
        if found is None:
            raise UnknownReview("There is no such exchange, or it is not kept any more.")
        return answer(found)

    async def stats(self, request: Request) -> Response:
        return answer(await self._desk.stats(self._person(request)))

    async def agreement(self, request: Request) -> Response:
        return answer(Rows(await self._desk.agreement(self._person(request))))

    async def ledger(self, request: Request) -> Response:
        person, asked = self._person(request), Asked.query(request, LEDGER)
        limit = asked.whole("limit", 100, MOST, 1)
        rows = await self._desk.ledger(person, after=asked.text("after"), limit=limit + 1)
        return answer(Rows(rows[:limit], len(rows) > limit))

    async def dead(self, request: Request) -> Response:
        return answer(Rows(await self._desk.dead(self._person(request))))

    async def resend(self, request: Request) -> Response:
        await self._desk.resend(self._person(request), str(request.path_params["hook"]))
        return Response(status_code=204)

    async def events(self, request: Request) -> Response:
        person = self._person(request)

        async def check() -> None:
            person_of(self._access, request)

        frames = events(self._desk.changes(person), check, self._beat)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(frames, media_type="text/event-stream", headers=headers)

    def _person(self, request: Request) -> Person:
        return person_of(self._access, request)
