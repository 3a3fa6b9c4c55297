from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.review.decided import GROUP, Decided
from tests.fakes import fake_vllm
from tests.gateway.review.telling import (
    FINE,
    Telling,
    cases,
    running,
    until,
)


async def test_what_a_dead_process_had_read_is_told_by_another(redis: Redis) -> None:
    async with fake_vllm(FINE) as app:
        told = Telling.at(redis, {"url": app.url})
        await told.decide()
        killed = Decided(redis, told.queue.decided)
        await killed.join()
        assert len(await killed.new()) == 1
        async with running(told.dispatcher(idle=0.3), told.dispatcher(idle=0.3)):
            await asyncio.sleep(0.1)
            assert app.requests == []
            await until(lambda: told.tally.results == ["delivered"])
    assert cases(app) == ["case_1"]


async def test_a_case_that_cannot_be_read_waits_and_keeps_no_other(redis: Redis) -> None:
    async with fake_vllm(FINE) as app:
        told = Telling.at(redis, {"url": app.url})
        await told.decide("case_1")
        await told.decide("case_2")
        whole = await redis.hget("{wardgate}:review:case:case_1", "case")
        assert whole is not None
        await redis.hset("{wardgate}:review:case:case_1", "case", "{}")
        async with running(told.dispatcher(idle=0.2)):
            await until(lambda: told.tally.results == ["delivered"])
            await redis.hset("{wardgate}:review:case:case_1", "case", whole)
            await until(lambda: len(told.tally.results) == 2)
    assert cases(app) == ["case_2", "case_1"]


async def test_a_redis_that_lost_everything_is_joined_again(redis: Redis) -> None:
    async with fake_vllm(FINE) as app:
        told = Telling.at(redis, {"url": app.url})
        async with running(told.dispatcher()):
            await asyncio.sleep(0.1)
            await redis.flushall()
            await told.decide()
            await until(lambda: told.tally.results == ["delivered"])


@pytest.mark.parametrize("fields", [{"case": "case_9"}, {"case": "case_9", "tenant": "acme", "at": "x"}])
async def test_an_entry_that_makes_no_sense_is_passed_over(redis: Redis, fields: dict[str, str]) -> None:
    async with fake_vllm(FINE) as app:
        told = Telling.at(redis, {"url": app.url})
        await redis.xadd(told.queue.decided, dict(fields.items()))
        await told.decide()
        async with running(told.dispatcher()):
            await until(lambda: told.tally.results == ["delivered"])
    assert (await redis.xpending(told.queue.decided, GROUP))["pending"] == 0
