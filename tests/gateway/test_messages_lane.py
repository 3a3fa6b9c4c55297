"""`/v1/messages` behind guards that score: nothing leaves unjudged, and what was held can still be taken back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.live.flags import FlagLog
from tests.fakes import Reply, stream
from tests.fakes_messages import message_frames, message_json, saying, text, thinking, tool_use
from tests.gateway.harness import EMAIL
from tests.gateway.messages import REFUSAL, ask, ask_stream, serving

ALWAYS, NEVER = {"block": 0.0}, {"block": 1.0}
TERMS = {"name": "terms", "kind": "denylist", "terms": ["titan"], "stages": ["output"], "action": "block"}
FIRST = "The lamp is lit and the table is laid for supper, so the guests may come in now. "
RUDE = "You are a disgusting worthless idiot and everyone hates you."
SAID = (thinking("A lamp, then."), text("The lamp is lit."), tool_use("light", {"lamp": "le phare d'été"}))


def judge(category: str, thresholds: Mapping[str, float], stage: str = "output", **more: object) -> dict[str, object]:
    base = {"name": f"{category} {stage}", "kind": "classifier", "category": category}
    return base | {"stages": [stage], "thresholds": dict(thresholds), "timeout": "30s"} | more


async def test_an_answer_below_the_threshold_comes_whole(tmp_path: Path, redis_url: str) -> None:
    guards = judge("harm", NEVER, "input"), judge("harm", NEVER), TERMS, EMAIL
    async with serving(saying(*SAID, stop="tool_use", gap=0.003), tmp_path, redis_url, *guards) as both:
        assert (await ask(both.url)).json()["content"] == list(SAID)
        got = await ask_stream(both.url)
    got.check()
    assert (got.spelled(0), got.spelled(1)) == ("A lamp, then.", "The lamp is lit.")
    assert "t\\u00e9" in got.spelled(2)
    assert (got.end["delta"]["stop_reason"], got.end["wardgate"]["findings"]) == ("tool_use", [])


async def test_nothing_of_a_blocked_answer_leaves(tmp_path: Path, redis_url: str) -> None:
    async with serving(saying(*SAID, gap=0.003), tmp_path, redis_url, judge("harm", ALWAYS), TERMS) as both:
        body = (await ask(both.url)).json()
        got = await ask_stream(both.url)
    assert (body["content"], body["stop_reason"]) == ([{"type": "text", "text": REFUSAL}], "refusal")
    assert [f["field"] for f in body["wardgate"]["findings"]] == [
        "content[0].thinking",
        "content[1].text",
        "content[2].input",
    ]
    got.check()
    assert [b["type"] for b in got.blocks] == ["text"]
    assert (got.spelled(0), got.end["delta"]["stop_reason"]) == (REFUSAL, "refusal")
    assert got.end["wardgate"]["action"] == "block"
    assert not any(word in got.raw for word in ("lamp", "lit.", "phare"))


async def test_an_exact_and_a_scoring_guard_that_both_block_refuse_once(tmp_path: Path, redis_url: str) -> None:
    at_once = stream([b"".join(message_frames(text("The titan is lit."), size=99))])
    async with serving(at_once, tmp_path, redis_url, judge("harm", ALWAYS), TERMS) as both:
        got = await ask_stream(both.url)
    got.check()
    assert (len(got.blocks), got.spelled(0)) == (1, REFUSAL)
    assert {f["guard"] for f in got.end["wardgate"]["findings"]} == {"terms", "harm output"}


@pytest.mark.parametrize("streaming", ["strict", {"mode": "bounded", "slack": 30}])
async def test_what_was_judged_has_left_when_a_later_block_is_refused(
    streaming: object, tmp_path: Path, redis_url: str
) -> None:
    script = saying(text(FIRST), text(RUDE), gap=0.003)
    guard = judge("toxicity", {"block": 0.8})
    async with serving(script, tmp_path, redis_url, guard, streaming=streaming) as both:
        got = await ask_stream(both.url)
    got.check()
    assert FIRST.startswith(got.spelled(0) or "?")
    last = len(got.blocks) - 1
    assert (got.spelled(last), got.end["delta"]["stop_reason"]) == (REFUSAL, "refusal")
    assert "hates you" not in "".join(got.spelled(i) for i in range(last))
    assert got.end["usage"]["input_tokens"] == 7


async def test_a_flagged_answer_leaves_with_its_finding_and_is_kept(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with serving(saying(*SAID, gap=0.003), tmp_path, redis_url, judge("harm", {"flag": 0.0}), EMAIL) as both:
        got = await ask_stream(both.url)
        got.check()
        assert got.spelled(1) == "The lamp is lit."
        assert {f["field"] for f in got.end["wardgate"]["findings"]} == {
            "content[0].thinking",
            "content[1].text",
            "content[2].input",
        }
        kept = await FlagLog(redis).show(got.headers["x-request-id"])
        assert kept is not None
        assert kept["answer"]["content[1].text"] == "The lamp is lit."
        assert "le phare d'été" in kept["answer"]["content[2].input"]


async def test_an_audited_stream_leaves_at_once(tmp_path: Path, redis_url: str) -> None:
    async with serving(saying(*SAID), tmp_path, redis_url, judge("harm", ALWAYS), streaming="audit") as both:
        got = await ask_stream(both.url)
    got.check()
    assert (got.spelled(1), got.end["delta"]["stop_reason"]) == ("The lamp is lit.", "end_turn")


async def test_a_blocked_stream_is_an_error_where_the_policy_says_so(tmp_path: Path, redis_url: str) -> None:
    async with serving(saying(*SAID), tmp_path, redis_url, judge("harm", ALWAYS), on_block="error") as both:
        answer = await ask(both.url, stream=True)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "content_filter"


async def test_a_prompt_is_scored_with_its_tool_results(tmp_path: Path, redis_url: str) -> None:
    content = [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "It rains."}]}]
    async with serving(Reply([message_json(text("Ah."))]), tmp_path, redis_url, judge("harm", ALWAYS, "input")) as both:
        body = (await ask(both.url, content)).json()
        assert [f["field"] for f in body["wardgate"]["findings"]] == ["messages[0].content[0].content[0].text"]
        assert both.vllm.requests == []
