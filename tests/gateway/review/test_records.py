"""Records go: of an end user who asks, and of all once they are old."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

from redis.asyncio import Redis

from gateway.exchange import FlagPart
from gateway.live.flags import FlagLog
from gateway.live.sealing import Sealing
from gateway.plan import Plan
from gateway.privacy import digest_of, user_digest
from gateway.review.decision import Decision
from gateway.review.ledger import Ledger
from gateway.review.queue import ReviewQueue
from gateway.review.records import Gone, Records
from gateway.vault import SealingVault, masters
from guards.catalog import KINDS
from guards.document import load
from tests.gateway.harness import document
from tests.gateway.review.test_queue import CASE

USER = digest_of("acme", "4711")
KEYS = f"k1:{base64.b64encode(b'k' * 32).decode()}"
DAY = 86400.0


def part(id: str, at: float, user: str = "", policy: str = "support@1") -> FlagPart:
    head = {"tenant": "acme", "policy": policy, "request": {"messages": ["a secret"]}}
    body = {"head": {**head, **({"user": user} if user else {})}, "verdicts": [], "answer": {"a": "another secret"}}
    return FlagPart(id, 0, at, body, "acme")


@dataclass
class Plans:
    plan: Plan


def plans(retention: str) -> Plans:
    text = document("http://127.0.0.1:1", review={"retention": retention})
    return Plans(Plan.build(load(text, KINDS, {}, Path()).document, {}))


def records(redis: Redis) -> Records:
    ledger = Ledger(redis)
    return Records(FlagLog(redis), ReviewQueue(redis, ledger), ledger)


async def test_one_end_users_records_go_and_nobody_elses(redis: Redis) -> None:
    room, now = records(redis), time.time()
    for id, user in (("a", USER), ("b", USER), ("c", digest_of("acme", "4712"))):
        await room.flags.append(part(id, now, user))
    await room.queue.open(replace(CASE, user=USER, answer_ids=("chatcmpl-1",)), b"secret")
    assert await room.forget("acme", "4711", "cli:ada") == Gone(2, 1)
    assert [h["id"] for h in await room.flags.list(10)] == ["c"]
    assert await room.queue.get(CASE.id) is None
    assert await room.queue.by_answer("acme", "chatcmpl-1") is None
    rows = [row.body async for row in room.ledger.rows()]
    assert [(r["kind"], r["user"], r["flags"], r["cases"]) for r in rows] == [("forgotten", USER, 2, 1)]
    assert not [k async for k in redis.scan_iter("*") if USER.encode() in k]
    assert await room.forget("acme", "4711", "cli:ada") == Gone(0, 0)


async def test_what_is_older_than_the_policy_says_goes(redis: Redis) -> None:
    room, now = records(redis), time.time()
    for id, age in (("old", 9 * DAY), ("new", 5 * DAY)):
        await room.flags.append(part(id, now - age))
    await room.flags.append(part("other", now - 9 * DAY, policy="gone@2"))
    clock = now - 8 * DAY
    queue = ReviewQueue(redis, room.ledger, clock=lambda: clock)
    await queue.open(replace(CASE, opened=clock, deadline=None, undo=0.0), b"")
    claim = await queue.claim("acme", "ann")
    assert claim is not None
    await queue.submit(Decision(CASE.id, "block", "ann", clock, token=claim.token), key="1")
    assert await room.sweep(plans("7d")) == Gone(1, 1)
    assert sorted(h["id"] for h in await room.flags.list(10)) == ["new", "other"]
    assert await room.sweep(plans("7d")) == Gone(0, 0)


async def test_others_who_used_the_same_request_id_keep_their_flags(redis: Redis) -> None:
    room, now = records(redis), time.time()
    await room.flags.append(part("same", now - 2, USER))
    await room.flags.append(part("same", now - 1, digest_of("other", "4711")))
    await room.flags.append(part("same", now))
    assert await room.forget("acme", "4711", "cli:ada") == Gone(1, 0)
    assert len(await room.flags.list(10)) == 2
    assert await room.flags.of_user(USER) == []
    assert await room.flags.of_user(digest_of("other", "4711")) == ["same"]


async def test_a_new_flag_that_bears_an_old_ones_id_stays(redis: Redis) -> None:
    room, now = records(redis), time.time()
    await room.flags.append(part("same", now - 9 * DAY, USER))
    await room.flags.append(part("same", now, USER))
    assert await room.sweep(plans("7d")) == Gone(1, 0)
    assert len(await room.flags.list(10)) == 1
    assert await room.flags.of_user(USER) == ["same"]


async def test_flags_that_stay_do_not_hide_those_that_must_go(redis: Redis) -> None:
    room, now = records(redis), time.time()
    for i in range(1001):
        await room.flags.append(part(f"stays{i}", now - 50 * DAY - i, policy="other@1"))
    await room.flags.append(part("goes", now - 9 * DAY))
    assert await room.sweep(plans("7d")) == Gone(1, 0)
    assert await room.flags.show("goes") is None


async def test_a_case_that_nobody_took_goes_unless_somebody_waits(redis: Redis) -> None:
    room, now = records(redis), time.time()
    for id, deadline in (("a", None), ("b", now + 60)):
        await room.queue.open(replace(CASE, id=id, tenant="open", opened=now - 9, deadline=deadline), b"")
    assert await room.sweep(plans("1s")) == Gone(0, 1)
    assert await room.queue.get("a") is None
    assert await room.queue.get("b") is not None


async def test_texts_of_flags_are_sealed_and_read_by_who_has_the_key(redis: Redis) -> None:
    sealing = Sealing(SealingVault(redis, masters(KEYS)))
    await FlagLog(redis).append(await sealing.seal(part("a", 1.0)))
    kept = b"".join([v for v in (await redis.hgetall("{wardgate}:flag:a")).values() if isinstance(v, bytes)])
    assert b"secret" not in kept
    found = await FlagLog(redis, sealing=sealing).show("a")
    assert found is not None
    assert (found["request"], found["answer"]) == ({"messages": ["a secret"]}, {"a": "another secret"})
    blind = await FlagLog(redis).show("a")
    assert blind is not None
    assert "secret" not in json.dumps(blind)
    assert (await FlagLog(redis).list(10))[0]["tenant"] == "acme"


async def test_a_tenants_texts_are_gone_with_its_key(redis: Redis) -> None:
    vault = SealingVault(redis, masters(KEYS))
    await FlagLog(redis).append(await Sealing(vault).seal(part("a", 1.0)))
    await vault.destroy("acme")
    found = await FlagLog(redis, sealing=Sealing(vault)).show("a")
    assert found is not None
    assert ("unreadable" in found["request"], found["answer"]) == (True, {})


def test_end_users_are_told_by_the_fields_that_name_them() -> None:
    assert user_digest("acme", {"user": "4711"}) == USER
    assert user_digest("acme", {"safety_identifier": "4711", "user": "x"}) == USER
    assert user_digest("acme", {"metadata": {"user_id": "4711"}}) == USER
    assert user_digest("other", {"user": "4711"}) != USER
    assert user_digest("acme", {"user": 5, "metadata": []}) == ""
