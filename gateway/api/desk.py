"""`/api`: what the console does, for programs. A key of the role reviewer or above, errors in OpenAI's shape."""

from __future__ import annotations

import hashlib
from typing import Any, get_args

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.openapi.utils import get_openapi

from gateway.access import Access
from gateway.api.asgi import header
from gateway.api.asked import Asked
from gateway.api.desk_caller import PAGING, paging, person_of
from gateway.api.desk_events import BEAT
from gateway.api.desk_records import RecordRoutes
from gateway.api.desk_schema import Routes
from gateway.api.desk_shapes import (
    DECISION,
    TEXT,
    TOKEN,
    Cases,
    CaseShape,
    Claimed,
    Renewed,
    Verdicts,
    answer,
    page_shape,
)
from gateway.errors import InvalidRequest
from gateway.idempotency import sane
from gateway.review.case import Level, Source, State
from gateway.review.decision import CHOICES, REASONS, Decision
from gateway.review.desk import WAITING, Claim, Desk, Person, View, Work
from guards.verdict import CATEGORIES

TOKENS = 2**53
LEVELS: tuple[Level, ...] = get_args(Level)
SOURCES: tuple[Source, ...] = get_args(Source)
STATES: tuple[State, ...] = get_args(State)
CASES: dict[str, dict[str, Any]] = {
    "state": {"type": "string", "description": f"Of {', '.join(STATES)}; several with commas."},
    "source": {"type": "string", "description": f"Of {', '.join(SOURCES)}; several with commas."},
    "category": {"type": "string", "description": "Several with commas."},
    "level": {"type": "string", "enum": list(LEVELS)},
    **PAGING,
}


