"""What was decided before: of similar cases, and of the same end user's."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.review.case import Case
from gateway.review.decision import TIMEOUT, Decision
from gateway.review.page import Past
from gateway.review.queue import ReviewQueue, View

DAY = 86400.0
WEEK = 7 * DAY
WINDOWS = (3600.0, DAY, 30 * DAY)
"""Seconds: cases of the last hour are looked through first, the older ones where that is not enough."""
READ = 400
"""Cases of one window that are looked through at most."""
NEAREST = 3
CASES = 200
"""Cases of one user that are counted at most."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """Looks through a tenant's cases."""

    queue: ReviewQueue

    async def nearest(self, case: Case, now: float) -> list[Past]:
        """Up to three, the likest first: those with most categories in common, of the same policy, the latest."""
        found: list[View] = []
        for seconds in WINDOWS if case.categories else ():
            found = await self._alike(case, now - seconds)
            if len(found) >= NEAREST:
                break
        found.sort(key=lambda v: likeness(case, v), reverse=True)
        return [past(case, v.case, v.outcome) for v in found[:NEAREST] if v.outcome]

    async def _alike(self, case: Case, since: float) -> list[View]:
        found: list[View] = []
        seen = 0
        async for view in self.queue.closed_since(case.tenant, since):
            seen += 1
            if comparable(case, view):
                found.append(view)
            if seen >= READ:
                break
        return found

    async def of_user(self, case: Case, now: float) -> dict[str, int]:
        """How many other cases this end user had in 7 days, and how they ended."""
        ids = await self.queue.by_user(case.tenant, case.user) if case.user else []
        others = [id for id in ids if id != case.id][:CASES]
        views = await asyncio.gather(*map(self.queue.get, others))
        return counted([v for v in views if v is not None and v.case.opened >= now - WEEK])


def counted(views: Sequence[View]) -> dict[str, int]:
    """`cases`, and how many ended with each choice; nothing where there is none."""
    choices = Counter(str(v.outcome.choice) for v in views if v.outcome is not None and v.phase != "second")
    return {"cases": len(views), **choices} if views else {}


def comparable(case: Case, view: View) -> bool:
    """A person decided it, by itself, of something of the same kind. One that is judged anew gives nothing away."""
    outcome = view.outcome
    if view.case.id == case.id or outcome is None or outcome.reviewer == TIMEOUT or outcome.bulk:
        return False
    open_again = view.phase in ("second", "dispute")
    return not open_again and not set(case.categories).isdisjoint(view.case.categories)


def likeness(case: Case, view: View) -> tuple[float, bool, bool, float]:
    mine, others = set(case.categories), set(view.case.categories)
    overlap = len(mine & others) / len(mine | others)
    same_policy = policy_name(case) == policy_name(view.case)
    return overlap, same_policy, case.stage == view.case.stage, view.closed_at or 0.0


def past(case: Case, other: Case, outcome: Decision) -> Past:
    shared = ", ".join(c for c in case.categories if c in other.categories)
    return Past(other.id, outcome.choice, outcome.reason, shared, outcome.at, outcome.note)


def policy_name(case: Case) -> str:
    return case.policy.partition("@")[0]
