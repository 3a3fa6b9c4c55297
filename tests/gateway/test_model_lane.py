"""Streams behind guards that score: what leaves, and when. The guard is a guard LLM on a socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from classifiers.served.families import FAMILIES
from gateway.live.flags import FlagLog
from tests.classifiers.served.guards import body
from tests.fakes import FOREVER, FakeVLLM, Piece, Reply, Request, chat_frame, chat_frames, fake_vllm, stream
from tests.gateway.harness import CHAT, Streamed, ask_stream, document, gateway, request

FAMILY = FAMILIES["llama_guard"]
MARK = "crowbar"
REFUSAL = "Not this."
CALM = "The lamp is lit and the table is laid for supper, so the guests may come in now. "
END = [chat_frame({}, finish="stop"), b"data: [DONE]\n\n"]


@dataclass
class GuardLLM:
    """Says `unsafe` of what `wrong` says, after `delay` seconds."""

    wrong: Callable[[str], bool] = lambda text: MARK in text
    delay: float = 0.0
    seen: list[str] = field(default_factory=list)
    """The answers that it was shown, as far as they go."""

    def __call__(self, asked: Request) -> Reply:
        shown = json.dumps(asked.body["messages"], ensure_ascii=False)
        self.seen.append(shown)
        return Reply([body(FAMILY, "unsafe\nS1" if self.wrong(shown) else "safe")], before=self.delay)


def rule(url: str, **more: object) -> dict[str, object]:
    base = {"name": "big", "kind": "guard_llm", "family": "llama_guard", "base_url": f"{url}/v1", "model": "guard"}
    return base | {"stages": ["output"], "thresholds": {"block": 0.5}, "timeout": "10s"} | more


@contextlib.asynccontextmanager
async def serving(
    tmp_path: Path, redis_url: str, guard: GuardLLM, answer: Sequence[Piece], rules: object = None, **policy: object
) -> AsyncIterator[tuple[str, FakeVLLM]]:
    more = rules if isinstance(rules, dict) else {}
    async with (
        fake_vllm(guard) as llm,
        fake_vllm(lambda _: stream(answer)) as vllm,
        gateway(document(vllm.url, rule(llm.url, **more), refusal=REFUSAL, **policy), tmp_path, redis_url) as url,
    ):
        yield url, vllm


def pieces(text: str, size: int = 7) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def spoken(text: str, gap: float = 0.002) -> list[Piece]:
    """The deltas of a text, without an end."""
    first: list[Piece] = [chat_frame({"role": "assistant", "content": ""})]
    return first + [p for delta in pieces(text) for p in (chat_frame({"content": delta}), gap)]


async def test_judged_text_leaves_while_the_model_still_writes(tmp_path: Path, redis_url: str) -> None:
    answer = [*spoken(CALM), FOREVER]
    async with serving(tmp_path, redis_url, GuardLLM(), answer) as (url, _), httpx.AsyncClient(timeout=5) as client:
        got = ""
        async with client.stream("POST", url + CHAT, json=request(stream=True)) as answered:
            async for line in answered.aiter_lines():
                if line.startswith("data: "):
                    got += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
                if got == CALM:
                    break
        assert got == CALM


async def test_nothing_of_a_window_that_is_blocked_leaves_under_strict(tmp_path: Path, redis_url: str) -> None:
    text = CALM * 3 + f"Take the {MARK} and go. " + CALM * 2
    async with serving(tmp_path, redis_url, GuardLLM(), [*spoken(text), *END]) as (url, _):
        got = await ask_stream(url)
    told = got.text().removesuffix(REFUSAL)
    assert got.text().endswith(REFUSAL)
    assert len(told) > len(CALM)
    assert text.startswith(told)
    assert MARK not in told
    assert got.ends == {0: "content_filter"}
    assert got.wardgate["action"] == "block"
    assert got.payloads[-1] == "[DONE]"


async def test_a_block_closes_the_upstream_at_once_and_keeps_the_flag(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    answer = [*spoken(CALM * 2 + f"Take the {MARK} and go. "), FOREVER]
    async with serving(tmp_path, redis_url, GuardLLM(), answer) as (url, vllm):
        got = await ask_stream(url)
        await asyncio.wait_for(vllm.left.wait(), 2)
        kept = await FlagLog(redis).show(got.headers["x-request-id"])
    assert kept is not None
    (verdict,) = kept["verdicts"]
    start, end = verdict["spans"][0]
    assert MARK in (CALM * 2 + f"Take the {MARK} and go. ")[start:end]
    assert kept["exposure"] == {}


@pytest.mark.parametrize("slack", [0, 10, 100])
async def test_no_more_than_the_slack_leaves_unjudged(tmp_path: Path, redis_url: str, slack: int, redis: Redis) -> None:
    guard = GuardLLM(wrong=lambda _: True, delay=0.5)
    streaming = {"mode": "bounded", "slack": slack} if slack else "strict"
    answer = [*spoken(CALM * 4, gap=0.0005), FOREVER]
    async with serving(tmp_path, redis_url, guard, answer, streaming=streaming) as (url, _):
        got = await ask_stream(url)
        kept = await FlagLog(redis).show(got.headers["x-request-id"])
    told = got.text().removesuffix(REFUSAL)
    assert len(told) <= slack
    assert len(told) > slack - 8  # a frame of seven characters that does not fit waits
    assert kept is not None
    assert kept["exposure"] == ({"big": len(told)} if told else {})


async def test_a_guard_that_stalls_blocks_as_its_rule_says(tmp_path: Path, redis_url: str) -> None:
    answer = [*spoken(CALM), FOREVER]
    stalled = GuardLLM(delay=FOREVER)
    async with serving(tmp_path, redis_url, stalled, answer, {"timeout": "300ms"}) as (url, _):
        got = await ask_stream(url)
    assert got.text() == REFUSAL
    assert got.wardgate["findings"][0]["error"] in ("timeout", "unavailable")


async def test_a_guard_that_may_fail_and_stalls_is_waited_for_once(tmp_path: Path, redis_url: str) -> None:
    answer = [*spoken(CALM * 4, gap=0.01), *END]
    stalled = GuardLLM(delay=FOREVER)
    rules = {"timeout": "300ms", "on_error": "allow"}
    async with serving(tmp_path, redis_url, stalled, answer, rules) as (url, _):
        got = await ask_stream(url)
    assert got.text() == CALM * 4
    assert got.ends == {0: "stop"}
    assert len(stalled.seen) == 1
    assert [f["error"] for f in got.wardgate["findings"]] in (["timeout"], ["unavailable"])


async def test_one_choice_is_blocked_and_the_other_goes_on(tmp_path: Path, redis_url: str) -> None:
    bad = CALM + f"Take the {MARK} and go. " + CALM
    frames: list[Piece] = [chat_frame({"role": "assistant", "content": ""}, i) for i in (0, 1)]
    for left, right in zip(pieces(CALM * 2), pieces(bad), strict=False):
        frames += [chat_frame({"content": left}), chat_frame({"content": right}, 1), 0.002]
    rest = (CALM * 2)[7 * len(pieces(bad)) :]
    frames += [chat_frame({"content": rest}), chat_frame({}, 0, "stop"), chat_frame({}, 1, "stop"), b"data: [DONE]\n\n"]
    async with serving(tmp_path, redis_url, GuardLLM(), frames) as (url, _):
        got = await ask_stream(url, n=2)
    assert got.text(0) == CALM * 2
    assert got.text(1).endswith(REFUSAL)
    assert MARK not in got.text(1)
    assert got.ends == {0: "stop", 1: "content_filter"}
    assert [f["choice"] for f in got.wardgate["findings"]] == [1]


async def test_the_end_waits_for_the_judgement_of_the_whole(tmp_path: Path, redis_url: str) -> None:
    text = "Alpha stands here. " + CALM * 8 + "Omega stands there."
    guard = GuardLLM(wrong=lambda shown: "Alpha" in shown and "Omega" in shown)
    async with serving(tmp_path, redis_url, guard, [*spoken(text), *END]) as (url, _):
        got = await ask_stream(url)
    assert got.text().endswith(REFUSAL)
    assert got.ends == {0: "content_filter"}


async def test_an_answer_that_fits_one_window_is_judged_once(tmp_path: Path, redis_url: str) -> None:
    guard = GuardLLM()
    async with serving(tmp_path, redis_url, guard, chat_frames(["Good day."])) as (url, _):
        got = await ask_stream(url)
    assert got.text() == "Good day."
    assert len(guard.seen) == 1


async def test_what_is_judged_grows_with_the_answer_and_not_faster(tmp_path: Path, redis_url: str) -> None:
    cost = []
    for times in (5, 40):
        guard = GuardLLM(delay=0.004)
        async with serving(tmp_path, redis_url, guard, [*spoken(CALM * times, gap=0.001), *END]) as (url, _):
            got = await ask_stream(url)
        assert got.text() == CALM * times
        cost.append(sum(shown.count("t") for shown in guard.seen) / times)
    assert cost[1] < cost[0] * 1.5


@pytest.mark.parametrize("seed", range(12))
async def test_no_cut_lets_the_mark_through(tmp_path: Path, redis_url: str, seed: int) -> None:
    chance = random.Random(seed)
    words = [chance.choice([*CALM.split(), "\n\n", "end."]) for _ in range(chance.randint(5, 150))]
    words.insert(chance.randint(0, len(words)), MARK)
    text = " ".join(words)
    frames: list[Piece] = [chat_frame({"role": "assistant", "content": ""})]
    while text:
        size = chance.choice([1, 2, 5, 30, 200])
        frames += [chat_frame({"content": text[:size]}), chance.choice([0, 0, 0.001, 0.01])]
        text = text[size:]
    guard = GuardLLM(delay=chance.choice([0, 0.01, 0.05]))
    async with serving(tmp_path, redis_url, guard, [*frames, *END]) as (url, _):
        got: Streamed = await ask_stream(url)
    assert MARK not in got.text()
    assert " ".join(words).startswith(got.text().removesuffix(REFUSAL))
    assert got.ends == {0: "content_filter"}
