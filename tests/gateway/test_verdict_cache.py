"""The verdict cache in the path of a request. A guard LLM on a socket of its own counts what it is asked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from classifiers.served.families import FAMILIES
from gateway.live.embedded import EmbeddedRedis
from tests.classifiers.served.guards import body
from tests.fakes import FakeVLLM, Reply, Request, chat_json, fake_vllm
from tests.gateway.harness import CHAT, ask, document, gateway, until

NEW = "{wardgate}:verdicts:new"
TURNS = 40


def judge(url: str, **more: object) -> dict[str, object]:
    rule = {"name": "llm", "kind": "guard_llm", "family": "llama_guard", "base_url": f"{url}/v1", "model": "guard"}
    return rule | {"stages": ["input"], "thresholds": {"block": 0.5}, "timeout": "10s"} | more


def safe(_: Request) -> Reply:
    return Reply([body(FAMILIES["llama_guard"], "safe")])


@dataclass
class Judged:
    url: str
    guard: FakeVLLM

    @property
    def asked(self) -> int:
        return len(self.guard.requests)


@contextlib.asynccontextmanager
async def judged(tmp_path: Path, redis_url: str, guard: FakeVLLM, **rule: object) -> AsyncIterator[Judged]:
    async with fake_vllm(Reply([chat_json("Fine.")])) as vllm:
        config = document(vllm.url, judge(guard.url, **rule))
        async with gateway(config, tmp_path, redis_url) as url:
            yield Judged(url, guard)


async def talk(url: str, turns: int) -> None:
    """A chat that sends all of itself with every turn, as chats do."""
    messages: list[dict[str, Any]] = []
    async with httpx.AsyncClient(base_url=url) as client:
        for turn in range(turns):
            messages.append({"role": "user", "content": f"Question {turn}"})
            answer = await client.post(CHAT, json={"model": "assistant", "messages": messages})
            assert answer.json()["wardgate"]["action"] == "allow"
            messages.append({"role": "assistant", "content": f"Answer {turn}"})


async def written(redis: Redis, count: int) -> None:
    async def holds() -> bool:
        return await redis.hlen(NEW) >= count

    await until(holds)


@pytest.mark.usefixtures("patient")
async def test_a_chat_of_forty_turns_is_judged_message_by_message(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with fake_vllm(safe) as guard:
        async with judged(tmp_path, redis_url, guard) as both:
            await talk(both.url, TURNS)
            assert both.asked == 2 * TURNS - 1
            async with httpx.AsyncClient() as client:
                scrape = (await client.get(f"{both.url}/metrics")).text
        hits, misses = TURNS * TURNS - (2 * TURNS - 1), 2 * TURNS - 1
        assert f'wardgate_verdict_cache_lookups_total{{result="hit"}} {hits}.0' in scrape
        assert f'wardgate_verdict_cache_lookups_total{{result="miss"}} {misses}.0' in scrape


@pytest.mark.usefixtures("patient")
async def test_another_process_of_the_same_redis_knows_what_the_first_one_judged(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with fake_vllm(safe) as guard, fake_vllm(Reply([chat_json("Fine.")])) as vllm:
        config = document(vllm.url, judge(guard.url))
        async with gateway(config, tmp_path, redis_url) as one, gateway(config, tmp_path, redis_url) as other:
            await talk(one, 5)
            await written(redis, 9)
            assert len(guard.requests) == 9
            await talk(other, 5)
            assert len(guard.requests) == 9


async def test_no_text_is_in_redis(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with fake_vllm(safe) as guard, judged(tmp_path, redis_url, guard) as both:
        await ask(both.url, "My password is swordfish")
        await written(redis, 1)
        assert "swordfish" not in repr(await redis.hgetall(NEW))


async def test_a_blocked_text_is_blocked_again_unasked_and_flagged_again(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    unsafe = Reply([body(FAMILIES["llama_guard"], "unsafe\nS9")])
    async with fake_vllm(unsafe) as guard, judged(tmp_path, redis_url, guard) as both:
        first, second = [(await ask(both.url, "Bad")).json()["wardgate"] for _ in range(2)]
        assert both.asked == 1
        assert first == second
        assert first["action"] == "block"
        assert await redis.zcard("{wardgate}:flags") == 2


async def test_errors_are_not_remembered(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    words = iter(["I think it is fine", "safe"])

    def script(_: Request) -> Reply:
        return Reply([body(FAMILIES["llama_guard"], next(words))])

    async with fake_vllm(script) as guard, judged(tmp_path, redis_url, guard) as both:
        assert (await ask(both.url, "Hello")).json()["wardgate"]["findings"][0]["error"] == "parse"
        assert (await ask(both.url, "Hello")).json()["wardgate"]["action"] == "allow"
        assert both.asked == 2


async def test_a_guard_that_says_so_is_asked_each_time(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with fake_vllm(safe) as guard, judged(tmp_path, redis_url, guard, cache=False) as both:
        for _ in range(3):
            await ask(both.url, "Hello")
        assert both.asked == 3


async def test_answers_are_judged_each_time(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with fake_vllm(safe) as guard, judged(tmp_path, redis_url, guard, stages=["output"]) as both:
        for _ in range(3):
            await ask(both.url, "Hello")
        assert both.asked == 3


async def test_without_redis_all_is_judged_and_nothing_waits(tmp_path: Path, server: EmbeddedRedis) -> None:
    async with fake_vllm(safe) as guard, judged(tmp_path, server.url, guard) as both:
        await talk(both.url, 1)
        server.stop()
        began = time.monotonic()
        await talk(both.url, 8)
        assert time.monotonic() - began < 3.0
        assert both.asked >= 2 * 8 - 1
