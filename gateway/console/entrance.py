"""Lets people in: signing in and out, the cookie, and the token that each form must carry."""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from gateway.access import Access, Caller
from gateway.console.errors import ForgedForm, SignedOut
from gateway.console.form import Form, read
from gateway.console.pages import HEADERS, Pages
from gateway.console.sessions import TTL, Session, Sessions
from gateway.errors import RoleNotAllowed, UnknownKey, WardgateError
from gateway.live.keys import digest
from gateway.review.person import PRESENT, Person

COOKIE = "wardgate_session"
BEFORE = "wardgate_before"
"""Carries the token of the form that signs in, when there is no session yet."""
HOME = "/console/queue"
NAME = 60
"""Characters."""
STALE = "This page was out of date. Please try again."


class Entrance:
    """Knows who sits before a browser."""

    def __init__(self, access: Access, sessions: Sessions, pages: Pages) -> None:
        self._access = access
        self._sessions = sessions
        self._pages = pages

    async def session(self, request: Request) -> Session:
        """SignedOut where there is none."""
        session = await self._sessions.find(request.cookies.get(COOKIE, ""))
        if session is None or not self._access.knows(session.person.tenant) or (not session.key and not self._open()):
            raise SignedOut("Sign in first.")
        return session

    async def form(self, request: Request) -> tuple[Session, Form]:
        """Of a request that changes something; ForgedForm unless a page of this session sent it."""
        session = await self.session(request)
        form = await read(request)
        token = request.headers.get("x-csrf-token") or form.one("csrf")
        if not same(token, session.csrf) or not own(request):
            raise ForgedForm(STALE)
        return session, form

    async def sign_in_page(self, request: Request) -> Response:
        return self._ask(request, request.query_params.get("to", ""))

    async def sign_in(self, request: Request) -> Response:
        form = await read(request)
        if not same(form.one("csrf"), request.cookies.get(BEFORE, "")) or not own(request):
            return self._ask(request, form.one("to"), STALE, 403)
        try:
            person, key = self._known(form)
        except WardgateError as error:
            return self._ask(request, form.one("to"), refusal(error), error.status)
        answer = go(inside(form.one("to")))
        self._give(request, answer, COOKIE, await self._sessions.start(person, key), int(TTL))
        answer.delete_cookie(BEFORE, path="/console")
        return answer

    async def sign_out(self, request: Request) -> Response:
        session, _ = await self.form(request)
        await self._sessions.end(session)
        answer = go("/console/sign-in")
        answer.delete_cookie(COOKIE, path="/console")
        return answer

    def _known(self, form: Form) -> tuple[Person, str]:
        if self._open():
            name = " ".join(form.one("name").split())[:NAME]
            if not name:
                raise UnknownKey("Write your name.")
            return Person(name, self._caller("").name, "admin", name), ""
        key = form.one("key").strip()
        caller = self._caller(key)
        return Person(caller.key, caller.name, caller.role, caller.key[:8]), digest(key)

    def _caller(self, key: str) -> Caller:
        header = (b"authorization", b"Bearer " + key.encode("latin-1", "replace"))
        return self._access.caller({"type": "http", "headers": [header] if key else []}, PRESENT)

    def _open(self) -> bool:
        try:
            return self._access.caller({"type": "http", "headers": []}).tenant is None
        except UnknownKey:
            return False

    def _ask(self, request: Request, to: str, error: str = "", status: int = 200) -> Response:
        token = request.cookies.get(BEFORE) or secrets.token_urlsafe(32)
        answer = self._pages.show(
            "sign_in.html", None, status=status, csrf=token, to=inside(to), error=error, open=self._open()
        )
        self._give(request, answer, BEFORE, token, 3600)
        return answer

    def _give(self, request: Request, answer: Response, name: str, value: str, seconds: int) -> None:
        secure = request.url.scheme == "https"
        answer.set_cookie(name, value, seconds, path="/console", secure=secure, httponly=True, samesite="strict")


def same(one: str, other: str) -> bool:
    return bool(other) and hmac.compare_digest(one.encode(), other.encode())


def own(request: Request) -> bool:
    """A page of this origin sent it, as far as the browser tells (https://web.dev/articles/fetch-metadata)."""
    return request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


def inside(to: str) -> str:
    """Only ever a page of the console."""
    known = to.startswith("/console/") and not to.startswith("/console/sign-")
    return to if known and ".." not in to and "\\" not in to else HOME


def go(to: str) -> RedirectResponse:
    """After a form: reloading the page must not send it again."""
    return RedirectResponse(to, 303, headers=HEADERS)


def refusal(error: WardgateError) -> str:
    """For a person, who knows no HTTP header."""
    if isinstance(error, RoleNotAllowed):
        return "This key is for an application. The console needs one of the role reviewer or above."
    return "No such key is known here, or it was revoked."


def sign_in_url(request: Request) -> str:
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return f"/console/sign-in?to={quote(here)}" if request.method == "GET" else "/console/sign-in"
