from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from gateway.live.batch import Arg, Away, Batch, Script
from gateway.live.embedded import EmbeddedRedis
from gateway.live.limits import Limiter
from guards.policy import Limits
from tests.conftest import connect

REQUESTS = Limits(requests_per_minute=5)
TOKENS = Limits(tokens_per_minute=100)
SLOTS = Limits(concurrent=2)
WINDOW = "{wardgate:acme}:window"
BUCKETS = "{wardgate:acme}:buckets"


@pytest.fixture
async def batch(redis: Redis) -> AsyncIterator[Batch]:
    batch = Batch(redis)
    yield batch
    await batch.close()


@pytest.fixture
def limiter(batch: Batch) -> Limiter:
    return Limiter(batch)


async def age(redis: Redis, steps: int) -> None:
    """Makes what was counted older, by so many steps of 200 ms."""
    buckets = [int(b) for b in await redis.lrange(BUCKETS, 0, -1)]
    await redis.delete(BUCKETS)
    for bucket in buckets:
        await redis.rpush(BUCKETS, bucket - steps)
        for kind in "rt":
            value = await redis.hget(WINDOW, f"{kind}{bucket}")
            await redis.hdel(WINDOW, f"{kind}{bucket}")
            await redis.hset(WINDOW, f"{kind}{bucket - steps}", value)


async def test_exactly_the_limit_passes(limiter: Limiter) -> None:
    grants = [await limiter.admit("acme", REQUESTS, 0, str(i)) for i in range(8)]
    assert [g.reason for g in grants] == [""] * 5 + ["requests"] * 3
    assert [g.requests for g in grants] == [1, 2, 3, 4, 5, 5, 5, 5]


async def test_of_many_at_once_exactly_the_limit_passes_and_each_count_is_told_once(redis: Redis) -> None:
    limits = Limits(requests_per_minute=120)
    limiters = [Limiter(Batch(redis)) for _ in range(4)]
    asked = [limiters[i % 4].admit("acme", limits, 0, str(i)) for i in range(200)]
    grants = await asyncio.gather(*asked)
    assert sorted(g.requests for g in grants if not g.reason) == list(range(1, 121))
    assert [g.reason for g in grants].count("requests") == 80


async def test_a_tenant_does_not_use_up_anothers_limit(limiter: Limiter) -> None:
    for i in range(5):
        await limiter.admit("acme", REQUESTS, 0, str(i))
    assert not (await limiter.admit("other", REQUESTS, 0, "x")).reason


async def test_the_window_slides(limiter: Limiter, redis: Redis) -> None:
    for i in range(3):
        await limiter.admit("acme", REQUESTS, 0, str(i))
    await age(redis, 200)
    for i in range(2):
        await limiter.admit("acme", REQUESTS, 0, str(i))
    assert (await limiter.admit("acme", REQUESTS, 0, "x")).reason
    await age(redis, 102)  # the first three are a minute old, the other two are not
    grants = [await limiter.admit("acme", REQUESTS, 0, str(i)) for i in range(4)]
    assert [g.requests for g in grants] == [3, 4, 5, 5]


async def test_what_is_not_quite_a_minute_old_still_counts(limiter: Limiter, redis: Redis) -> None:
    await limiter.admit("acme", REQUESTS, 0, "a")
    await age(redis, 298)
    assert (await limiter.admit("acme", REQUESTS, 0, "b")).requests == 2


async def test_a_refused_request_is_told_when_there_will_be_room(limiter: Limiter, redis: Redis) -> None:
    await limiter.admit("acme", REQUESTS, 0, "a")
    await age(redis, 150)
    for i in range(4):
        await limiter.admit("acme", REQUESTS, 0, str(i))
    refused = await limiter.admit("acme", REQUESTS, 0, "b")
    assert 29.0 < refused.wait <= 30.3
    assert 59.0 < refused.reset_requests <= 60.3


async def test_tokens_are_charged_before_and_settled_after(limiter: Limiter) -> None:
    grant = await limiter.admit("acme", TOKENS, 60, "a")
    assert (grant.tokens, (await limiter.admit("acme", TOKENS, 60, "b")).reason) == (60, "tokens")
    limiter.leave("acme", "a", grant, 10)
    assert (await limiter.admit("acme", TOKENS, 60, "b")).tokens == 70


async def test_an_answer_longer_than_guessed_is_charged_in_full(limiter: Limiter) -> None:
    grant = await limiter.admit("acme", TOKENS, 10, "a")
    limiter.leave("acme", "a", grant, 95)
    assert (await limiter.admit("acme", TOKENS, 10, "b")).reason == "tokens"


async def test_an_unknown_usage_leaves_the_estimate(limiter: Limiter) -> None:
    limiter.leave("acme", "a", await limiter.admit("acme", TOKENS, 40, "a"), None)
    assert (await limiter.count("acme", TOKENS)).tokens == 40


