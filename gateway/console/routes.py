"""Where the console's pages are."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from fastapi.responses import Response
from redis.exceptions import RedisError

from gateway.access import Access
from gateway.api.asgi import ClientGone
from gateway.console.case_pages import CasePages
from gateway.console.entrance import HOME, Entrance, go, sign_in_url
from gateway.console.errors import SignedOut
from gateway.console.events import Events
from gateway.console.history_pages import HistoryPages
from gateway.console.insight_pages import InsightPages
from gateway.console.pages import Pages
from gateway.console.queue_pages import QueuePages
from gateway.console.sessions import Sessions
from gateway.console.static_files import StaticFiles
from gateway.console.turns import Reader
from gateway.errors import UnknownPath, WardgateError
from gateway.review.desk import Desk
from guards.text.fold import Folder

Answering = Callable[[Request], Awaitable[Response]]
LOG = logging.getLogger(__name__)
AWAY = "Redis does not answer"
LATER = "Cases and sessions are kept there. Nothing is lost: try again in a moment."
TITLES = {401: "Sign in first", 403: "This is not for you", 404: "Nothing is here", 409: "Somebody was faster"}


def console_routes(desk: Desk, access: Access, sessions: Sessions) -> APIRouter:
    """`/console` and all below it. None of it is part of the API."""
    router, pages, reader = APIRouter(), Pages.load(), Reader(Folder.new())
    entrance = Entrance(access, sessions, pages)
    guarded = Guarded(router, entrance, pages)
    files = StaticFiles.load()
    guarded.get("", home)
    guarded.get("/", home)
    guarded.get("/static/{name}", files.show)
    guarded.get("/sign-in", entrance.sign_in_page)
    guarded.post("/sign-in", entrance.sign_in)
    guarded.post("/sign-out", entrance.sign_out)
    guarded.get("/events", Events(desk, entrance).show)
    _cases(guarded, CasePages(desk, entrance, sessions, pages, reader))
    guarded.get("/queue", QueuePages(desk, entrance, pages).show)
    history = HistoryPages(desk, entrance, pages, reader)
    guarded.get("/history", history.search)
    guarded.get("/flags/{flag:path}", history.flag)
    guarded.post("/flags/{flag:path}/reveal", history.reveal)
    _insights(guarded, InsightPages(desk, entrance, sessions, pages))
    guarded.get("/{rest:path}", nowhere)
    return router


def _cases(guarded: Guarded, cases: CasePages) -> None:
    guarded.post("/queue/next", cases.take_next)
    guarded.get("/cases/{case}", cases.show)
    for name, answer in {
        "claim": cases.claim,
        "renew": cases.renew,
        "reveal": cases.reveal,
        "skip": cases.skip,
        "release": cases.release,
        "rescore": cases.rescore,
        "decision": cases.decide,
        "undo": cases.undo,
        "supersede": cases.supersede,
    }.items():
        guarded.post(f"/cases/{{case}}/{name}", answer)


def _insights(guarded: Guarded, insights: InsightPages) -> None:
    guarded.get("/stats", insights.stats)
    guarded.get("/agreement", insights.agreement)
    guarded.get("/webhooks", insights.webhooks)
    guarded.post("/webhooks/{hook:path}/resend", insights.resend)
    guarded.get("/settings", insights.settings)
    guarded.post("/settings", insights.set)
    guarded.post("/rest", insights.rest)


async def home(_: Request) -> Response:
    return go(HOME)


async def nowhere(_: Request) -> Response:
    raise UnknownPath("There is no such page.")


class Guarded:
    """Adds routes whose errors are pages."""

    def __init__(self, router: APIRouter, entrance: Entrance, pages: Pages) -> None:
        self._router = router
        self._entrance = entrance
        self._pages = pages

    def get(self, path: str, answer: Answering) -> None:
        self._add(path, answer, "GET")

    def post(self, path: str, answer: Answering) -> None:
        self._add(path, answer, "POST")

    def _add(self, path: str, answer: Answering, method: str) -> None:
        async def told(request: Request) -> Response:
            try:
                return await answer(request)
            except SignedOut:
                return self._signed_out(request)
            except ClientGone:
                return Response(status_code=400)
            except WardgateError as error:
                return await self._error(request, error)
            except (RedisError, OSError) as error:
                LOG.warning("the console got no answer from Redis: %s", type(error).__name__)
                return self._pages.show("error.html", None, status=503, title=AWAY, message=LATER)

        self._router.add_api_route(f"/console{path}", told, methods=[method], include_in_schema=False)

    def _signed_out(self, request: Request) -> Response:
        """The cookie does not come along when a link of another site is followed: then the page asks again by itself,
        and only who has none is sent to sign in."""
        if scripted(request):
            return Response(status_code=401, headers={"hx-redirect": "/console/sign-in"})
        if request.headers.get("sec-fetch-site") == "cross-site" and request.method == "GET":
            return self._pages.show("again.html", None)
        return go(sign_in_url(request))

    async def _error(self, request: Request, error: WardgateError) -> Response:
        if scripted(request):
            return Response(error.message, error.status, media_type="text/plain")
        try:
            session = await self._entrance.session(request)
        except SignedOut:
            session = None
        title = TITLES.get(error.status, "Something went wrong")
        return self._pages.show("error.html", session, status=error.status, title=title, message=error.message)


def scripted(request: Request) -> bool:
    """The page's own script asks, no person."""
    return request.headers.get("hx-request") == "true" or request.headers.get("sec-fetch-mode") in (
        "cors",
        "same-origin",
    )
