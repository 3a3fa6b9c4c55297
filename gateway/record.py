"""What the flag log gets of an exchange, part by part, each before the bytes that it judges leave."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from gateway.errors import FlagNotDurable
from gateway.exchange import Exchange, FlagPart
from gateway.metrics import Metrics
from gateway.privacy import user_digest
from gateway.wire.media import without_media
from guards.verdict import RANK, Verdict


class Keeper(Protocol):
    """Keeps parts of flagged exchanges; returns once they are durable."""

    async def keep(self, part: FlagPart) -> None: ...


@dataclass(slots=True)
class Record:
    """Of one exchange. One that is not flagged costs nothing here."""

    exchange: Exchange
    keeper: Keeper
    metrics: Metrics
    on_failure: Literal["block", "allow"]
    """What it means when a part can be kept nowhere."""
    began: float
    told: int = 0
    """Verdicts that the flag log has."""
    parts: int = 0
    ended: bool = False
    """Its last part was written."""
    outcome: str = "complete"
    request: dict[str, Any] | None = None
    """As the client wrote it, where a guard rewrote some of it."""
    clock: Callable[[], float] = time.perf_counter

    @property
    def flagged(self) -> bool:
        return any(RANK[v.would] > 0 or v.error for v in self.exchange.verdicts)

    async def keep(self, answer: dict[str, str], *, end: bool) -> None:
        """Make durable what the flag log does not have yet; FlagNotDurable where that stops the exchange."""
        if self.ended or (not self.parts and not self.flagged):
            return
        self.ended, x = end, self.exchange
        part = FlagPart(x.id, self.parts, x.started, self._body(answer, end=end), x.tenant)
        self.parts += 1
        self.told = len(self.exchange.verdicts)
        try:
            await self.keeper.keep(part)
        except FlagNotDurable:
            self.metrics.flag_lost()
            if self.on_failure == "block":
                raise

    def rows(self) -> list[dict[str, Any]]:
        """Every verdict so far."""
        return [row(v) for v in self.exchange.verdicts]

    def _body(self, answer: dict[str, str], *, end: bool) -> dict[str, Any]:
        fresh = self.exchange.verdicts[self.told :]
        body: dict[str, Any] = {"verdicts": [row(v) for v in fresh], "answer": answer}
        if not self.parts:
            body["head"] = self._head()
        if end:
            body["end"] = self._end()
        return body

    def _head(self) -> dict[str, Any]:
        x = self.exchange
        head = {"tenant": x.tenant, "model": x.model, "policy": x.policy, "route": x.route, "started": x.started}
        user = user_digest(x.tenant, x.request)
        whose = {"user": user} if user else {}
        return {**head, **whose, "request": without_media(self.request or x.request)}

    def _end(self) -> dict[str, Any]:
        x = self.exchange
        took = self.clock() - self.began
        end = {"action": str(x.action), "outcome": self.outcome, "exposure": x.exposure, "took": took}
        return {**end, "case": x.case} if x.case else end

    async def client_gone(self) -> None:
        self.outcome = "client_closed"
        if self.parts:
            await self.keep({}, end=True)


def row(verdict: Verdict) -> dict[str, Any]:
    """A verdict as the flag log keeps it."""
    found = {**verdict.finding(), "would": str(verdict.would), "version": verdict.version}
    return {**found, "spans": [list(s) for s in verdict.spans]}
