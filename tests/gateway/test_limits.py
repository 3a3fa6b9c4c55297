"""Limits of a tenant as its clients meet them: exactly the limit passes, and the headers say how much is left."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from gateway.admission import spelled
from gateway.live.embedded import EmbeddedRedis
from tests.fakes import FOREVER, USAGE, FakeVLLM, Reply, Script, chat_frames, echo, fake_vllm, stream
from tests.gateway.harness import (
    CHAT,
    CODENAME,
    ask_as,
    document,
    gateway,
    request,
    until,
    wardgate_serve,
    with_tenants,
)

KEY = "wg-app-secret"
FREE = "wg-app-free"
LIMIT = "x-ratelimit-limit-requests"
LEFT = "x-ratelimit-remaining-requests"
RESET = "x-ratelimit-reset-requests"
LEFT_TOKENS = "x-ratelimit-remaining-tokens"


def hashed(key: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def config(upstream: str, *, server: Mapping[str, object] | None = None, **limits: int) -> str:
    tenants: list[Mapping[str, object]] = [
        {"name": "acme", "keys": [hashed(KEY)], "models": ["assistant"], "limits": limits},
        {"name": "free", "keys": [hashed(FREE)], "models": ["assistant"]},
    ]
    text = with_tenants(document(upstream, CODENAME), *tenants)
    return text if server is None else text[:-1] + f', "server": {server}}}'.replace("'", '"')


@asynccontextmanager
async def limited(
    folder: Path, redis_url: str, script: Script = echo, *, server: Mapping[str, object] | None = None, **limits: int
) -> AsyncIterator[tuple[str, FakeVLLM]]:
    async with (
        fake_vllm(script) as vllm,
        gateway(config(vllm.url, server=server, **limits), folder, redis_url) as url,
    ):
        yield url, vllm


def counter(exposition: str, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(exposition)
    samples = (s for family in families for s in family.samples)
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


async def metric(url: str, name: str, **labels: str) -> float:
    async with httpx.AsyncClient() as client:
        return counter((await client.get(f"{url}/metrics")).text, name, **labels)


async def test_of_200_clients_at_once_before_4_workers_exactly_the_limit_passes(tmp_path: Path) -> None:
    async with (
        fake_vllm() as vllm,
        wardgate_serve(config(vllm.url, requests_per_minute=300), tmp_path, "--workers", "4") as running,
    ):
        headers = {"authorization": f"Bearer {KEY}"}

        async def client() -> list[httpx.Response]:
            async with httpx.AsyncClient(timeout=60, headers=headers) as each:
                return [await each.post(running.url + CHAT, json=request()) for _ in range(2)]

        answers = [a for pair in await asyncio.gather(*(client() for _ in range(200))) for a in pair]
        free = await ask_as(FREE, running.url)
        refusals = await metric(running.url, "wardgate_rate_limited_total", limit="requests")
    passed = [a for a in answers if a.status_code == 200]
    refused = [a for a in answers if a.status_code == 429]
    assert (len(passed), len(refused)) == (300, 100)
    assert len(vllm.requests) == 301
    assert sorted(int(a.headers[LEFT]) for a in passed) == list(range(300))
    assert {a.headers[LIMIT] for a in answers} == {"300"}
    assert {a.headers[LEFT] for a in refused} == {"0"}
    assert refusals == 100
    assert (free.status_code, LIMIT in free.headers) == (200, False)


async def test_a_refusal_is_openais_and_says_when_to_come_back(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with limited(tmp_path, redis_url, requests_per_minute=1) as (url, vllm):
        await ask_as(KEY, url)
        refused = await ask_as(KEY, url)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert "1 requests a minute" in refused.json()["error"]["message"]
    assert 58 <= int(refused.headers["retry-after"]) <= 61
    assert 58_000 <= int(refused.headers["retry-after-ms"]) <= 60_200
    assert refused.headers[RESET].endswith("s")
    assert refused.headers["x-request-id"]
    assert len(vllm.requests) == 1


async def test_the_sdk_raises_its_rate_limit_error_with_the_headers(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    messages: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Hello"}]
    async with (
        limited(tmp_path, redis_url, requests_per_minute=1) as (url, _),
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client,
    ):
        raw = client.chat.completions.with_raw_response
        first = await raw.create(model="assistant", messages=messages)
        with pytest.raises(openai.RateLimitError) as caught:
            await raw.create(model="assistant", messages=messages)
    assert first.headers[LEFT] == "0"
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers[LIMIT] == "1"
    assert caught.value.response.headers["retry-after"]


async def test_every_answer_of_a_limited_tenant_counts_down(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    auth = {"x-api-key": KEY}
    async with (
        limited(tmp_path, redis_url, requests_per_minute=100) as (url, _),
        httpx.AsyncClient(base_url=url, headers=auth, timeout=10) as client,
    ):
        answers = [
            await client.post(CHAT, json=request()),
            await client.post(CHAT, json=request(stream=True)),
            await client.post(CHAT, content=b"{"),
            await client.post(CHAT, json=request(model="nobody")),
            await client.post(CHAT, json=request("Project Titan")),
            await client.get(CHAT),
            await client.post("/v1/moderations", json={"input": "Hello"}),
            await client.post("/v1/moderations", json={"input": 7}),
        ]
        unknown = await client.post(CHAT, json=request(), headers={"x-api-key": "wrong"})
    assert [a.status_code for a in answers] == [200, 200, 400, 404, 200, 405, 200, 400]
    assert [int(a.headers[LEFT]) for a in answers] == list(range(99, 91, -1))
    assert LEFT not in unknown.headers


@pytest.mark.parametrize("streamed", [False, True])
async def test_tokens_are_settled_with_the_usage_which_a_stream_keeps_to_itself(
    streamed: bool, *, tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with limited(tmp_path, redis_url, tokens_per_minute=10_000) as (url, vllm):
        first = await ask_as(KEY, url, stream=streamed, max_tokens=4000)
        second = await ask_as(KEY, url, stream=streamed, max_tokens=4000)
        third = await ask_as(KEY, url, stream=streamed, max_tokens=4000)
    used = [10_000 - int(a.headers[LEFT_TOKENS]) for a in (first, second, third)]
    assert 4000 < used[0] < 4020
    assert [later - used[0] for later in used[1:]] == [USAGE["total_tokens"], 2 * USAGE["total_tokens"]]
    assert b"completion_tokens" not in first.content or not streamed
    if streamed:
        assert vllm.requests[0].body["stream_options"] == {"include_usage": True}
        assert first.content.endswith(b"data: [DONE]\n\n")


async def test_a_client_that_asks_for_usage_still_gets_it(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with limited(tmp_path, redis_url, tokens_per_minute=10_000) as (url, _):
        answer = await ask_as(KEY, url, stream=True, stream_options={"include_usage": True})
    assert answer.content.count(b'"usage"') == 1


async def test_a_blocked_prompt_uses_no_tokens(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with limited(tmp_path, redis_url, tokens_per_minute=1000) as (url, _):
        for _ in range(5):
            assert (await ask_as(KEY, url, "Project Titan", max_tokens=900)).status_code == 200


async def test_past_the_tokens_of_a_minute_is_429(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with limited(tmp_path, redis_url, tokens_per_minute=300, requests_per_minute=100) as (url, _):
        answers = [await ask_as(KEY, url, max_tokens=290) for _ in range(2)]
        await ask_as(KEY, url, max_tokens=270)
        await ask_as(KEY, url, max_tokens=260)
    assert [a.status_code for a in answers] == [200, 429]
    assert "tokens a minute" in answers[1].json()["error"]["message"]
    assert answers[1].headers["x-ratelimit-limit-tokens"] == "300"
    assert answers[1].headers[LEFT] == "99"


async def test_a_stream_holds_its_slot_until_it_ends(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    release = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes | float]:
        frames = chat_frames(["Hello", " there"])
        yield frames[0]
        yield frames[1]
        await release.wait()
        for rest in frames[2:]:
            yield rest

    def script(_: object) -> Reply:
        return Reply(pieces(), headers={"content-type": "text/event-stream"})

    async with limited(tmp_path, redis_url, script, concurrent=1) as (url, vllm):
        first = asyncio.create_task(ask_as(KEY, url, stream=True))
        await until(lambda: asked(vllm, 1))
        refused = await ask_as(KEY, url)
        release.set()
        whole = await first
        after = [(await ask_as(KEY, url, stream=True)).status_code for _ in range(5)]
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert "at a time" in refused.json()["error"]["message"]
    assert whole.content.endswith(b"data: [DONE]\n\n")
    assert after == [200] * 5


async def asked(vllm: FakeVLLM, times: int) -> bool:
    return len(vllm.requests) >= times


async def test_a_client_that_leaves_frees_its_slot(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    endless = stream([*chat_frames(["Hello"])[:2], FOREVER])
    async with limited(tmp_path, redis_url, endless, concurrent=1) as (url, vllm):
        leaving = asyncio.create_task(ask_as(KEY, url, stream=True))
        await until(lambda: asked(vllm, 1))
        assert await redis.zcard("{wardgate:acme}:slots") == 1
        leaving.cancel()

        async def free() -> bool:
            return await redis.zcard("{wardgate:acme}:slots") == 0

        await until(free)


async def test_of_many_at_once_only_so_many_reach_the_model(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    slow = Reply([b"{}"], before=FOREVER)
    async with limited(tmp_path, redis_url, slow, concurrent=7) as (url, vllm):
        tasks = [asyncio.create_task(ask_as(KEY, url)) for _ in range(30)]

        async def refused() -> bool:
            return sum(t.done() for t in tasks) == 23

        await until(refused)
        assert len(vllm.requests) == vllm.running == 7
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(("failure", "status"), [("allow", 200), ("block", 503)])
async def test_while_redis_is_away_the_config_decides(
    failure: str, status: int, *, server: EmbeddedRedis, tmp_path: Path
) -> None:
    rules = {"on_limiter_failure": failure}
    folder = tmp_path / "gateway"
    folder.mkdir()
    async with limited(folder, server.url, server=rules, requests_per_minute=3) as (url, _):
        assert (await ask_as(KEY, url)).headers[LEFT] == "2"
        server.stop()
        answers = [await ask_as(KEY, url) for _ in range(5)]
        free = await ask_as(FREE, url)
        failures = await metric(url, "wardgate_limiter_failures_total")
        server.start()

        async def back() -> bool:
            return LEFT in (await ask_as(KEY, url)).headers

        await until(back)
    assert [a.status_code for a in answers] == [status] * 5
    assert all(LEFT not in a.headers for a in answers)
    assert free.status_code == 200
    assert failures >= 5
    if failure == "block":
        assert answers[0].json()["error"]["code"] == "limiter_unavailable"
        assert answers[0].headers["retry-after"] == "1"


async def test_a_request_costs_one_script_and_without_limits_none(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with limited(tmp_path, redis_url, requests_per_minute=1000) as (url, _):
        await ask_as(KEY, url)
        counts = []
        for key in (KEY, FREE):
            await redis.config_resetstat()
            for _ in range(100):
                await ask_as(key, url)
            stats = await redis.info("commandstats")
            counts.append(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])
    with_limits, without = counts
    assert 100 <= with_limits < 150  # the gateway's clocks ask as well
    assert without < 50


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.0171, "18ms"), (0.5, "500ms"), (1, "1s"), (8.64, "8.64s"), (59.999, "59.999s"), (60.2, "1m0.2s")],
)
def test_times_are_spelled_as_openai_does(seconds: float, text: str) -> None:
    assert spelled(seconds) == text