async def test_a_settlement_later_than_a_minute_charges_only_what_was_not_guessed(
    limiter: Limiter, redis: Redis
) -> None:
    grants = [await limiter.admit("acme", TOKENS, 30, id) for id in "ab"]
    await age(redis, 305)
    long_ago = [replace(grant, bucket=grant.bucket - 305) for grant in grants]
    limiter.leave("acme", "a", long_ago[0], 5)
    limiter.leave("acme", "b", long_ago[1], 50)
    assert (await limiter.count("acme", TOKENS)).tokens == 20


async def test_a_request_larger_than_a_minute_waits_for_an_empty_window(limiter: Limiter) -> None:
    huge = await limiter.admit("acme", TOKENS, 5000, "a")
    assert (huge.reason, huge.charged) == ("", 100)
    assert (await limiter.admit("acme", TOKENS, 1, "b")).reason == "tokens"


async def test_the_wait_for_tokens_is_until_enough_of_them_are_old(limiter: Limiter, redis: Redis) -> None:
    await limiter.admit("acme", TOKENS, 30, "a")
    await age(redis, 100)
    await limiter.admit("acme", TOKENS, 70, "b")
    assert 39.0 < (await limiter.admit("acme", TOKENS, 20, "c")).wait <= 40.3
    assert 59.0 < (await limiter.admit("acme", TOKENS, 50, "c")).wait <= 60.3


async def test_only_so_many_are_under_way_and_an_end_makes_room(limiter: Limiter) -> None:
    grants = {id: await limiter.admit("acme", SLOTS, 0, id) for id in "ab"}
    assert (await limiter.admit("acme", SLOTS, 0, "c")).reason == "concurrent"
    limiter.leave("acme", "a", grants["a"], 0)
    assert not (await limiter.admit("acme", SLOTS, 0, "c")).reason
    assert (await limiter.admit("acme", SLOTS, 0, "d")).reason == "concurrent"


async def test_a_refused_request_uses_up_nothing(limiter: Limiter) -> None:
    both = Limits(requests_per_minute=10, concurrent=1)
    await limiter.admit("acme", both, 0, "a")
    for i in range(5):
        assert (await limiter.admit("acme", both, 0, str(i))).reason == "concurrent"
    assert (await limiter.count("acme", both)).requests == 2


async def test_the_slots_of_a_killed_gateway_run_out_and_those_of_a_living_one_do_not(redis: Redis) -> None:
    killed, living = Limiter(Batch(redis), lease=0.3), Limiter(Batch(redis), lease=0.3)
    await killed.admit("acme", SLOTS, 0, "killed")
    renewing = asyncio.create_task(living.renew_forever())
    await living.admit("acme", SLOTS, 0, "living")
    assert (await living.admit("acme", SLOTS, 0, "x")).reason == "concurrent"
    await asyncio.sleep(0.4)
    assert not (await living.admit("acme", SLOTS, 0, "x")).reason
    assert (await living.admit("acme", SLOTS, 0, "y")).reason == "concurrent"
    renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)


async def test_all_keys_of_a_tenant_share_one_slot_of_a_cluster(limiter: Limiter, redis: Redis) -> None:
    whole = Limits(requests_per_minute=5, tokens_per_minute=100, concurrent=2)
    await limiter.admit("a}b {c", whole, 1, "x")
    names = [n for n in await redis.keys() if isinstance(n, bytes)]
    assert len(names) == 3
    assert len({key_slot(n) for n in names}) == 1


async def test_memory_does_not_grow_with_the_limit_and_idle_tenants_are_forgotten(
    limiter: Limiter, redis: Redis
) -> None:
    limits = Limits(requests_per_minute=10_000, tokens_per_minute=10**9)
    for _ in range(20):
        await asyncio.gather(*(limiter.admit("acme", limits, 7, "x") for _ in range(100)))
    assert await redis.hlen(WINDOW) <= 2 + 2 * await redis.llen(BUCKETS) <= 2 + 2 * 302
    assert 0 < await redis.pttl(WINDOW) <= 61_000
    assert 0 < await redis.pttl(BUCKETS) <= 61_000


async def test_no_request_waits_for_the_disk(limiter: Limiter, redis: Redis) -> None:
    async def written() -> int:
        return int((await redis.info("persistence"))["aof_current_size"])

    await redis.set("something", "else")
    before = await written()
    grant = await limiter.admit("acme", Limits(requests_per_minute=5, tokens_per_minute=9, concurrent=2), 3, "a")
    limiter.leave("acme", "a", grant, 5)
    limiter.renew()
    await limiter.count("acme", REQUESTS)
    assert await written() == before > 0


