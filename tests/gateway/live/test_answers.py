"""Answers that are kept for repeats: sealed, and gone with whoever they were given to."""

from __future__ import annotations

import base64

from redis.asyncio import Redis

from gateway.live.answers import Answers, Found, Kept
from gateway.live.batch import Batch
from gateway.vault import SealingVault, masters

KEYS = masters(f"k1:{base64.b64encode(b'k' * 32).decode()}")
ANSWER = Kept(200, [("content-type", "application/json")], b'{"said": "a secret"}')


async def kept(answers: Answers, user: str = "", tenant: str = "acme") -> str:
    name = answers.name(tenant, f"key of {user}")
    assert await answers.begin(name, "r", "me", tenant) == Found("new")
    await answers.keep(name, "me", ANSWER, 60, tenant=tenant, user=user)
    return name


async def test_an_answer_lies_sealed_and_comes_back_as_it_was(redis: Redis) -> None:
    vault = SealingVault(redis, KEYS)
    answers = Answers(Batch(redis), vault=vault)
    name = await kept(answers)
    fields = await redis.hgetall(name)
    assert fields
    assert not [value for value in fields.values() if b"secret" in _bytes(value)]
    assert await answers.begin(name, "r", "you", "acme") == Found("replayed", ANSWER)


def _bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


async def test_an_answer_whose_key_is_gone_is_given_anew(redis: Redis) -> None:
    vault = SealingVault(redis, KEYS)
    answers = Answers(Batch(redis), vault=vault)
    name = await kept(answers)
    await vault.destroy("acme")
    assert await answers.begin(name, "r", "you", "acme") == Found("new")


async def test_the_answers_to_one_end_user_go_and_nobody_elses(redis: Redis) -> None:
    answers = Answers(Batch(redis))
    mine, others, elsewhere = await kept(answers, "u1"), await kept(answers, "u2"), await kept(answers, "u1", "other")
    assert await answers.forget("acme", "u1") == 1
    assert await answers.forget("acme", "u1") == 0
    assert [await redis.exists(name) for name in (mine, others, elsewhere)] == [0, 1, 1]
