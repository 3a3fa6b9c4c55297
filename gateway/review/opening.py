"""Opens cases, and waits for them."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

import orjson
from redis.exceptions import RedisError

from gateway.holding import CaseNotOpened, Decided, Opening
from gateway.metrics import Metrics
from gateway.privacy import user_digest
from gateway.review import severity
from gateway.review.case import SEVERE, Case, new_id
from gateway.review.outputs import Outputs
from gateway.review.queue import ReviewQueue
from gateway.review.sampling import drawn
from gateway.vault import Destroyed, Vault
from guards.verdict import Action, Stage

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opener:
    """Implements `Cases`."""

    queue: ReviewQueue
    vault: Vault
    outputs: Outputs
    metrics: Metrics

    async def open(self, opening: Opening) -> str:
        case = case_of(opening, time.time())
        try:
            await self.queue.open(case, await self.vault.seal(case.tenant, opening.matter.dump()))
        except (RedisError, OSError, Destroyed, orjson.JSONEncodeError) as error:
            LOG.error("a case could not be opened, its answer is blocked: %s", type(error).__name__)
            raise CaseNotOpened from error
        self.metrics.cases_opened.labels(case.source, case.deliver).inc()
        return case.id

    async def final(self, case: str, seconds: float) -> Decided | None:
        try:
            view = await self.queue.wait(case, seconds)
            return None if view is None else Decided(await self.outputs.final(view))
        except (RedisError, OSError):
            await asyncio.sleep(seconds)
            return None


def case_of(opening: Opening, now: float) -> Case:
    """The case of an exchange, as its policy says."""
    x, policy = opening.exchange, opening.policy
    escalation, review = policy.escalation, policy.review
    asking = [v for v in x.verdicts if v.action is Action.ESCALATE]
    categories = severity.ranked(v.category for v in asking)
    worst = max(map(severity.of, categories), default=0)
    id = x.case or new_id()
    stage: Stage = "input" if asking and all(v.stage == "input" for v in asking) else "output"
    held = opening.deliver != "release"
    return Case(
        id=id,
        exchange=x.id,
        at=x.started,
        opened=now,
        tenant=x.tenant,
        model=x.model,
        policy=x.policy,
        route=x.route,
        stage=stage,
        source=opening.source,
        deliver=opening.deliver,
        severity=worst,
        categories=categories,
        deadline=now + escalation.deadline if held else None,
        on_deadline=escalation.on_deadline,
        reviews=max(1, review.reviews),
        undo=0.0 if opening.deliver == "wait" else review.undo,
        second=worst >= SEVERE or drawn("second", id, review.second_share),
        probability=opening.probability,
        user=user_digest(x.tenant, x.request),
        answer_ids=opening.answer_ids,
    )