async def test_many_admissions_share_round_trips(redis: Redis) -> None:
    limiter = Limiter(Batch(redis))
    await limiter.count("acme", REQUESTS)
    await redis.config_resetstat()
    limits = Limits(requests_per_minute=1000)
    await asyncio.gather(*(limiter.admit("acme", limits, 0, str(i)) for i in range(100)))
    stats = await redis.info("stats")
    assert stats["total_reads_processed"] < 20


async def test_scripts_that_redis_forgot_are_sent_again(limiter: Limiter, redis: Redis) -> None:
    await limiter.admit("acme", REQUESTS, 0, "a")
    await redis.script_flush()
    assert (await limiter.admit("acme", REQUESTS, 0, "b")).requests == 2


async def test_an_absent_redis_is_told_at_once_and_asked_again_after_a_while(
    server: EmbeddedRedis, client: Redis
) -> None:
    limiter = Limiter(Batch(client, patience=2.0, backoff=0.2))
    await limiter.admit("acme", REQUESTS, 0, "a")
    server.stop()
    for _ in range(3):
        with pytest.raises(Away):
            await limiter.admit("acme", REQUESTS, 0, "b")
    server.start()
    await asyncio.sleep(0.25)
    assert (await limiter.admit("acme", REQUESTS, 0, "b")).requests == 1


async def test_a_redis_that_stalls_holds_nobody_up(server: EmbeddedRedis, client: Redis) -> None:
    limiter = Limiter(Batch(client, patience=0.1, backoff=5.0))
    await limiter.admit("acme", REQUESTS, 0, "a")
    other = connect(server.url)
    await other.client_pause(1000)
    async with asyncio.timeout(0.8):
        for _ in range(3):
            with pytest.raises(Away):
                await limiter.admit("acme", REQUESTS, 0, "b")
    await other.aclose()


class Late(Batch):
    """Redis does what it is told, and while `late` its answer comes to nobody."""

    late = False

    async def call(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        answer = await super().call(script, keys, args)
        if self.late:
            raise Away("too late")
        return answer


async def test_a_slot_that_a_slow_redis_gave_to_nobody_is_free_again(redis: Redis) -> None:
    batch = Late(redis)
    limiter = Limiter(batch)
    batch.late = True
    with pytest.raises(Away):
        await limiter.admit("acme", SLOTS, 0, "lost")
    assert await redis.zrange("{wardgate:acme}:slots", 0, -1) == [b"lost"]
    batch.late = False
    for id in "bc":
        assert not (await limiter.admit("acme", SLOTS, 0, id)).reason
    assert await redis.zrange("{wardgate:acme}:slots", 0, -1) == [b"b", b"c"]
    await batch.close()


async def test_a_clock_set_back_by_less_than_a_minute_lets_nobody_past_the_limit(
    limiter: Limiter, redis: Redis
) -> None:
    for i in range(5):
        await limiter.admit("acme", REQUESTS, 0, str(i))
    await age(redis, -250)
    refused = await limiter.admit("acme", REQUESTS, 0, "x")
    assert (refused.reason, refused.requests) == ("requests", 5)


async def test_a_clock_set_back_by_an_hour_locks_nobody_out_for_an_hour(limiter: Limiter, redis: Redis) -> None:
    both = Limits(requests_per_minute=2, concurrent=2)
    for i in range(2):
        await limiter.admit("acme", both, 0, str(i))
    await age(redis, -5 * 3600)
    await redis.zadd("{wardgate:acme}:slots", {"0": 9e12, "1": 9e12})
    grants = [await limiter.admit("acme", both, 0, str(i)) for i in range(2, 5)]
    assert [(g.reason, g.requests) for g in grants] == [("", 1), ("", 2), ("requests", 2)]


async def test_totals_whose_buckets_redis_evicted_do_not_count_for_ever(limiter: Limiter, redis: Redis) -> None:
    for i in range(5):
        await limiter.admit("acme", REQUESTS, 0, str(i))
    await redis.delete(BUCKETS)
    assert (await limiter.admit("acme", REQUESTS, 0, "x")).requests == 1


async def test_huge_numbers_are_counted_like_others(limiter: Limiter) -> None:
    limits = Limits(tokens_per_minute=10**16)
    assert (await limiter.admit("acme", limits, 10**15, "a")).tokens == 10**15
    assert (await limiter.admit("acme", limits, 2**63, "b")).reason == "tokens"
    grant = await limiter.admit("acme", limits, 9 * 10**15, "c")
    assert (grant.tokens, grant.reason) == (10**16, "")


async def test_one_who_left_before_he_was_admitted_holds_nothing(limiter: Limiter, redis: Redis) -> None:
    asking = asyncio.create_task(limiter.admit("acme", SLOTS, 0, "gone"))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    for id in "bc":
        assert not (await limiter.admit("acme", SLOTS, 0, id)).reason
    assert await redis.zrange("{wardgate:acme}:slots", 0, -1) == [b"b", b"c"]
