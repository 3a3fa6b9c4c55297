"""The routes that only check, as raw ASGI applications: key, policy, judgement, and errors in OpenAI's body."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from gateway.access import Access
from gateway.admission import Visit
from gateway.api.asgi import (
    JSON_HEADER,
    ClientGone,
    ClientWatch,
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
from gateway.api.surface import SANE_ID, place_of
from gateway.checking import NO_MODEL, Asked, Check, choose, model_of
from gateway.errors import InvalidRequest, MethodNotAllowed, WardgateError
from gateway.exchange import Exchange
from gateway.metrics import Metrics
from gateway.plan import OPEN
from gateway.record import Keeper, Record

LOG = logging.getLogger("wardgate")


class Form(Protocol):
    """One route: how its requests are read, and its answers written."""

    @property
    def route(self) -> str: ...

    def read(self, request: dict[str, Any]) -> Asked:
        """InvalidRequest for what the route does not know."""

    def answer(self, check: Check) -> dict[str, Any]:
        """To a check that has run."""


@dataclass(slots=True)
class Checks:
    """Serves one form."""

    form: Form
    access: Access
    keeper: Keeper
    metrics: Metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        self.metrics.inflight.inc()
        given = header(scope, b"x-request-id")
        id = given if given and SANE_ID.fullmatch(given) else None
        status, check, visit = "499", None, None
        try:
            visit = self.access.visit(scope)
            send = visit.over(send)
            check = await self._open(scope, receive, id, began, visit=visit)
            replayed = await visit.once.replay(check.exchange.id, send) if visit.once else None
            status = str(replayed or await self._serve(check, receive, send))
        except ClientGone:
            if check is not None:
                await check.record.client_gone()
        except WardgateError as error:
            status = str(error.status)
            await fail(send, id, error)
        except Exception as defect:  # a defect can be of any class, and its client must still get an answer
            status = "500"
            LOG.error("defect in a check: %s", place_of(defect))
            await fail(send, id, WardgateError("Internal error."))
        finally:
            if visit is not None:
                visit.leave()
            self.metrics.inflight.dec()
            self._count(check, status, time.perf_counter() - began)

    def _count(self, check: Check | None, status: str, seconds: float) -> None:
        model = check.exchange.model if check else NO_MODEL
        self.metrics.answered(model, self.form.route, status, seconds, check.exchange.verdicts if check else [])
        if check is not None and check.record.parts:
            self.metrics.flags.inc()

    async def _open(self, scope: Scope, receive: Receive, id: str | None, began: float, *, visit: Visit) -> Check:
        """The check that a request asks for."""
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{self.form.route} takes POST.", headers={"allow": "POST"})
        plan, tenant = visit.plan, visit.tenant
        limits = plan.document.server
        request = parse_object(await read_body(scope, receive, limits.max_body, limits.body_timeout))
        asked = self.form.read(request)
        guarded = choose(plan, tenant, asked)
        who = tenant.name if tenant else OPEN
        exchange = Exchange(
            id or asked.id or secrets.token_hex(16),
            who,
            model_of(plan, tenant, asked),
            guarded.label,
            self.form.route,
            request,
        )
        record = Record(exchange, self.keeper, self.metrics, guarded.policy.on_log_failure, began)
        if visit.once is not None:
            visit.once.read(self.form.route, request, lambda: record.outcome == "complete")
        check = Check(exchange, guarded, asked, record, self.metrics)
        check.foresee()
        await visit.admit(None)
        return check

    async def _serve(self, check: Check, receive: Receive, send: Send) -> int:
        try:
            with ClientWatch(receive):
                await check.run()
            status, body = 200, self.form.answer(check)
        except WardgateError as error:
            check.record.outcome = error.code
            status, body = error.status, {**error.body(), "wardgate": check.findings()}
        await send_bytes(send, status, [JSON_HEADER, *check.headers()], written(body))
        return status


def written(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise InvalidRequest("The request is nested too deeply; 250 levels are the most.") from None


async def fail(send: Send, id: str | None, error: WardgateError) -> None:
    """An error of a request that never became a check."""
    pairs = [("x-request-id", id or secrets.token_hex(16)), *error.headers.items()]
    if error.status in (408, 413):
        pairs.append(("connection", "close"))
    headers: Headers = [JSON_HEADER, *encode_headers(pairs)]
    await send_bytes(send, error.status, headers, orjson.dumps(error.body()))
