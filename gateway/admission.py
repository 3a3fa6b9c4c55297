"""One request's way through the limits of its tenant: admitted, counted, told of, and let go."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.api.asgi import Message, Send, encode_headers
from gateway.errors import LimiterUnavailable, RateLimited
from gateway.idempotency import Once
from gateway.live.batch import Away
from gateway.live.limits import Grant, Limiter, Reason
from gateway.metrics import Metrics
from gateway.plan import Plan
from gateway.tokens import Usage, bound, weigh
from guards.policy import Limits, Tenant

NONE = Limits()


@dataclass(slots=True)
class Visit:
    """A request from its key to its last byte. Of a tenant without limits it does nothing."""

    plan: Plan
    tenant: Tenant | None
    limiter: Limiter
    metrics: Metrics
    once: Once | None = None
    """The request bears an `Idempotency-Key`."""
    usage: Usage | None = None
    """What the exchange uses, where somebody wants to know."""
    grant: Grant | None = None
    asked: bool = False
    status: int = 200
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def limits(self) -> Limits:
        return self.tenant.limits if self.tenant else NONE

    @property
    def limited(self) -> bool:
        bounds = self.limits
        return bool(bounds.requests_per_minute or bounds.tokens_per_minute or bounds.concurrent)

    async def admit(self, request: Mapping[str, Any] | None) -> None:
        """RateLimited where a limit has no room for it. None: a request that costs no tokens."""
        if self.tenant is None or not self.limited:
            return
        tokens = 0
        if request is not None and self.limits.tokens_per_minute:
            self.usage = Usage(weigh(request))
            tokens = self.usage.prompt + bound(request)
        self.asked = True
        try:
            grant = await self.limiter.admit(self.tenant.name, self.limits, tokens, self.id)
        except Away:
            self._away()
            return
        self.grant = grant
        if grant.reason:
            self.metrics.limited.labels(grant.reason).inc()
            raise RateLimited(past(grant.reason, self.limits, grant), headers=later(grant.wait))

    def over(self, send: Send) -> Send:
        """Adds the headers of the limits, and lets go of the request before the end of its answer leaves."""
        if not self.limited:
            return self.once.over(send) if self.once else send

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                headers = encode_headers((await self.headers()).items())
                message = {**message, "headers": [*message["headers"], *headers]}
            elif not message.get("more_body"):
                self.release()
            await send(message)

        return self.once.over(counting) if self.once else counting

    async def headers(self) -> dict[str, str]:
        """OpenAI's headers, true to the count. What is answered before it was weighed counts as a request."""
        bounds = self.limits
        counted = bounds.requests_per_minute or bounds.tokens_per_minute
        if not self.asked and self.tenant is not None and counted:
            self.asked = True
            try:
                self.grant = await self.limiter.count(self.tenant.name, self.limits)
            except Away:
                self.metrics.limiter_failures.inc()
        return rows(self.limits, self.grant) if self.grant else {}

    def leave(self) -> None:
        """The request has ended, however."""
        self.release()
        if self.once is not None:
            self.once.leave()

    def release(self) -> None:
        """Settle what was charged, and free the slot; once."""
        grant, self.grant = self.grant, None
        if grant is not None and not grant.reason and self.tenant is not None:
            self.limiter.leave(self.tenant.name, self.id, grant, self._used())

    def _used(self) -> int | None:
        if self.usage is None or (self.status >= 400 and not self.usage.counts):
            return 0
        return self.usage.total

    def _away(self) -> None:
        self.metrics.limiter_failures.inc()
        if self.plan.document.server.on_limiter_failure == "block":
            raise LimiterUnavailable("The limits cannot be looked up now; ask again.", headers={"retry-after": "1"})


def rows(limits: Limits, grant: Grant) -> dict[str, str]:
    """https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers"""
    out: dict[str, str] = {}
    if limit := limits.requests_per_minute:
        out |= of("requests", limit, grant.requests, grant.reset_requests)
    if limit := limits.tokens_per_minute:
        out |= of("tokens", limit, grant.tokens, grant.reset_tokens)
    return out


def of(what: str, limit: int, used: int, reset: float) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{what}": str(limit),
        f"x-ratelimit-remaining-{what}": str(max(0, limit - used)),
        f"x-ratelimit-reset-{what}": spelled(reset),
    }


def spelled(seconds: float) -> str:
    """As OpenAI writes it, which is Go's way: `6m0s`, `8.64s`, `120ms`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms" if seconds > 0 else "0s"
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{int(minutes)}m{rest:.3g}s" if minutes else f"{rest:.5g}s"


def past(reason: Reason, limits: Limits, grant: Grant) -> str:
    """Which limit it was, and what to do."""
    if reason == "concurrent":
        return f"Too many requests at a time: {limits.concurrent} may be under way. Wait for one to end."
    limit = limits.requests_per_minute if reason == "requests" else limits.tokens_per_minute
    used = grant.requests if reason == "requests" else grant.tokens
    asked = 1 if reason == "requests" else grant.charged
    state = f"{limit} {reason} a minute, {used} used, {asked} asked"
    return f"Rate limit reached: {state}. Try again in {spelled(grant.wait)}."


def later(seconds: float) -> dict[str, str]:
    """SDKs that know milliseconds wait no longer than they must."""
    ms = math.ceil(seconds * 1000)
    return {"retry-after": str(max(1, math.ceil(seconds))), "retry-after-ms": str(ms)}
