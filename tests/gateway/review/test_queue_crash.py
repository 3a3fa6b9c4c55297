"""Twenty reviewers, killed at random: every case is decided, and decided once."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from gateway.review.decision import Decision
from gateway.review.ledger import Ledger
from gateway.review.queue import ReviewQueue
from tests.gateway.review.test_queue import CASE

REVIEWERS = 20
CASES = 120
PATIENCE = 90.0
"""Seconds."""


async def hire(url: str, number: int) -> asyncio.subprocess.Process:
    words = ("-m", "tests.gateway.review.reviewer", url, f"r{number}")
    return await asyncio.create_subprocess_exec(sys.executable, *words)


async def test_no_case_is_lost_or_decided_twice(redis: Redis, redis_url: str) -> None:
    queue, ledger, chance = ReviewQueue(redis, Ledger(redis)), Ledger(redis), random.Random(7)
    now = time.time()
    for i in range(CASES):
        case = replace(CASE, id=f"case_{i}", at=now, opened=now, deadline=now + 3600, undo=0.05, reviews=1 + i % 2)
        await queue.open(case, b"")
    people = [await hire(redis_url, i) for i in range(REVIEWERS)]
    try:
        async with asyncio.timeout(PATIENCE):
            while (await queue.counts("acme")).closed < CASES:
                await asyncio.sleep(0.4)
                victim = chance.randrange(REVIEWERS)
                people[victim].send_signal(signal.SIGKILL)
                await people[victim].wait()
                people[victim] = await hire(redis_url, victim)
                await seniors(queue)
    finally:
        for each in people:
            each.kill()
            await each.wait()
    await check(redis, queue, ledger)


async def seniors(queue: ReviewQueue) -> None:
    """Somebody decides what reviewers disagree about."""
    while (claim := await queue.claim("acme", f"dora{time.monotonic_ns()}", level="senior")) is not None:
        view = await queue.get(claim.case.id)
        assert view is not None
        await queue.submit(
            Decision(claim.case.id, "block", view.reviewer, time.time(), token=claim.token), key=f"{claim.token}"
        )
        if view.level == "reviewer":
            return


async def check(redis: Redis, queue: ReviewQueue, ledger: Ledger) -> None:
    entries: Any = await redis.xrange(queue.decided)
    told = Counter(fields[b"case"] for _, fields in entries)
    assert set(told.values()) == {1}
    assert len(told) == CASES
    assert await ledger.verify() is None
    tokens = Counter[int]()
    for i in range(CASES):
        view = await queue.get(f"case_{i}")
        assert view is not None
        assert (view.state, view.outcome is not None) == ("closed", True)
        people = [d.reviewer for d in view.reviews]
        assert len(people) == len(set(people))
        tokens.update(d.token for d in view.reviews)
    assert max(tokens.values()) == 1
