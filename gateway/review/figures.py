"""How reviewers work, and how far they agree."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any

from gateway.review.agreement import alpha, interval
from gateway.review.decision import FINAL, TIMEOUT, Decision
from gateway.review.earlier import policy_name
from gateway.review.queue import ReviewQueue, View

DAY = 86400.0
STATS = 30 * DAY
"""Seconds over which somebody's figures go."""
AGREEMENT = 90 * DAY
UNITS = 2000
"""Cases of a policy over which agreement is computed, the latest."""
SEED = 0
"""The same cases give the same interval."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Of one reviewer, over the last 30 days."""

    count: int
    days: Mapping[str, int] = field(default_factory=dict)
    """Day (UTC, ISO 8601) -> decisions."""
    median: float | None = None
    """Seconds for a case; None: there is none."""
    overturned: float | None = None
    """Share of his decisions in which another's word holds now; None: he has decided none that ended a case."""
    agreement: float | None = None
    """Share of the cases that somebody else judged independently, and alike; None: there is none."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Reads them from the cases that were decided."""

    queue: ReviewQueue

    async def stats(self, tenant: str, reviewer: str, now: float) -> Stats:
        views = [v async for v in self.queue.closed_since(tenant, now - STATS)]
        return stats(views, reviewer, now - STATS)

    async def agreement(self, tenant: str, now: float) -> list[dict[str, Any]]:
        """`{policy, units, alpha, interval}`: Krippendorff's alpha and its 95% interval, None below 2 cases."""
        units: defaultdict[str, list[list[str]]] = defaultdict(list)
        async for view in self.queue.closed_since(tenant, now - AGREEMENT):
            said = [decision.choice for decision in judgements(view)]
            if len(said) > 1:
                units[policy_name(view.case)].append([str(choice) for choice in said])
        return [await asyncio.to_thread(agreed, name, units[name][-UNITS:]) for name in sorted(units)]


def stats(views: Iterable[View], reviewer: str, since: float) -> Stats:
    mine: list[Decision] = []
    ended: list[bool] = []
    alike: list[bool] = []
    for view in views:
        said = [d for d in view.reviews if d.reviewer == reviewer and d.at >= since]
        mine += said
        if (last := next((d for d in reversed(said) if d.choice in FINAL), None)) is not None:
            ended.append(overruled(view, last))
            alike += compared(view, reviewer)
    seconds = [d.seconds for d in mine if d.seconds > 0]
    return Stats(len(mine), by_day(mine), median(seconds) if seconds else None, share(ended), share(alike))


def overruled(view: View, mine: Decision) -> bool:
    """Somebody else's word holds now, and it is another."""
    held = view.outcome
    return held is not None and held.reviewer != mine.reviewer and word(held) != word(mine)


def word(decision: Decision) -> tuple[str, tuple[tuple[str, str], ...]]:
    return decision.choice, tuple(sorted(decision.edits.items()))


def compared(view: View, reviewer: str) -> Iterator[bool]:
    """Whether each of the others said the same, in a case that several judged each for himself."""
    words = {d.reviewer: d.choice for d in judgements(view)}
    mine = words.pop(reviewer, None)
    if mine is not None:
        yield from (other == mine for other in words.values())


def judgements(view: View) -> list[Decision]:
    """What people said without knowing of each other: the first word, and those that were given blind; one of each."""
    found: dict[str, Decision] = {}
    for decision in view.reviews:
        counts = decision.choice in FINAL and decision.reviewer != TIMEOUT and not decision.bulk
        if counts and not decision.supersedes and (not found or decision.blind):
            found.setdefault(decision.reviewer, decision)
    return list(found.values())


def by_day(decisions: Iterable[Decision]) -> dict[str, int]:
    days: defaultdict[str, int] = defaultdict(int)
    for decision in decisions:
        days[datetime.fromtimestamp(decision.at, UTC).date().isoformat()] += 1
    return dict(sorted(days.items()))


def share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


def agreed(policy: str, units: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Slow: two thousand cases take seconds."""
    known = len(units) > 1
    spread = interval(units, SEED) if known else None
    return {"policy": policy, "units": len(units), "alpha": alpha(units) if known else None, "interval": spread}
