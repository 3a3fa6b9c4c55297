"""A surface that generates, as a raw ASGI application: `POST /v1/chat/completions` and its like."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.admission import Visit
from gateway.api.asgi import ClientGone, ClientWatch, Receive, Scope, Send
from gateway.api.door import Door, given_id, posted, send_error, send_stranger
from gateway.errors import FlagNotDurable, WardgateError
from gateway.exchange import Exchange
from gateway.holding import Cases, Holding
from gateway.judging import Judging
from gateway.pipeline import Run
from gateway.plan import OPEN
from gateway.record import Keeper, Record
from gateway.review.sampling import drawn
from gateway.sender import Sender
from gateway.wire.assembly import WHOLE
from gateway.wire.surface import Wire


@dataclass(frozen=True, slots=True)
class Surface:
    """Parses, finds tenant, model and policy, and runs the exchange."""

    wire: Wire
    door: Door
    keeper: Keeper
    cases: Cases
    bind: Callable[[Exchange], Wire] | None = None
    """For a wire that must know whose exchange it serves: makes the one for an exchange."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        id = given_id(scope) or secrets.token_hex(16)
        await self.door.let_in(scope, receive, send, Asking(self, scope, id, time.perf_counter(), self.wire.route))


@dataclass(slots=True)
class Asking:
    """Implements `Guest`: one request of a surface."""

    surface: Surface
    scope: Scope
    id: str
    began: float
    route: str
    model: str = "unknown"
    status: int = 200
    record: Record | None = None
    run: Run | None = None

    async def serve(self, visit: Visit, receive: Receive, send: Send) -> None:
        run = await self._open(visit, receive, send)
        replayed = await visit.once.replay(self.id, send) if visit.once else None
        if replayed is not None:
            self.status = replayed
            return
        try:
            with ClientWatch(receive):
                await run.serve()
        except ClientGone:
            await run.abandoned()
            raise
        except WardgateError as error:
            await self._end(send, run, await kept(run, error))

    async def _open(self, visit: Visit, receive: Receive, send: Send) -> Run:
        """The exchange that the request asks for."""
        surface, metrics = self.surface, self.surface.door.metrics
        request = await posted(self.scope, receive, visit, self.route)
        served = visit.plan.serve(request.get("model"), visit.tenant)
        who = visit.tenant.name if visit.tenant else OPEN
        exchange = Exchange(self.id, who, str(request["model"]), served.guarded.label, self.route, request)
        record = Record(exchange, surface.keeper, metrics, served.guarded.policy.on_log_failure, self.began)
        if visit.once is not None:
            visit.once.read(self.route, request, lambda: record.outcome == "complete")
        wire = surface.bind(exchange) if surface.bind else surface.wire
        judging = Judging(exchange, served.guarded, record, metrics)
        frame = visit.plan.document.server.max_frame
        run = self.run = Run(wire, served, judging, Sender(send, judging, self.began), frame)
        self._may_hold(run)
        self.record, self.model = record, exchange.model
        run.foresee()
        await visit.admit(request)
        run.usage = visit.usage
        return run

    def _may_hold(self, run: Run) -> None:
        """Where a person may have to look at the answer, or the lot falls on it, before any guard has looked."""
        if self.route not in WHOLE:
            return
        review, cases = run.guarded.policy.review, self.surface.cases
        lot = f"{run.exchange.id} {run.exchange.started!r}"
        if review.audit_share and drawn("audit", lot, review.audit_share):
            run.lot = review.audit_share
        if run.guarded.escalates or run.lot is not None:
            run.holding = Holding(run, cases)
            run.sender.listen = run.holding.tell

    async def _end(self, send: Send, run: Run, error: WardgateError) -> None:
        """An error of an exchange: its headers and findings go with it."""
        if run.sender.started:
            await run.end_broken(error)
            return
        run.record.outcome, self.status = error.code, error.status
        more = {"wardgate": run.judging.findings()} if run.exchange.verdicts else None
        await send_error(send, self.route, error, run.judging.headers(), more)

    async def fail(self, send: Send, error: WardgateError) -> None:
        self.status = error.status
        if self.run is not None and self.run.sender.started:
            await self.run.end_broken(error)
        else:
            await send_stranger(send, self.route, self.id, error)


async def kept(run: Run, error: WardgateError) -> WardgateError:
    """Whatever ends an exchange, what was flagged in it stays; the error to tell."""
    run.record.outcome = error.code
    try:
        if not isinstance(error, FlagNotDurable):
            await run.record.keep({}, end=True)
    except FlagNotDurable as worse:
        return worse
    return error
