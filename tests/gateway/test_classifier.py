"""The shipped classifier in the path of a request. Thresholds of nothing and of certainty make it say yes or no."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI, BadRequestError
from openai.types import ModerationTextInputParam
from redis.asyncio import Redis

from gateway.live.flags import FlagLog
from guards.review import NOTICE
from tests.fakes import FakeVLLM, Reply, chat_frames, chat_json, fake_vllm, stream
from tests.gateway.harness import EMAIL, ask, ask_stream, document, gateway

ALWAYS = {"block": 0.0}
NEVER = {"block": 1.0}
REFUSAL = "Not this."
SAID = ["The ", "lamp ", "is ", "lit", "."]


def judge(category: str, thresholds: Mapping[str, float], stage: str, **more: object) -> dict[str, object]:
    base = {"name": f"{category} {stage}", "kind": "classifier", "category": category}
    return base | {"stages": [stage], "thresholds": dict(thresholds), "timeout": "30s"} | more


@dataclass
class Both:
    vllm: FakeVLLM
    url: str


@contextlib.asynccontextmanager
async def serving(
    tmp_path: Path, redis_url: str, *guards: Mapping[str, object], **policy: object
) -> AsyncIterator[Both]:
    async with fake_vllm(lambda asked: answer(asked.body)) as vllm:
        config = document(vllm.url, *guards, **({"refusal": REFUSAL} | policy))
        async with gateway(config, tmp_path, redis_url) as url:
            yield Both(vllm, url)


def answer(asked: Mapping[str, object]) -> Reply:
    n = asked.get("n") or 1
    if asked.get("stream"):
        return stream(chat_frames(SAID, n=n if isinstance(n, int) else 1, usage=True), gap=0.005)
    return Reply([chat_json("".join(SAID))])


async def test_a_blocked_prompt_is_refused_and_never_asked(tmp_path: Path, redis_url: str) -> None:
    async with serving(tmp_path, redis_url, judge("jailbreak", ALWAYS, "input")) as both:
        body = (await ask(both.url)).json()
        assert body["choices"][0]["message"]["content"] == REFUSAL
        assert body["choices"][0]["finish_reason"] == "content_filter"
        (finding,) = body["wardgate"]["findings"]
        assert (finding["guard"], finding["action"], finding["threshold"]) == ("jailbreak input", "block", 0.0)
        assert 0 < finding["score"] < 1
        assert both.vllm.requests == []


@pytest.mark.parametrize("asked", ["whole", "stream"])
async def test_an_answer_below_the_threshold_comes_whole(tmp_path: Path, redis_url: str, asked: str) -> None:
    async with serving(tmp_path, redis_url, judge("harm", NEVER, "input"), judge("harm", NEVER, "output")) as both:
        if asked == "whole":
            body = (await ask(both.url)).json()
            assert (body["choices"][0]["message"]["content"], body["wardgate"]["findings"]) == ("".join(SAID), [])
            return
        got = await ask_stream(both.url, n=2)
        assert (got.text(0), got.text(1), got.ends) == ("".join(SAID), "".join(SAID), {0: "stop", 1: "stop"})
        assert got.payloads[-1] == "[DONE]"


async def test_a_blocked_body_is_replaced(tmp_path: Path, redis_url: str) -> None:
    async with serving(tmp_path, redis_url, judge("harm", ALWAYS, "output")) as both:
        body = (await ask(both.url)).json()
        assert body["choices"][0]["message"]["content"] == REFUSAL
        assert body["wardgate"]["findings"][0]["field"] == "choices[0].message.content"


@pytest.mark.parametrize("n", [1, 2])
async def test_nothing_of_a_blocked_stream_leaves(tmp_path: Path, redis_url: str, n: int) -> None:
    async with serving(tmp_path, redis_url, judge("harm", ALWAYS, "output")) as both:
        got = await ask_stream(both.url, n=n, stream_options={"include_usage": True})
        for index in range(n):
            assert got.text(index) == REFUSAL
            assert got.ends[index] == "content_filter"
        assert got.chunks[-1]["usage"]
        assert got.payloads[-1] == "[DONE]"
        assert got.wardgate["action"] == "block"
        assert not any(word in "".join(got.payloads) for word in ("lamp", "lit"))


async def test_a_blocked_stream_is_an_error_where_the_policy_says_so(tmp_path: Path, redis_url: str) -> None:
    guards = judge("harm", ALWAYS, "output")
    async with (
        serving(tmp_path, redis_url, guards, on_block="error") as both,
        AsyncOpenAI(base_url=f"{both.url}/v1", api_key="k", max_retries=0) as client,
    ):
        with pytest.raises(BadRequestError) as caught:
            await client.chat.completions.create(
                model="assistant", messages=[{"role": "user", "content": "Hello"}], stream=True
            )
        assert caught.value.code == "content_filter"


async def test_a_flagged_stream_leaves_with_its_finding_and_is_kept(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with serving(tmp_path, redis_url, judge("harm", {"flag": 0.0}, "output"), EMAIL) as both:
        got = await ask_stream(both.url)
        assert got.text() == "".join(SAID)
        assert [f["guard"] for f in got.wardgate["findings"]] == ["harm output"]
        kept = await FlagLog(redis).show(got.headers["x-request-id"])
        assert kept is not None
        assert "".join(SAID) in str(kept)


async def test_an_audited_stream_leaves_at_once_and_its_exposure_is_recorded(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with serving(tmp_path, redis_url, judge("harm", ALWAYS, "output"), streaming="audit") as both:
        got = await ask_stream(both.url)
        assert got.text() == "".join(SAID)
        kept = await FlagLog(redis).show(got.headers["x-request-id"])
        assert kept is not None
        assert kept["exposure"] == {"harm output": len("".join(SAID))}
        async with httpx.AsyncClient() as client:
            scrape = (await client.get(f"{both.url}/metrics")).text
        assert f'wardgate_exposed_chars_total{{guard="harm output"}} {float(len("".join(SAID)))}' in scrape


async def test_a_monitored_guard_does_not_hold_a_stream(tmp_path: Path, redis_url: str) -> None:
    async with serving(tmp_path, redis_url, judge("harm", ALWAYS, "output", mode="monitor")) as both:
        got = await ask_stream(both.url)
        assert got.text() == "".join(SAID)
        assert len([c for c in got.choices if c["delta"].get("content")]) == len(SAID)


async def test_a_monitored_guard_changes_nothing(tmp_path: Path, redis_url: str) -> None:
    guards = judge("harm", ALWAYS, "input", mode="monitor"), judge("harm", ALWAYS, "output", mode="monitor")
    async with serving(tmp_path, redis_url, *guards) as both:
        body = (await ask(both.url)).json()
        assert body["choices"][0]["message"]["content"] == "".join(SAID)
        assert body["wardgate"] == {"action": "allow", "policy": body["wardgate"]["policy"], "findings": []}


async def test_what_should_go_to_a_person_does_not_leave(tmp_path: Path, redis_url: str) -> None:
    async with serving(tmp_path, redis_url, judge("harm", {"escalate": 0.0}, "output")) as both:
        body = (await ask(both.url)).json()
        assert body["choices"][0]["message"]["content"] == NOTICE
        assert body["wardgate"]["action"] == "escalate"


async def test_a_guard_of_prompts_does_not_judge_answers(tmp_path: Path, redis_url: str) -> None:
    guard = judge("jailbreak", ALWAYS, "output") | {"stages": ["input", "output"], "thresholds": {"block": 1.0}}
    async with serving(tmp_path, redis_url, guard) as both:
        assert (await ask(both.url)).json()["choices"][0]["message"]["content"] == "".join(SAID)


async def test_moderations_answer_the_sdk(tmp_path: Path, redis_url: str) -> None:
    async with (
        serving(tmp_path, redis_url) as both,
        AsyncOpenAI(base_url=f"{both.url}/v1", api_key="k") as client,
    ):
        texts = ["What is the capital of France?", "You are a disgusting worthless idiot and everyone hates you."]
        results = (await client.moderations.create(input=texts)).results
        assert [r.flagged for r in results] == [False, True]
        assert results[1].category_scores.harassment > results[0].category_scores.harassment
        part: ModerationTextInputParam = {"type": "text", "text": texts[0]}
        (one,) = (await client.moderations.create(input=[part])).results
        assert not one.flagged


@pytest.mark.parametrize(
    "given", [None, [], 7, [{"type": "image_url", "image_url": {"url": "x"}}], ["a"] * 257, "a" * 300_001]
)
async def test_moderations_refuse_what_they_cannot_judge(tmp_path: Path, redis_url: str, given: object) -> None:
    async with serving(tmp_path, redis_url) as both, httpx.AsyncClient() as client:
        answered = await client.post(f"{both.url}/v1/moderations", json={"input": given})
        assert (answered.status_code, answered.json()["error"]["code"]) == (400, "invalid_request")


async def test_moderations_do_not_read_a_body_over_the_limit(tmp_path: Path, redis_url: str) -> None:
    async with fake_vllm() as vllm:
        config = json.dumps({**json.loads(document(vllm.url)), "server": {"max_body": "64kB"}})
        async with gateway(config, tmp_path, redis_url) as url, httpx.AsyncClient() as client:
            answered = await client.post(f"{url}/v1/moderations", json={"input": "a" * 100_000})
    assert (answered.status_code, answered.json()["error"]["code"]) == (413, "body_too_large")
