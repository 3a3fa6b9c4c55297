"""A surface that generates, as a raw ASGI application: `POST /v1/chat/completions` and its like."""

from __future__ import annotations

import logging
import re
import secrets
import time
import traceback
from dataclasses import dataclass
from typing import Protocol

import orjson

from gateway.api.asgi import (
    JSON_HEADER,
    ClientGone,
    ClientWatch,
    Receive,
    Scope,
    Send,
    encode_headers,
    header,
    parse_object,
    read_body,
    send_bytes,
)
from gateway.errors import FlagNotDurable, MethodNotAllowed, WardgateError
from gateway.exchange import Exchange
from gateway.metrics import Metrics
from gateway.pipeline import Run
from gateway.plan import OPEN, Plan
from gateway.record import Keeper, Record
from gateway.wire.surface import Wire

LOG = logging.getLogger("wardgate")
SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Plans(Protocol):
    """Whoever knows the plan in force."""

    @property
    def plan(self) -> Plan: ...


@dataclass(slots=True)
class Surface:
    """Parses, finds tenant, model and policy, runs the exchange, and turns errors into answers."""

    wire: Wire
    plans: Plans
    keeper: Keeper
    metrics: Metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        self.metrics.inflight.inc()
        given = header(scope, b"x-request-id")
        id = given if given and SANE_ID.fullmatch(given) else secrets.token_hex(16)
        status, run = "499", None
        try:
            run = await self._open(scope, receive, send, id, began)
            await self._serve(run, receive, send)
            status = str(run.status)
        except ClientGone:
            if run is not None:
                await run.record.client_gone()
        except WardgateError as error:
            status = str(error.status)
            await self._fail(send, id, run, error)
        except Exception as defect:  # a defect can be of any class, and its client must still get an answer
            status = "500"
            LOG.error("defect in request %s: %s", id, place_of(defect))
            await self._fail(send, id, run, WardgateError("Internal error."))
        finally:
            self.metrics.inflight.dec()
            self._count(run, status, time.perf_counter() - began)

    def _count(self, run: Run | None, status: str, seconds: float) -> None:
        model = run.exchange.model if run else "unknown"
        verdicts = run.exchange.verdicts if run else []
        self.metrics.answered(model, self.wire.route, status, seconds, verdicts)
        if run is not None and run.record.parts:
            self.metrics.flags.inc()

    async def _open(self, scope: Scope, receive: Receive, send: Send, id: str, began: float) -> Run:
        """The exchange that a request asks for."""
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{self.wire.route} takes POST.", headers={"allow": "POST"})
        plan = self.plans.plan
        tenant = plan.tenant(header(scope, b"authorization"))
        limits = plan.document.server
        request = parse_object(await read_body(scope, receive, limits.max_body, limits.body_timeout))
        served = plan.serve(request.get("model"), tenant)
        who = tenant.name if tenant else OPEN
        exchange = Exchange(id, who, str(request["model"]), served.guarded.label, self.wire.route, request)
        policy = served.guarded.policy
        record = Record(exchange, self.keeper, self.metrics, policy.on_log_failure, began)
        return Run(self.wire, exchange, served, record, self.metrics, send, limits.max_frame, began=began)

    async def _serve(self, run: Run, receive: Receive, send: Send) -> None:
        try:
            with ClientWatch(receive):
                await run.serve()
        except WardgateError as error:
            told = await kept(run, error)
            if run.started:
                await run.end_broken(told)
            else:
                await self._answer_error(send, run, told)

    async def _answer_error(self, send: Send, run: Run, error: WardgateError) -> None:
        """An error of an exchange: its headers and findings go with it."""
        run.record.outcome, run.status = error.code, error.status
        body = error.body()
        if run.exchange.verdicts:
            body = {**body, "wardgate": run.wardgate()}
        headers = [JSON_HEADER, *run.headers(), *encode_headers(error.headers.items())]
        await send_bytes(send, error.status, headers, orjson.dumps(body))

    async def _fail(self, send: Send, id: str, run: Run | None, error: WardgateError) -> None:
        if run is not None and run.started:
            await run.end_broken(error)
            return
        pairs = [("x-request-id", id), *error.headers.items()]
        if error.status in (408, 413):
            pairs.append(("connection", "close"))
        await send_bytes(send, error.status, [JSON_HEADER, *encode_headers(pairs)], orjson.dumps(error.body()))


async def kept(run: Run, error: WardgateError) -> WardgateError:
    """Whatever ends an exchange, what was flagged in it stays; the error to tell."""
    run.record.outcome = error.code
    try:
        if not isinstance(error, FlagNotDurable):
            await run.record.keep({}, end=True)
    except FlagNotDurable as worse:
        return worse
    return error


def place_of(defect: Exception) -> str:
    """Class and calls, innermost last. Never the message, which may repeat a prompt."""
    calls = traceback.extract_tb(defect.__traceback__)
    return " > ".join([type(defect).__name__, *(f"{c.filename}:{c.lineno} {c.name}" for c in calls)])
