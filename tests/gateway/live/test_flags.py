from __future__ import annotations

import time
from typing import Any

import pytest
from redis import ConnectionError as RedisConnectionError
from redis.asyncio import Redis
from redis.crc import key_slot

from gateway.exchange import FlagPart
from gateway.live.flags import FlagLog
from tests.conftest import connect

HEAD = {"tenant": "acme", "model": "assistant", "policy": "support@1a2b", "route": "chat", "request": {"n": 1}}


def verdict(category: str, action: str) -> dict[str, Any]:
    return {"guard": category, "category": category, "action": action, "score": 1.0, "spans": [[0, 3]]}


def part(id: str, seq: int = 0, at: float = 1000.0, **body: Any) -> FlagPart:
    return FlagPart(id=id, seq=seq, at=at, body=body or {"head": HEAD, "verdicts": [verdict("pii", "redact")]})


async def test_the_parts_of_a_flag_come_back_as_one(redis: Redis) -> None:
    flags = FlagLog(redis)
    await flags.append(part("a", 2, end={"outcome": "stop", "exposure": {"pii": 4}, "took": 0.2}))
    await flags.append(part("a", 0, head=HEAD, verdicts=[verdict("pii", "redact")], answer={"content": "Grüß "}))
    await flags.append(part("a", 1, verdicts=[verdict("hate", "block")], answer={"content": "dich 🙂", "refusal": "x"}))
    assert await flags.show("a") == {
        **HEAD,
        "id": "a",
        "time": "1970-01-01T00:16:40.000+00:00",
        "action": "block",
        "categories": ["hate", "pii"],
        "verdicts": [verdict("pii", "redact"), verdict("hate", "block")],
        "answer": {"content": "Grüß dich 🙂", "refusal": "x"},
        "outcome": "stop",
        "exposure": {"pii": 4},
        "took": 0.2,
    }


async def test_ten_parts_and_more_keep_their_order(redis: Redis) -> None:
    flags = FlagLog(redis)
    for seq in reversed(range(12)):
        await flags.append(part("a", seq, answer={"content": f"{seq} "}))
    shown = await flags.show("a")
    assert shown is not None
    assert shown["answer"]["content"] == "0 1 2 3 4 5 6 7 8 9 10 11 "


async def test_the_list_is_newest_first_and_holds_no_text(redis: Redis) -> None:
    flags = FlagLog(redis)
    for i in range(200):
        await flags.append(part(f"id-{i}", at=1000.0 + i))
    rows = await flags.list(limit=150)
    assert [row["id"] for row in rows] == [f"id-{i}" for i in range(199, 49, -1)]
    assert rows[0] == {
        "id": "id-199",
        "time": "1970-01-01T00:19:59.000+00:00",
        "tenant": "acme",
        "model": "assistant",
        "policy": "support@1a2b",
        "action": "redact",
        "categories": ["pii"],
        "route": "chat",
    }


async def test_the_list_begins_where_it_is_asked_to(redis: Redis) -> None:
    flags = FlagLog(redis)
    for i in range(10):
        await flags.append(part(f"id-{i}", at=1000.0 + i))
    assert [row["id"] for row in await flags.list(limit=100, since=1007.0)] == ["id-9", "id-8", "id-7"]
    assert await flags.list(limit=100, since=2000.0) == []


async def test_a_part_kept_twice_is_kept_once_as_it_was_first(redis: Redis) -> None:
    flags = FlagLog(redis)
    assert await flags.append(part("a", answer={"content": "first"}))
    assert not await flags.append(part("a", answer={"content": "second"}))
    shown = await flags.show("a")
    assert shown is not None
    assert shown["answer"] == {"content": "first"}
    assert len(await flags.list(limit=10)) == 1


async def test_a_client_that_uses_one_id_twice_hides_nothing(redis: Redis) -> None:
    flags = FlagLog(redis)
    await flags.append(part("a", at=1000.25, answer={"content": "first"}))
    await flags.append(part("a", at=2000.5, answer={"content": "second"}))
    assert [row["time"][11:] for row in await flags.list(limit=10)] == ["00:33:20.500+00:00", "00:16:40.250+00:00"]
    shown = await flags.show("a")
    assert shown is not None
    assert shown["answer"] == {"content": "second"}
    assert [earlier["answer"] for earlier in shown["earlier"]] == [{"content": "first"}]


async def test_a_flag_whose_first_part_has_yet_to_come_is_listed(redis: Redis) -> None:
    flags = FlagLog(redis)
    await flags.append(part("a", 1, verdicts=[verdict("hate", "flag")]))
    (row,) = await flags.list(limit=10)
    assert (row["id"], row["tenant"], row["action"]) == ("a", None, "flag")


@pytest.mark.parametrize("id", ["a/b", "{x}", "1.5/3", "ü 🙂", "a:b", "*", "x" * 500])
async def test_ids_may_hold_any_character(redis: Redis, id: str) -> None:
    flags = FlagLog(redis)
    await flags.append(part(id))
    assert [row["id"] for row in await flags.list(limit=10)] == [id]
    assert await flags.show(id) is not None


async def test_an_unknown_id_is_nothing(redis: Redis) -> None:
    assert await FlagLog(redis).show("nobody") is None


async def test_logs_with_different_prefixes_do_not_meet(redis: Redis) -> None:
    await FlagLog(redis, prefix="{other}:flag").append(part("a"))
    assert await FlagLog(redis).list(limit=10) == []


async def test_all_keys_share_one_slot_of_a_cluster(redis: Redis) -> None:
    await FlagLog(redis).append(part("{a}"))
    keys = await redis.keys()
    assert len(keys) == 2
    assert len({key_slot(key) for key in keys if isinstance(key, bytes)}) == 1


async def test_a_client_that_decodes_works_as_well(redis_url: str, redis: Redis) -> None:
    decoding = Redis.from_url(redis_url, decode_responses=True)
    flags = FlagLog(decoding)
    await flags.append(part("ü", at=time.time()))
    assert await flags.list(limit=1) == await FlagLog(redis).list(limit=1)
    assert await flags.durability() is None
    await decoding.aclose()


async def test_scripts_that_redis_forgot_are_sent_again(redis: Redis) -> None:
    flags = FlagLog(redis)
    await flags.append(part("a"))
    await redis.script_flush()
    assert await flags.append(part("b"))


async def test_a_redis_that_syncs_each_write_calls_for_no_warning(redis: Redis) -> None:
    assert await FlagLog(redis).durability() is None


async def test_a_redis_that_may_lose_writes_is_warned_of(client: Redis) -> None:
    flags = FlagLog(client)
    await client.config_set("appendfsync", "everysec")
    assert "appendfsync always" in (await flags.durability() or "")
    await client.config_set("appendonly", "no")
    assert "appendonly yes" in (await flags.durability() or "")


async def test_a_redis_that_refuses_to_tell_is_warned_of(client: Redis) -> None:
    await client.acl_setuser("default", commands=["-config"])
    assert "CONFIG refused" in (await FlagLog(client).durability() or "")


async def test_an_absent_redis_is_the_callers_to_hear_of() -> None:
    away = connect("unix:///nowhere/redis.sock")
    with pytest.raises(RedisConnectionError):
        await FlagLog(away).append(part("a"))
    await away.aclose()
