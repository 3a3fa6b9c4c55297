"""What guards say of one exchange, be it with a model or only a check: asked, timed, counted, and kept with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.api.anthropic import ids_of
from gateway.api.asgi import Headers
from gateway.errors import MediaRefused
from gateway.exchange import Exchange
from gateway.media import judge_media
from gateway.metrics import Metrics
from gateway.plan import NO_POLICY, Guarded
from gateway.prompting import Edit, judge_texts
from gateway.record import Record
from gateway.scoring import notable
from gateway.wire.judge import Judge
from gateway.wire.media import Medium
from gateway.wire.prompt import TextSlot
from guards.cache import Recall
from guards.catalog import Lanes
from guards.scored import ScoredLane, Text
from guards.verdict import RANK, Action, Stage, Verdict, strongest

SHOWN_FINDINGS = 100


@dataclass(frozen=True, slots=True)
class Judging:
    """Of one exchange, by its policy."""

    exchange: Exchange
    guarded: Guarded
    record: Record
    metrics: Metrics
    clock: Callable[[], float] = time.perf_counter

    @property
    def escalated(self) -> bool:
        """A person is to look at it. What another guard blocks needs none."""
        return self.exchange.action is Action.ESCALATE

    @property
    def withheld(self) -> bool:
        """Nothing of what was judged may go on."""
        return RANK[self.exchange.action] >= self.guarded.floor

    def categories(self) -> list[str]:
        """What it is withheld for."""
        return sorted({v.category for v in self.exchange.verdicts if RANK[v.action] >= self.guarded.floor})

    # -- asking

    async def media(self, media: Sequence[Medium]) -> MediaRefused | None:
        """The refusal, where the policy does not let one of them through."""
        if not media or self.guarded.policy.name == NO_POLICY:
            return None
        began = self.clock()
        judge = await judge_media(media, self.guarded.policy.media)
        self.spent("input", self.clock() - began)
        self.exchange.verdicts += judge.verdicts
        return judge.refusal

    async def exactly(self, lanes: Lanes, stage: Stage, slots: Sequence[TextSlot]) -> list[Edit]:
        """The exact guards over a request's texts; what they rewrote stands in it, what it was in the record."""
        began = self.clock()
        judge = Judge(lanes.enforced, lanes.monitored, self.guarded.folder, stage)
        edits = await judge_texts(judge, slots)
        self.took(judge, began)
        self.settle(judge)
        if edits:
            self.record.request = orjson.loads(orjson.dumps(self.exchange.request))
            for slot, text in edits:
                slot.put(text)
        return edits

    async def score(self, lane: ScoredLane, asked: Sequence[Text], recall: Recall | None = None) -> list[Verdict]:
        """What the scoring guards found."""
        began = self.clock()
        found = notable(await lane.check(asked, recall=recall, quiet=True))
        self.spent(lane.stage, self.clock() - began)
        self.exchange.verdicts += found
        return found

    # -- keeping

    def settle(self, judge: Judge) -> None:
        """What the exact lane found belongs to the exchange from now on."""
        self.exchange.verdicts += judge.verdicts
        judge.verdicts.clear()

    def took(self, judge: Judge, began: float) -> None:
        self.spent(judge.stage, self.clock() - began)

    def spent(self, stage: Stage, seconds: float) -> None:
        self.exchange.guard_seconds += seconds
        self.metrics.judged(stage, seconds)

    def expose(self, guard: str, chars: int) -> None:
        """So many characters left before this guard's verdict on them, which would have stopped them."""
        self.exchange.exposure[guard] = self.exchange.exposure.get(guard, 0) + chars
        self.metrics.exposed.labels(guard).inc(chars)

    # -- telling

    def findings(self, fresh: Sequence[Verdict] = ()) -> dict[str, Any]:
        """The `wardgate` object of an answer, `fresh` being found but not settled yet. Monitored guards do not show."""
        found = [*self.exchange.verdicts, *fresh]
        shown = [v.finding() for v in found if v.action is not Action.ALLOW or v.error]
        action = str(strongest(found))
        case = {"case": self.exchange.case} if self.exchange.case else {}
        return {"action": action, "policy": self.exchange.policy, **case, "findings": shown[:SHOWN_FINDINGS]}

    def headers(self) -> Headers:
        x = self.exchange
        return [
            *ids_of(x.route, x.id),
            (b"x-wardgate-policy", self.guarded.header),
            (b"x-wardgate-action", x.action.encode()),
            (b"x-wardgate-guard-ms", b"%.2f" % (x.guard_seconds * 1e3)),
            *([(b"x-wardgate-case", x.case.encode())] if x.case else []),
        ]
