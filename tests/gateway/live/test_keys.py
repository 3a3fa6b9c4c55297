from __future__ import annotations

import asyncio
import contextlib

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from gateway.live.embedded import EmbeddedRedis
from gateway.live.keys import Key, KeyRing, KeyStore, UnknownName, digest, make
from tests.conftest import connect
from tests.gateway.harness import until


def key(whole: str = "wg-app-abcdefghi", tenant: str = "acme", created: float = 1.0) -> Key:
    return Key(digest(whole), tenant, "app", whole[:13], created)


async def ring_of(redis: Redis, *keys: Key) -> KeyRing:
    store = KeyStore(redis)
    for each in keys:
        await store.add(each)
    ring = KeyRing(store)
    await ring.refresh()
    return ring


def test_a_new_key_is_long_names_its_role_and_is_never_the_same() -> None:
    secret, kept = make("acme", "reviewer", 7.0)
    assert secret.startswith("wg-reviewer-")
    assert len(secret) == len("wg-reviewer-") + 43
    assert (kept.tenant, kept.role, kept.created, kept.revoked) == ("acme", "reviewer", 7.0, None)
    assert make("acme", "reviewer", 7.0)[0] != secret


async def test_redis_holds_no_more_of_a_key_than_its_hash_and_its_beginning(redis: Redis) -> None:
    secret, kept = make("acme", "app", 1.0)
    await KeyStore(redis).add(kept)
    rows = await redis.hgetall("{wardgate}:keys")
    assert list(rows) == [digest(secret).encode()]
    assert secret[:13] in str(rows)
    assert secret[:14] not in str(rows)


async def test_keys_come_back_oldest_first(redis: Redis) -> None:
    store = KeyStore(redis)
    young, old = key("wg-app-young00", created=9.0), key("wg-app-old0000", created=2.0)
    await store.add(young)
    await store.add(old)
    assert await store.list() == [old, young]


@pytest.mark.parametrize("by", ["id", "part of the id", "beginning", "key"])
async def test_a_key_is_revoked_by_whatever_names_it_alone(redis: Redis, by: str) -> None:
    kept = key()
    names = {"id": kept.id, "part of the id": kept.id[:5], "beginning": kept.begins, "key": "wg-app-abcdefghi"}
    store = KeyStore(redis)
    await store.add(kept)
    await store.add(key("wg-app-another"))
    assert (await store.revoke(names[by])).hash == kept.hash
    assert [k.revoked is None for k in await store.list()].count(True) == 1


@pytest.mark.parametrize("name", ["", "nobody", "wg-app-", "abc", "*"])
async def test_a_name_that_means_no_key_revokes_none(redis: Redis, name: str) -> None:
    store = KeyStore(redis)
    await store.add(key())
    with pytest.raises(UnknownName):
        await store.revoke(name)
    assert (await store.list())[0].revoked is None


async def test_a_name_that_means_two_keys_revokes_none(redis: Redis) -> None:
    store = KeyStore(redis)
    twins = [key("wg-app-abcdef-one"), key("wg-app-abcdef-two")]
    for each in twins:
        await store.add(each)
    with pytest.raises(UnknownName) as caught:
        await store.revoke("wg-app-abcdef")
    assert {k.id for k in caught.value.meant} == {k.id for k in twins}


async def test_a_key_is_revoked_once(redis: Redis) -> None:
    store = KeyStore(redis)
    await store.add(key())
    await store.revoke(key().id)
    with pytest.raises(UnknownName):
        await store.revoke(key().id)


async def test_the_ring_knows_a_key_by_its_whole_hash_alone(redis: Redis) -> None:
    ring = await ring_of(redis, key())
    assert ring.find(key().hash) == key()
    assert ring.find(key().hash[:16] + "0" * 48) is None
    assert ring.find("") is None


async def test_the_ring_reads_the_keys_again_only_when_they_changed(redis: Redis) -> None:
    ring = await ring_of(redis, key())
    await redis.config_resetstat()
    await ring.refresh()
    stats = await redis.info("commandstats")
    assert "cmdstat_hgetall" not in stats
    await KeyStore(redis).revoke(key().id)
    await ring.refresh()
    found = ring.find(key().hash)
    assert found is not None
    assert found.revoked


async def test_a_watching_ring_takes_changes_within_a_second(redis: Redis) -> None:
    ring = KeyRing(KeyStore(redis))
    watching = asyncio.create_task(ring.watch())
    try:
        await KeyStore(redis).add(key())

        async def known() -> bool:
            return ring.find(key().hash) is not None

        await until(known, 1.0)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def test_while_redis_is_away_the_last_known_keys_go_on(server: EmbeddedRedis, client: Redis) -> None:
    ring = await ring_of(client, key())
    server.stop()
    await ring.refresh()
    assert ring.find(key().hash) == key()
    server.start()
    await KeyStore(client).revoke(key().id)
    await ring.refresh()
    found = ring.find(key().hash)
    assert found is not None
    assert found.revoked


async def test_a_ring_that_never_saw_redis_knows_nobody() -> None:
    away = connect("unix:///nowhere/redis.sock")
    ring = KeyRing(KeyStore(away))
    await ring.refresh()
    assert ring.find(key().hash) is None
    await away.aclose()


async def test_a_row_that_cannot_be_read_hides_no_other(redis: Redis) -> None:
    for name, row in (("a" * 64, b"{"), ("b" * 64, b"[]"), ("c" * 64, b'{"tenant": "acme"}')):
        await redis.hset("{wardgate}:keys", name, row)
    ring = await ring_of(redis, key())
    assert ring.find(key().hash) == key()
    assert ring.find("a" * 64) is None


async def test_an_emptied_redis_empties_the_ring(redis: Redis) -> None:
    ring = await ring_of(redis, key())
    await redis.flushall()
    await ring.refresh()
    assert ring.find(key().hash) is None


async def test_all_keys_share_one_slot_of_a_cluster(redis: Redis) -> None:
    await KeyStore(redis).add(key())
    names = await redis.keys()
    assert len(names) == 2
    assert len({key_slot(name) for name in names if isinstance(name, bytes)}) == 1
