"""The way in and out of every raw ASGI route: keys, limits and repeats before it, errors and counts after it."""

from __future__ import annotations

import logging
import re
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from gateway.access import Access
from gateway.admission import Visit
from gateway.api.anthropic import body_of, ids_of
from gateway.api.asgi import (
    JSON_HEADER,
    ClientGone,
    Headers,
    Receive,
    Scope,
    Send,
    encode_headers,
    header,
    parse_object,
    read_body,
    send_bytes,
)
from gateway.errors import MethodNotAllowed, WardgateError
from gateway.metrics import Metrics
from gateway.record import Record

LOG = logging.getLogger("wardgate")
SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
GONE = 499
"""Status, in the metrics, of a request whose client left."""
HANGING_UP = frozenset({408, 413})
"""Statuses after which the rest of a body may still be on its way."""


class Guest(Protocol):
    """One request of a route."""

    route: str
    model: str
    """For the metrics: of a closed set."""
    status: int
    record: Record | None
    """Of the exchange that it became."""

    async def serve(self, visit: Visit, receive: Receive, send: Send) -> None: ...

    async def fail(self, send: Send, error: WardgateError) -> None:
        """Tell of an error, in whatever way is still open."""


@dataclass(frozen=True, slots=True)
class Door:
    """Whatever a guest does, its key is known, its slot is given back, its client gets an answer, and it is counted."""

    access: Access
    metrics: Metrics

    async def let_in(self, scope: Scope, receive: Receive, send: Send, guest: Guest) -> None:
        began, visit = time.perf_counter(), None
        self.metrics.inflight.inc()
        try:
            visit = self.access.visit(scope)
            send = visit.over(send)
            await guest.serve(visit, receive, send)
        except ClientGone:
            guest.status = GONE
            if guest.record is not None:
                await guest.record.client_gone()
        except WardgateError as error:
            await guest.fail(send, error)
        except Exception as defect:  # a defect can be of any class, and its client must still get an answer
            LOG.error("defect in a request of %s: %s", guest.route, place_of(defect))
            await guest.fail(send, WardgateError("Internal error."))
        finally:
            if visit is not None:
                visit.leave()
            self.metrics.inflight.dec()
            self._count(guest, time.perf_counter() - began)

    def _count(self, guest: Guest, seconds: float) -> None:
        record = guest.record
        verdicts = record.exchange.verdicts if record else []
        self.metrics.answered(guest.model, guest.route, str(guest.status), seconds, verdicts)
        if record is not None and record.parts:
            self.metrics.flags.inc()


def given_id(scope: Scope) -> str | None:
    """The client's own name for its request, if it is sane."""
    given = header(scope, b"x-request-id")
    return given if given and SANE_ID.fullmatch(given) else None


async def posted(scope: Scope, receive: Receive, visit: Visit, route: str) -> dict[str, Any]:
    """The JSON object that was posted."""
    if scope["method"] != "POST":
        raise MethodNotAllowed(f"{route} takes POST.", headers={"allow": "POST"})
    limits = visit.plan.document.server
    return parse_object(await read_body(scope, receive, limits.max_body, limits.body_timeout))


async def send_error(
    send: Send, route: str, error: WardgateError, own: Headers, more: Mapping[str, Any] | None = None
) -> None:
    """The error body of the route. `own`: the headers of the request; `more`: what goes into the body beside it."""
    pairs = list(error.headers.items())
    if error.status in HANGING_UP:
        pairs.append(("connection", "close"))
    body = orjson.dumps({**body_of(route, error), **(more or {})})
    await send_bytes(send, error.status, [JSON_HEADER, *own, *encode_headers(pairs)], body)


async def send_stranger(send: Send, route: str, id: str, error: WardgateError) -> None:
    """The same where the request never became an exchange."""
    await send_error(send, route, error, ids_of(route, id))


def place_of(defect: Exception) -> str:
    """Class and calls, innermost last. Never the message, which may repeat a prompt."""
    calls = traceback.extract_tb(defect.__traceback__)
    return " > ".join([type(defect).__name__, *(f"{c.filename}:{c.lineno} {c.name}" for c in calls)])
