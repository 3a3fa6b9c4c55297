"""A reviewer as a process of his own, to be killed: `python -m tests.gateway.review.reviewer URL NAME`."""

from __future__ import annotations

import asyncio
import random
import secrets
import sys
import time

from redis.asyncio import Redis

from gateway.errors import NotUndoable, StaleLease
from gateway.review.decision import Choice, Decision
from gateway.review.ledger import Ledger
from gateway.review.queue import Claim, ReviewQueue

LEASE = 0.5
"""Seconds: what a killed reviewer held is free again soon."""


async def work(url: str, name: str) -> None:
    redis = Redis.from_url(url)
    queue, chance = ReviewQueue(redis, Ledger(redis), lease=LEASE), random.Random(name)
    while True:
        claim = await queue.claim("acme", f"{name}-{secrets.token_hex(4)}")
        if claim is None:
            await queue.settle()
            await asyncio.sleep(0.02)
            continue
        view = await queue.get(claim.case.id)
        assert view is not None
        await judge(queue, claim, view.reviewer, chance)


async def judge(queue: ReviewQueue, claim: Claim, reviewer: str, chance: random.Random) -> None:
    """Now and then he changes his mind, gives up, or is too slow."""
    choice: Choice = chance.choice(("allow", "block"))
    decision = Decision(claim.case.id, choice, reviewer, time.time(), token=claim.token)
    try:
        await asyncio.sleep(chance.choice((0.0, 0.0, 0.01, 0.6)))
        if chance.random() < 0.2:
            await queue.skip(claim.case.id, reviewer, claim.token, "not mine")
            return
        await queue.submit(decision, key=secrets.token_hex(8))
        if chance.random() < 0.2:
            again = await queue.undo(claim.case.id, reviewer)
            await queue.release(claim.case.id, reviewer, again.token)
    except (StaleLease, NotUndoable):
        return


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
