"""Whatever people do in whatever order, every case is somewhere, in one place, and what is in force was said."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.errors import NotClaimable, NotUndoable, StaleLease
from gateway.review.case import Level
from gateway.review.decision import FINAL, TIMEOUT, Choice, Decision
from gateway.review.ledger import Ledger
from gateway.review.queue import Claim, ReviewQueue, View
from tests.gateway.review.test_queue import ALL, CASE, NOW, Clock

PEOPLE = ("ann", "bob", "carl", "dora")
P = "{wardgate}:review"
CASES = 3
CHOICES: Sequence[Choice] = ("allow", "block", "escalate", "cannot_judge")
TERMS: Sequence[dict[str, Any]] = ({"reviews": 2}, {"second": True, "deadline": NOW + 20}, {"undo": 0.0})
Step = tuple[str, str, int, Choice]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            (*["decide"] * 5, *["undo", "settle", "wait"] * 2, "claim", "skip", "release", "renew", "anew")
        ),
        st.sampled_from(PEOPLE),
        st.integers(0, CASES - 1),
        st.sampled_from(CHOICES),
    ),
    min_size=15,
    max_size=60,
)


@dataclass
class World:
    redis: Redis
    clock: Clock
    queue: ReviewQueue
    claims: dict[str, Claim] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)
    """Who -> the case of his last word."""
    said: int = 0

    async def step(self, what: str, who: str, which: int, choice: Choice) -> None:
        claim, case = self.claims.get(who), f"case_{which}"
        level: Level = "senior" if who == "dora" else "reviewer"
        if what in ("claim", "decide"):
            found = await self.queue.claim("acme", who, level=level)
            if found:
                self.claims[who] = claim = found
        if what == "settle":
            await self.queue.settle()
        elif what == "wait":
            self.clock.now += (7.0, 31.0, 601.0)[which]
        elif what == "undo":
            self.claims[who] = await self.queue.undo(self.last.get(who, case), who)
        elif what == "anew":
            await self.queue.supersede(Decision(case, "allow", who, self.clock.now, supersedes=True))
        elif claim is not None and what != "claim":
            await self.with_claim(what, who, claim, choice)

    async def with_claim(self, what: str, who: str, claim: Claim, choice: Choice) -> None:
        id, token = claim.case.id, claim.token
        if what == "decide":
            self.said, self.last[who] = self.said + 1, id
            await self.queue.submit(Decision(id, choice, who, self.clock.now, token=token), key=str(self.said))
        elif what == "skip":
            await self.queue.skip(id, who, token, "no")
        elif what == "release":
            await self.queue.release(id, who, token)
        else:
            await self.queue.renew(id, who, token)

    async def check(self) -> None:
        """What holds after every step."""
        holders: list[str] = []
        for view in [await self.queue.get(f"case_{i}") for i in range(CASES)]:
            assert view is not None
            await self.placed(view)
            if view.state == "leased":
                holders.append(view.reviewer)
            spoken = [d for d in view.reviews if d.choice in FINAL]
            for word in (view.outcome, view.pending):
                assert word is None or word in spoken
            assert (view.closed_at is None) == (view.outcome is None)
            people = [d.reviewer for d in view.reviews if not d.supersedes and d.reviewer != TIMEOUT]
            assert len(people) == len(set(people))
        assert len(holders) == len(set(holders))
        assert await Ledger(self.redis).verify() is None

    async def placed(self, view: View) -> None:
        id, t = view.case.id, view.case.tenant
        lists = {
            "ready": [f"{P}:ready:{t}:{level}" for level in ("reviewer", "senior")],
            "leased": [f"{P}:leased"],
            "closed": [f"{P}:closed:{t}"],
        }
        found = {name: sum([await self.redis.zscore(k, id) is not None for k in keys]) for name, keys in lists.items()}
        deciding: Any = await self.redis.sismember(f"{P}:deciding:{t}", id)
        assert found["ready"] == (view.state == "open")
        assert found["leased"] == (view.state == "leased")
        assert bool(deciding) == (view.state == "deciding")
        assert found["closed"] == (view.closed_at is not None)
        listed = [v.case.id for v in await self.queue.list("acme", states=ALL)]
        assert id in listed


async def play(url: str, steps: Sequence[Step]) -> None:
    redis, clock = Redis.from_url(url), Clock()
    try:
        await redis.flushall()
        world = World(redis, clock, ReviewQueue(redis, Ledger(redis), clock=clock))
        for i, terms in enumerate(TERMS):
            assert await world.queue.open(replace(CASE, id=f"case_{i}", **terms), b"")
        for step in steps:
            with suppress(StaleLease, NotClaimable, NotUndoable):
                await world.step(*step)
            await world.check()
    finally:
        await redis.aclose()


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_every_case_is_in_one_place_and_what_holds_was_said(redis_url: str, steps: list[Step]) -> None:
    asyncio.run(play(redis_url, steps))