def desk_routes(desk: Desk, access: Access, beat: float = BEAT) -> APIRouter:
    """`/api/…`; what there is stands at `/api/openapi.json`."""
    router = APIRouter(prefix="/api")
    routes, cases, records = Routes(router), CaseRoutes(desk, access), RecordRoutes(desk, access, beat)
    cases.add(routes)
    records.add(routes)

    @router.get("/openapi.json", include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        about = "Cases, decisions and flagged exchanges. Send `Authorization: Bearer <key>`."
        document = get_openapi(title="Wardgate reviews", version="1", description=about, routes=router.routes)
        schemes = {"key": {"type": "http", "scheme": "bearer"}}
        document.setdefault("components", {})["securitySchemes"] = schemes
        return document

    return router


class CaseRoutes:
    """The queue and its cases."""

    def __init__(self, desk: Desk, access: Access) -> None:
        self._desk = desk
        self._access = access

    def add(self, routes: Routes) -> None:
        routes.get("/queue", self.queue, "Counts, the cases you hold, and those you may take.", Work)
        routes.post("/queue/claim", self.claim_next, "Take the most urgent case, or the one you hold.", Claimed)
        routes.get("/cases", self.list, "Cases, the most urgent first.", Cases, CASES)
        routes.get("/cases/{case}", self.show, "One case, with its texts if you hold it.", CaseShape)
        routes.post("/cases/{case}/claim", self.claim, "Take this case.", Claim)
        routes.post(
            "/cases/{case}/renew", self.renew, "Keep the lease.", Renewed, body={"token": TOKEN}, needed=["token"]
        )
        skip = {"token": TOKEN, "reason": TEXT}
        routes.post("/cases/{case}/skip", self.skip, "Leave it to somebody else.", None, body=skip, needed=list(skip))
        routes.post(
            "/cases/{case}/release", self.release, "Give it back.", None, body={"token": TOKEN}, needed=["token"]
        )
        routes.post("/cases/{case}/decision", self.decide, "Decide.", View, body=DECISION, needed=["choice", "token"])
        routes.post("/cases/{case}/undo", self.undo, "Take your decision back, before it takes effect.", Claim)
        anew = {name: schema for name, schema in DECISION.items() if name != "token"}
        routes.post(
            "/cases/{case}/supersede", self.supersede, "Decide a closed case anew.", View, body=anew, needed=["choice"]
        )
        edits = {"edits": DECISION["edits"]}
        routes.post("/cases/{case}/rescore", self.rescore, "Guards on an edit.", Verdicts, body=edits, needed=["edits"])
        routes.post("/cases/{case}/reveal", self.reveal, "Note that a severe text was looked at.", None)

    async def queue(self, request: Request) -> Response:
        return answer(await self._desk.work(self._person(request)))

    async def claim_next(self, request: Request) -> Response:
        person = await self._plain(request)
        return answer(Claimed(await self._desk.claim(person)))

    async def list(self, request: Request) -> Response:
        person, asked = self._person(request), Asked.query(request, CASES)
        offset, limit = paging(asked)
        found = await self._desk.list(
            person,
            states=asked.all_named("state", STATES, WAITING),
            sources=asked.all_named("source", SOURCES),
            categories=asked.all_named("category", CATEGORIES),
            level=asked.named("level", LEVELS),
            offset=offset,
            limit=limit + 1,
        )
        return answer(Cases(found[:limit], len(found) > limit))

    async def show(self, request: Request) -> Response:
        return answer(page_shape(await self._desk.open_case(self._person(request), case_of(request))))

    async def claim(self, request: Request) -> Response:
        person = await self._plain(request)
        return answer(await self._desk.claim(person, case_of(request)))

    async def renew(self, request: Request) -> Response:
        person, token, _ = await self._leased(request)
        return answer(Renewed(await self._desk.renew(person, case_of(request), token)))

    async def skip(self, request: Request) -> Response:
        person, token, asked = await self._leased(request, "reason")
        await self._desk.skip(person, case_of(request), token, asked.text("reason"))
        return Response(status_code=204)

    async def release(self, request: Request) -> Response:
        person, token, _ = await self._leased(request)
        await self._desk.release(person, case_of(request), token)
        return Response(status_code=204)

    async def decide(self, request: Request) -> Response:
        """The same decision under the same lease counts once; `Idempotency-Key` names it otherwise."""
        person, asked = self._person(request), await Asked.body(request, DECISION)
        decision = decision_of(case_of(request), asked, leased=True)
        key = header(request.scope, b"idempotency-key")
        name = sane(key) if key is not None else named(asked)
        return answer(await self._desk.submit(person, decision, key=f"{person.id} {name}"))

    async def undo(self, request: Request) -> Response:
        person = await self._plain(request)
        return answer(await self._desk.undo(person, case_of(request)))

    async def supersede(self, request: Request) -> Response:
        person = self._person(request)
        asked = await Asked.body(request, [name for name in DECISION if name != "token"])
        return answer(await self._desk.supersede(person, decision_of(case_of(request), asked, leased=False)))

    async def rescore(self, request: Request) -> Response:
        person, asked = self._person(request), await Asked.body(request, ("edits",))
        return answer(Verdicts(await self._desk.rescore(person, case_of(request), asked.mapping("edits"))))

    async def reveal(self, request: Request) -> Response:
        person = await self._plain(request)
        await self._desk.reveal(person, case_of(request))
        return Response(status_code=204)

    def _person(self, request: Request) -> Person:
        return person_of(self._access, request)

    async def _plain(self, request: Request) -> Person:
        """Of a request that says nothing more."""
        person = self._person(request)
        await Asked.body(request, ())
        return person

    async def _leased(self, request: Request, *names: str) -> tuple[Person, int, Asked]:
        person, asked = self._person(request), await Asked.body(request, ("token", *names))
        return person, token_of(asked), asked


def case_of(request: Request) -> str:
    return str(request.path_params["case"])


def token_of(asked: Asked) -> int:
    if "token" not in asked.values:
        raise InvalidRequest("`token` is missing: send that of your claim.", param="token")
    return asked.whole("token", 0, TOKENS)


def decision_of(case: str, asked: Asked, *, leased: bool) -> Decision:
    """As the body has it; the desk says who decided, and when."""
    choice = asked.named("choice", CHOICES)
    if choice is None:
        raise InvalidRequest(f"`choice` must be one of {', '.join(CHOICES)}.", param="choice")
    return Decision(
        case=case,
        choice=choice,
        reviewer="",
        at=0.0,
        reason=asked.named("reason", REASONS),
        severity=asked.whole("severity", 0, 3) if asked.values.get("severity") is not None else None,
        categories=asked.all_named("categories", CATEGORIES),
        note=asked.text("note"),
        edits=asked.mapping("edits"),
        seconds=asked.number("seconds") or 0.0,
        token=token_of(asked) if leased else 0,
    )


def named(asked: Asked) -> str:
    """A name for this very decision under this lease."""
    return hashlib.sha256(orjson.dumps(asked.values, option=orjson.OPT_SORT_KEYS)).hexdigest()
