"""The page of a case, and everything that can be done there."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from gateway.console import case_view
from gateway.console.draft import Draft
from gateway.console.entrance import HOME, Entrance, go
from gateway.console.form import Form
from gateway.console.pages import HEADERS, Pages
from gateway.console.sessions import Last, Session, Sessions
from gateway.console.turns import Reader, marks_of
from gateway.console.verdict_view import rows
from gateway.errors import WardgateError
from gateway.review.decision import REASONS
from gateway.review.desk import Desk
from gateway.review.page import Page
from gateway.review.person import DECIDING, SENIOR
from gateway.review.queue import View
from guards.verdict import CATEGORIES

LEASE = 600.0
"""Seconds; of the clock's colour."""


class CasePages:
    """Routes under `/console/cases`."""

    def __init__(
        self,
        desk: Desk,
        entrance: Entrance,
        sessions: Sessions,
        pages: Pages,
        reader: Reader,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._desk = desk
        self._entrance = entrance
        self._sessions = sessions
        self._pages = pages
        self._reader = reader

    async def show(self, request: Request) -> Response:
        session = await self._entrance.session(request)
        return await self._page(session, case_of(request), Draft())

    async def claim(self, request: Request) -> Response:
        """A draft that lost its lease goes on under the new one."""
        session, form = await self._entrance.form(request)
        draft, case = Draft.of(form), case_of(request)
        await self._desk.claim(session.person, wanted=case)
        return await self._page(session, case, draft) if draft.choice else go(url(case))

    async def renew(self, request: Request) -> Response:
        session, form = await self._entrance.form(request)
        await self._sessions.worked(session)
        expires = await self._desk.renew(session.person, case_of(request), token_of(form))
        return JSONResponse({"expires": expires}, headers=HEADERS)

    async def reveal(self, request: Request) -> Response:
        session, _ = await self._entrance.form(request)
        await self._desk.reveal(session.person, case_of(request))
        return Response(status_code=204, headers=HEADERS)

    async def skip(self, request: Request) -> Response:
        session, form = await self._entrance.form(request)
        await self._desk.skip(session.person, case_of(request), token_of(form), form.one("reason").strip())
        return await self._next(session)

    async def release(self, request: Request) -> Response:
        session, form = await self._entrance.form(request)
        await self._desk.release(session.person, case_of(request), token_of(form))
        return go(HOME)

    async def rescore(self, request: Request) -> Response:
        """What the guards say of the edits as they stand: a part of the page."""
        session, form = await self._entrance.form(request)
        verdicts = await self._desk.rescore(session.person, case_of(request), dict(Draft.of(form).edits))
        return self._pages.show("rescored.html", session, verdicts=rows(verdicts))

    async def undo(self, request: Request) -> Response:
        session, _ = await self._entrance.form(request)
        await self._sessions.decided(session, None)
        await self._desk.undo(session.person, case_of(request))
        return go(url(case_of(request)))

    async def decide(self, request: Request) -> Response:
        session, form = await self._entrance.form(request)
        draft, case = Draft.of(form), case_of(request)
        try:
            decision = draft.decision(case, session.person.id, self._clock())
            view = await self._desk.submit(session.person, decision, key=draft.once)
        except WardgateError as error:
            return await self._page(session, case, draft, error)
        await self._note(session, view, draft)
        return await self._next(session) if form.one("then") == "next" else go(HOME)

    async def supersede(self, request: Request) -> Response:
        session, form = await self._entrance.form(request)
        draft, case = Draft.of(form), case_of(request)
        try:
            await self._desk.supersede(session.person, draft.decision(case, session.person.id, self._clock()))
        except WardgateError as error:
            return await self._page(session, case, draft, error)
        return go(url(case))

    async def take_next(self, request: Request) -> Response:
        session, _ = await self._entrance.form(request)
        return await self._next(session)

    async def _next(self, session: Session) -> Response:
        claim = await self._desk.claim(session.person)
        return go(url(claim.case.id) if claim else f"{HOME}?empty=1")

    async def _note(self, session: Session, view: View, draft: Draft) -> None:
        """For the page that follows: what may be undone, and whether a break is due."""
        until = view.effective_at or 0.0
        undoable = view.state == "deciding" and until > self._clock()
        await self._sessions.decided(session, Last(view.case.id, draft.choice, until) if undoable else None)
        await self._sessions.worked(session, severe=case_view.severe(view.case))

    async def _page(self, session: Session, case: str, draft: Draft, error: WardgateError | None = None) -> Response:
        page = await self._desk.open_case(session.person, case)
        return await asyncio.to_thread(self._render, session, page, draft, error)

    def _render(self, session: Session, page: Page, draft: Draft, error: WardgateError | None) -> Response:
        """Beside the event loop: a conversation may be long."""
        status = error.status if error else 200
        return self._pages.show("case.html", session, status=status, **self._told(session, page, draft, error))

    def _told(self, session: Session, page: Page, draft: Draft, error: WardgateError | None) -> Mapping[str, Any]:
        case, matter, me = page.view.case, page.matter, session.person
        outcome = page.view.outcome
        own = me.role in DECIDING and outcome is not None and outcome.reviewer == me.id
        superseding = page.view.state == "closed" and matter is not None and (own or me.role in SENIOR)
        marks = marks_of(page.verdicts or ())
        refusal = matter.refusal if matter else ""
        shown = draft.categories if draft.choice else case.categories if page.verdicts is not None else ()
        return {
            "case": case,
            "view": page.view,
            "hidden": page.verdicts is None,
            "mine": page.mine,
            "superseding": superseding,
            "claimable": page.view.state == "open" and me.role in DECIDING,
            "draft": replace(draft, categories=tuple(shown), refusal=draft.refusal or refusal),
            "error": error.message if error else "",
            "once": secrets.token_urlsafe(16),
            "lease": LEASE,
            "reasons": REASONS,
            "categories": sorted(CATEGORIES),
            "choices": case_view.options(case, matter, superseding=superseding),
            "verdicts": None if page.verdicts is None else rows(page.verdicts),
            "severe": matter is not None and case_view.severe(case),
            "strip": case_view.strip(case, page.verdicts),
            "turns": self._reader.turns(matter.request, marks) if matter else [],
            "answer": case_view.answers(self._reader, matter, marks) if matter else [],
            "prompt": self._reader.shown("", matter.system_prompt, {}) if matter and matter.system_prompt else None,
            "edits": case_view.edits(matter, draft.edits) if matter and case.stage == "output" else [],
            "place": next(iter(matter.texts), "refusal") if matter else "",
            "policy": case_view.policy_lines(page.policy) if page.policy else [],
            "current": page.current,
            "facts": case_view.facts(case),
            "users": page.user_counts,
            "nearest": page.nearest,
            "reviews": page.view.reviews,
        }


def case_of(request: Request) -> str:
    return str(request.path_params["case"])


def token_of(form: Form) -> int:
    return form.whole("token")


def url(case: str) -> str:
    return f"/console/cases/{case}"
