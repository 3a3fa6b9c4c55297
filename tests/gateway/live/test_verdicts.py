from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.crc import key_slot

from gateway.live.batch import Batch
from gateway.live.embedded import EmbeddedRedis
from gateway.live.verdicts import WAITING, Verdicts
from gateway.metrics import Metrics
from tests.conftest import connect
from tests.fakes import FOREVER, raw_server
from tests.gateway.harness import until

NEW, OLD = "{wardgate}:verdicts:new", "{wardgate}:verdicts:old"


@contextlib.asynccontextmanager
async def cache(redis: Redis, **options: Any) -> AsyncIterator[Verdicts]:
    batch = Batch(redis, patience=5.0)
    verdicts = Verdicts(redis, batch, Metrics.build(), **{"patience": 5.0, **options})
    yield verdicts
    await verdicts.close()
    await batch.close()


def lookups(registry: CollectorRegistry) -> dict[str, float]:
    names = ("hit", "miss", "away")
    found = {n: registry.get_sample_value("wardgate_verdict_cache_lookups_total", {"result": n}) for n in names}
    return {name: value for name, value in found.items() if value}


async def test_what_one_process_writes_another_one_reads(redis: Redis) -> None:
    async with cache(redis) as one, cache(redis) as other:
        one.put_many({b"\xff\x00": b"scores", b"bb": b"\x00"})
        await one.flush()
        assert await other.get_many([b"cc", b"bb", b"\xff\x00"]) == [None, b"\x00", b"scores"]


async def test_what_waits_to_be_written_is_known_already(redis: Redis) -> None:
    async with cache(redis) as verdicts:
        verdicts.put_many({b"a": b"1"})
        assert await verdicts.get_many([b"a", b"b"]) == [b"1", None]
        assert await redis.exists(NEW) == 0


async def test_it_is_written_soon_and_by_itself(redis: Redis) -> None:
    async with cache(redis) as verdicts:
        verdicts.put_many({b"a": b"1"})

        async def written() -> bool:
            return bool(await redis.exists(NEW))

        await until(written)
        assert await redis.hgetall(NEW) == {b"a": b"1"}


async def test_what_waits_at_the_end_is_written(redis: Redis) -> None:
    async with cache(redis) as verdicts:
        verdicts.put_many({b"a": b"1"})
    assert await redis.hget(NEW, "a") == b"1"


async def test_a_question_is_one_script_whatever_its_size(redis: Redis) -> None:
    async with cache(redis) as verdicts:
        verdicts.put_many({bytes([i]): b"1" for i in range(100)})
        await verdicts.flush()
        await redis.config_resetstat()
        assert all(await verdicts.get_many([bytes([i]) for i in range(100)]))
        assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] == 1


async def test_memory_is_bounded_and_the_latest_stays(redis: Redis) -> None:
    async with cache(redis, size=50) as verdicts:
        for i in range(400):
            verdicts.put_many({b"%d" % i: b"1"})
            await verdicts.flush()
        kept = await redis.hlen(NEW) + await redis.hlen(OLD)
        assert 50 <= kept <= 100
        assert all(await verdicts.get_many([b"%d" % i for i in range(350, 400)]))


async def test_nothing_is_kept_for_ever(redis: Redis) -> None:
    async with cache(redis, life=0.6) as verdicts:
        verdicts.put_many({b"a": b"1"})
        await verdicts.flush()
        assert 0 < await redis.pttl(NEW) <= 1200
        await asyncio.sleep(0.7)
        verdicts.put_many({b"b": b"1"})
        await verdicts.flush()
        assert (await redis.hkeys(NEW), await redis.hkeys(OLD)) == ([b"b"], [b"a"])
        assert 0 < await redis.pttl(OLD) <= 600
        await asyncio.sleep(1.3)
        assert await redis.exists(NEW, OLD) == 0


async def test_what_is_asked_for_again_does_not_grow_old(redis: Redis) -> None:
    async with cache(redis) as verdicts:
        await redis.hset(OLD, "a", "1")
        assert await verdicts.get_many([b"a"]) == [b"1"]
        await verdicts.flush()
        assert await redis.hget(NEW, "a") == b"1"


async def test_all_its_keys_are_in_one_slot_of_a_cluster() -> None:
    assert key_slot(NEW.encode()) == key_slot(OLD.encode())


async def test_without_redis_nothing_is_known_and_nothing_waits(server: EmbeddedRedis, client: Redis) -> None:
    server.stop()
    metrics = Metrics.build()
    verdicts = Verdicts(client, Batch(client), metrics)
    began = time.monotonic()
    for _ in range(100):
        assert await verdicts.get_many([b"a", b"b"]) == [None, None]
        verdicts.put_many({b"a": b"1"})
        await verdicts.flush()
    assert time.monotonic() - began < 1.0
    assert lookups(metrics.registry) == {"away": 200}
    await verdicts.close()


async def test_a_redis_that_stalls_costs_three_requests_a_moment_and_the_others_nothing() -> None:
    async with raw_server([FOREVER]) as stalled:
        client = connect(stalled.url.replace("http", "redis"))
        async with cache(client, patience=0.05) as verdicts:
            began = time.monotonic()
            for _ in range(50):
                assert await verdicts.get_many([b"a"]) == [None]
            assert 0.1 < time.monotonic() - began < 0.5
        await client.aclose()


async def test_it_is_used_again_once_redis_is_back(server: EmbeddedRedis, client: Redis) -> None:
    async with cache(client, backoff=0.1, patience=1.0) as verdicts:
        server.stop()
        for _ in range(3):
            await verdicts.get_many([b"a"])
        server.start()
        await asyncio.sleep(0.15)
        verdicts.put_many({b"a": b"1"})
        await verdicts.flush()
        assert await client.hget(NEW, "a") == b"1"


async def test_what_is_no_hash_is_as_good_as_away(redis: Redis) -> None:
    await redis.set(NEW, "x")
    async with cache(redis) as verdicts:
        assert await verdicts.get_many([b"a"]) == [None]


async def test_more_than_can_wait_is_not_kept(redis: Redis) -> None:
    async with cache(redis) as verdicts:
        verdicts.put_many({b"%d" % i: b"1" for i in range(2 * WAITING)})
        await verdicts.flush()
        assert await redis.hlen(NEW) == WAITING


async def test_hits_and_misses_are_counted(redis: Redis) -> None:
    metrics = Metrics.build()
    verdicts = Verdicts(redis, Batch(redis), metrics)
    verdicts.put_many({b"a": b"1"})
    await verdicts.get_many([b"a", b"b", b"c"])
    assert lookups(metrics.registry) == {"hit": 1, "miss": 2}
    await verdicts.close()


async def test_a_request_that_is_cancelled_leaves_the_cache_as_it_was(redis: Redis) -> None:
    async with cache(redis) as verdicts:
        verdicts.put_many({b"a": b"1"})
        await verdicts.flush()
        for _ in range(10):
            asking = asyncio.ensure_future(verdicts.get_many([b"a"]))
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        assert await verdicts.get_many([b"a"]) == [b"1"]
