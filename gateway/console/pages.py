"""Makes pages: templates that escape everything, under a policy that lets no text of theirs run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gateway.console import words
from gateway.console.preferences import SEVERE_BREAK, Preferences
from gateway.console.sessions import Session
from gateway.live.keys import Role
from gateway.review.person import DECIDING, LOOKING, OPERATING, PRESENT

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
KEYS = (
    ("1", "Allow (false alarm)"),
    ("2", "Block (correct)"),
    ("3", "Allow with edit"),
    ("4", "Refuse, with a text"),
    ("5", "Escalate to a senior"),
    ("0", "Cannot judge"),
    ("R", "Reason"),
    ("E", "Edit the text"),
    ("C", "Categories and note"),
    ("Space", "Reveal severe text"),
    ("Ctrl Enter", "Submit, and take the next"),
    ("S", "Skip"),
    ("U", "Undo the last decision"),
    ("N", "Take the next case"),
    ("J K", "Down and up in a list"),
    ("Esc", "Leave a field"),
    ("?", "This sheet"),
)
GRADES = ("minor", "moderate", "serious", "severe")
"""Severity in words."""


@dataclass(frozen=True, slots=True)
class Place:
    """A page of the menu."""

    path: str
    name: str
    roles: frozenset[Role] = PRESENT


PLACES = (
    Place("queue", "Queue"),
    Place("history", "History", LOOKING),
    Place("stats", "My statistics", DECIDING),
    Place("agreement", "Agreement"),
    Place("webhooks", "Webhooks", OPERATING),
    Place("settings", "Settings"),
)


class Pages:
    """Renders templates for whoever is signed in."""

    def __init__(self, environment: Environment, clock: Callable[[], float] = time.time) -> None:
        self._environment = environment
        self._clock = clock

    @classmethod
    def load(cls, clock: Callable[[], float] = time.time) -> Pages:
        """Those that ship with the package."""
        folder = Path(__file__).parent / "templates"
        env = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined)
        env.trim_blocks = env.lstrip_blocks = True
        said = (words.words, words.iso, words.ago, words.span, words.left, words.urgency)
        env.filters |= {filter.__name__: filter for filter in said}
        return cls(env, clock)

    def show(
        self, template: str, session: Session | None, /, *, status: int = 200, told: str = "", **context: Any
    ) -> HTMLResponse:
        """`told`: a line above the page. Without a session it is a page for anybody."""
        now = self._clock()
        role = session.person.role if session else None
        common: Mapping[str, Any] = {
            "session": session,
            "look": session.preferences if session else Preferences(),
            "now": now,
            "told": told,
            "here": template.removesuffix(".html"),
            "pages": [place for place in PLACES if role in place.roles],
            "may_decide": role in DECIDING,
            "keys": KEYS,
            "grades": GRADES,
            "pause": due(session, now) if session else "",
        }
        body = self._environment.get_template(template).render({**common, **context})
        return HTMLResponse(body, status, headers=HEADERS)


def due(session: Session, now: float) -> str:
    """Why a break is due; empty: it is not."""
    minutes, severe = session.preferences.pause, session.work.severe
    if not minutes:
        return ""
    if severe >= SEVERE_BREAK:
        return f"You have decided {severe} severe cases in a row."
    worked = session.work.going_on(now)
    return f"You have been at it for {words.span(now - worked.since)}." if now - worked.since >= 60 * minutes else ""
