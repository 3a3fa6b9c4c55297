"""The routes that only check, as raw ASGI applications: policy, judgement, and errors in OpenAI's body."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from gateway.admission import Visit
from gateway.api.asgi import JSON_HEADER, ClientWatch, Receive, Scope, Send, send_bytes
from gateway.api.door import Door, given_id, posted, send_stranger
from gateway.checking import NO_MODEL, Asked, Check, choose, model_of
from gateway.errors import InvalidRequest, WardgateError
from gateway.exchange import Exchange
from gateway.judging import Judging
from gateway.plan import OPEN
from gateway.record import Keeper, Record


class Form(Protocol):
    """One route: how its requests are read, and its answers written."""

    @property
    def route(self) -> str: ...

    def read(self, request: dict[str, Any]) -> Asked:
        """InvalidRequest for what the route does not know."""

    def answer(self, check: Check) -> dict[str, Any]:
        """To a check that has run."""


@dataclass(frozen=True, slots=True)
class Checks:
    """Serves one form."""

    form: Form
    door: Door
    keeper: Keeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        guest = Checking(self, scope, given_id(scope), time.perf_counter(), self.form.route)
        await self.door.let_in(scope, receive, send, guest)


@dataclass(slots=True)
class Checking:
    """Implements `Guest`: one check."""

    checks: Checks
    scope: Scope
    id: str | None
    began: float
    route: str
    model: str = NO_MODEL
    status: int = 200
    record: Record | None = None

    async def serve(self, visit: Visit, receive: Receive, send: Send) -> None:
        check = await self._open(visit, receive)
        replayed = await visit.once.replay(check.exchange.id, send) if visit.once else None
        self.status = replayed or await self._answer(check, receive, send)

    async def _open(self, visit: Visit, receive: Receive) -> Check:
        """The check that the request asks for."""
        form, plan, tenant = self.checks.form, visit.plan, visit.tenant
        metrics = self.checks.door.metrics
        request = await posted(self.scope, receive, visit, self.route)
        asked = form.read(request)
        guarded = choose(plan, tenant, asked)
        self.id = self.id or asked.id or secrets.token_hex(16)
        self.model = model_of(plan, tenant, asked)
        who = tenant.name if tenant else OPEN
        exchange = Exchange(self.id, who, self.model, guarded.label, self.route, request)
        record = self.record = Record(exchange, self.checks.keeper, metrics, guarded.policy.on_log_failure, self.began)
        if visit.once is not None:
            visit.once.read(self.route, request, lambda: record.outcome == "complete")
        check = Check(asked, Judging(exchange, guarded, record, metrics))
        check.foresee()
        await visit.admit(None)
        return check

    async def _answer(self, check: Check, receive: Receive, send: Send) -> int:
        try:
            with ClientWatch(receive):
                await check.run()
            status, body = 200, self.checks.form.answer(check)
        except WardgateError as error:
            check.judging.record.outcome = error.code
            status, body = error.status, {**error.body(), "wardgate": check.judging.findings()}
        await send_bytes(send, status, [JSON_HEADER, *check.judging.headers()], written(body))
        return status

    async def fail(self, send: Send, error: WardgateError) -> None:
        self.status = error.status
        await send_stranger(send, self.route, self.id or secrets.token_hex(16), error)


def written(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise InvalidRequest("The request is nested too deeply; 250 levels are the most.") from None
