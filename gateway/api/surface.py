"""A surface that generates, as a raw ASGI application: `POST /v1/chat/completions` and its like."""

from __future__ import annotations

import logging
import re
import secrets
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from gateway.access import Access
from gateway.admission import Visit
from gateway.api.anthropic import body_of, ids_of
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
from gateway.plan import OPEN
from gateway.record import Keeper, Record
from gateway.wire.surface import Wire

LOG = logging.getLogger("wardgate")
SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(slots=True)
class Surface:
    """Parses, finds tenant, model and policy, runs the exchange, and turns errors into answers."""

    wire: Wire
    access: Access
    keeper: Keeper
    metrics: Metrics
    bind: Callable[[Exchange], Wire] | None = None
    """For a wire that must know whose exchange it serves: makes the one for an exchange."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        self.metrics.inflight.inc()
        given = header(scope, b"x-request-id")
        id = given if given and SANE_ID.fullmatch(given) else secrets.token_hex(16)
        status, run, visit = "499", None, None
        try:
            visit = self.access.visit(scope)
            send = visit.over(send)
            run = await self._open(scope, receive, send, id, began, visit=visit)
            replayed = await visit.once.replay(id, send) if visit.once else None
            if replayed is None:
                await self._serve(run, receive, send)
            status = str(replayed or run.status)
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
            if visit is not None:
                visit.leave()
            self.metrics.inflight.dec()
            self._count(run, status, time.perf_counter() - began)

    def _count(self, run: Run | None, status: str, seconds: float) -> None:
        model = run.exchange.model if run else "unknown"
        verdicts = run.exchange.verdicts if run else []
        self.metrics.answered(model, self.wire.route, status, seconds, verdicts)
        if run is not None and run.record.parts:
            self.metrics.flags.inc()

    async def _open(self, scope: Scope, receive: Receive, send: Send, id: str, began: float, *, visit: Visit) -> Run:
        """The exchange that a request asks for."""
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{self.wire.route} takes POST.", headers={"allow": "POST"})
        plan, tenant = visit.plan, visit.tenant
        limits = plan.document.server
        request = parse_object(await read_body(scope, receive, limits.max_body, limits.body_timeout))
        served = plan.serve(request.get("model"), tenant)
        who = tenant.name if tenant else OPEN
        exchange = Exchange(id, who, str(request["model"]), served.guarded.label, self.wire.route, request)
        policy = served.guarded.policy
        record = Record(exchange, self.keeper, self.metrics, policy.on_log_failure, began)
        if visit.once is not None:
            visit.once.read(self.wire.route, request, lambda: record.outcome == "complete")
        wire = self.bind(exchange) if self.bind else self.wire
        run = Run(wire, exchange, served, record, self.metrics, send, limits.max_frame, began=began)
        run.foresee()
        await visit.admit(request)
        run.usage = visit.usage
        return run

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
        body = body_of(self.wire.route, error)
        if run.exchange.verdicts:
            body = {**body, "wardgate": run.wardgate()}
        headers = [JSON_HEADER, *run.headers(), *encode_headers(error.headers.items())]
        await send_bytes(send, error.status, headers, orjson.dumps(body))

    async def _fail(self, send: Send, id: str, run: Run | None, error: WardgateError) -> None:
        if run is not None and run.started:
            await run.end_broken(error)
            return
        pairs = list(error.headers.items())
        if error.status in (408, 413):
            pairs.append(("connection", "close"))
        body = orjson.dumps(body_of(self.wire.route, error))
        await send_bytes(send, error.status, [JSON_HEADER, *ids_of(self.wire.route, id), *encode_headers(pairs)], body)


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
