"""What is kept of exchanges, taken away again: of one end user who asks for it, and of all once it is old enough."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.access import Plans
from gateway.live.flags import FlagLog
from gateway.plan import OPEN
from gateway.privacy import digest_of
from gateway.review.ledger import Ledger
from gateway.review.queue import ReviewQueue, View
from guards.review import Review

LOG = logging.getLogger(__name__)
EVERY = 3600.0
"""Seconds between sweeps."""


@dataclass(frozen=True, slots=True)
class Gone:
    """How much of it there was."""

    flags: int
    cases: int


@dataclass(frozen=True, slots=True)
class Records:
    """Flags, cases and held answers. What people decided stays in the ledger, without any text."""

    flags: FlagLog
    queue: ReviewQueue
    ledger: Ledger
    clock: Callable[[], float] = time.time

    async def forget(self, tenant: str, user: str, actor: str) -> Gone:
        """Everything of one end user, named as the application names him in `user` or `safety_identifier`."""
        digest = digest_of(tenant, user)
        cases = await self.queue.by_user(tenant, digest)
        flags = await self.flags.of_user(digest)
        row = {"kind": "forgotten", "tenant": tenant, "user": digest, "actor": actor, "at": self.clock()}
        await self.ledger.append({**row, "flags": len(flags), "cases": len(cases)})
        gone = Gone(sum([await self.flags.forget(id, user=digest) for id in flags]), 0)
        return Gone(gone.flags, sum([await self.queue.forget(id) for id in cases]))

    async def sweep(self, plans: Plans) -> Gone:
        """What is older than its policy's `retention`; of a policy that is no more, than the longest default."""
        kept = {p.name: p.review.retention for p in plans.plan.document.policies}
        default, now = Review().retention, self.clock()
        youngest = now - min([*kept.values(), default])
        flags = await self._sweep_flags(kept, default, now)
        cases = 0
        old = [
            v async for v in self.queue.closed_since(None, 0.0) if v.closed_at is not None and v.closed_at < youngest
        ]
        for view in old:
            if view.state == "closed" and now - (view.closed_at or now) > kept.get(name_of(view.case.policy), default):
                cases += await self.queue.forget(view.case.id)
        cases += await self._sweep_open(plans, kept, default, now)
        if flags or cases:
            row = {"kind": "forgotten", "actor": "retention", "at": now, "flags": flags, "cases": cases}
            await self.ledger.append(row)
        return Gone(flags, cases)

    async def _sweep_flags(self, kept: dict[str, float], default: float, now: float) -> int:
        """Page by page: of the oldest flags, many may be of a policy that keeps them for long."""
        gone, staying = 0, 0
        while page := await self.flags.before(now - min([*kept.values(), default]), staying):
            for at, head in page:
                if now - at > kept.get(name_of(head.get("policy")), default):
                    gone += await self.flags.forget(str(head["id"]), at=at)
                else:
                    staying += 1
        return gone

    async def _sweep_open(self, plans: Plans, kept: dict[str, float], default: float, now: float) -> int:
        """Cases that nobody took, or nobody decided again. Where somebody waits, the deadline decides first."""
        gone = 0
        for tenant in [t.name for t in plans.plan.document.tenants] or [OPEN]:
            for id in await self.queue.opened_before(tenant, now - min([*kept.values(), default])):
                view = await self.queue.get(id)
                policy = name_of(view.case.policy) if view else ""
                if view and now - view.case.opened > kept.get(policy, default) and not waits(view, now):
                    gone += await self.queue.forget(id)
        return gone

    async def sweep_forever(self, plans: Plans) -> None:
        """Every process may do it at once."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                gone = await self.sweep(plans)
                LOG.info("retention: %d flags and %d cases are gone", gone.flags, gone.cases)
            except Exception as error:  # whatever it is, the next sweep comes
                LOG.warning("retention waits: %s", type(error).__name__)


def waits(view: View, now: float) -> bool:
    """Whether an application still waits for the answer, or somebody has the case."""
    return view.state == "leased" or (view.case.deadline or 0.0) > now


def name_of(policy: Any) -> str:
    return str(policy or "").partition("@")[0]
