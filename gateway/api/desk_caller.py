"""Who asks `/api`, and for how much of it."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from gateway.access import Access, presented
from gateway.api.asked import Asked
from gateway.live.keys import digest
from gateway.plan import OPEN
from gateway.review.person import PRESENT, Person

MOST = 200
"""Rows of one answer."""
FARTHEST = 1_000_000
PAGING: dict[str, dict[str, Any]] = {
    "offset": {"type": "integer", "minimum": 0},
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST},
}


def person_of(access: Access, request: Request) -> Person:
    """Whoever holds the key. Where the gateway is open, any key at all tells people apart, and none is kept."""
    caller = access.caller(request.scope, PRESENT)
    if caller.tenant is not None:
        return Person(caller.key, caller.name, caller.role, caller.key[:8])
    key = presented(request.scope)
    id = digest(key)[:12] if key else "anyone"
    return Person(id, OPEN, "admin", id[:8])


def paging(asked: Asked) -> tuple[int, int]:
    return asked.whole("offset", 0, FARTHEST), asked.whole("limit", 50, MOST, 1)
