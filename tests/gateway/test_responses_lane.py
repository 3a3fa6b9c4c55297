"""Guards that score, before a response: nothing leaves that they would have stopped, in whatever state it was."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.live.flags import FlagLog
from tests.fakes import Reply, Request, stream
from tests.fakes_responses import call, cut, events, frames, message, reasoning, whole
from tests.gateway.harness import CODENAME
from tests.gateway.responding import REFUSAL, Both, output_text, respond, respond_stream, served
from tests.gateway.test_classifier import ALWAYS, NEVER, judge

THOUGHT = "The question is simple, so the answer is too."
SAID = "The lamp is lit. It burns all night, and the keeper sleeps."
ARGUMENTS = '{"lamp": "lit\\u002e"}'
ITEMS = (reasoning(THOUGHT), message(SAID), call(ARGUMENTS))
BAD = {"block": 0.5}
VICIOUS = "I will kill you and your whole family tonight, you disgusting worthless idiot. Everyone hates you."


def answer(request: Request) -> Reply:
    if not request.body.get("stream"):
        return whole(*ITEMS)
    pieces = (cut(THOUGHT, 5), cut(SAID, 5), cut(ARGUMENTS, 5))
    return stream(frames(events(*zip(ITEMS, pieces, strict=True))), gap=0.002)


@contextlib.asynccontextmanager
async def lane(tmp_path: Path, redis_url: str, *guards: Mapping[str, object], **policy: object) -> AsyncIterator[Both]:
    async with served(answer, tmp_path, redis_url, *guards, **policy) as both:
        yield both


async def test_an_answer_below_the_threshold_comes_whole(tmp_path: Path, redis_url: str) -> None:
    async with lane(tmp_path, redis_url, judge("harm", NEVER, "input"), judge("harm", NEVER, "output")) as both:
        got = await respond_stream(both.url)
        got.check()
        assert got.final["status"] == "completed"
        assert (got.text(), got.text("reasoning_text")) == (SAID, THOUGHT)
        assert got.final["output"][2]["arguments"] == ARGUMENTS
        body = (await respond(both.url)).json()
        assert body["output"] == got.final["output"]


async def test_nothing_of_a_blocked_stream_leaves(tmp_path: Path, redis_url: str) -> None:
    async with lane(tmp_path, redis_url, judge("harm", ALWAYS, "output")) as both:
        got = await respond_stream(both.url)
        got.check()
        assert got.names[0] == "response.created"
        assert got.names[-1] == "response.incomplete"
        assert got.text() == output_text(got.final) == REFUSAL
        assert [item["type"] for item in got.final["output"]] == ["message"]
        assert got.final["wardgate"]["action"] == "block"
        assert not any(word in got.raw for word in ("lamp", "question", "function_call"))


@pytest.mark.parametrize("order", [(message(SAID), message(VICIOUS)), (reasoning(SAID), message(VICIOUS))])
async def test_what_left_before_a_block_stays_and_is_ended(
    order: tuple[dict[str, object], ...], tmp_path: Path, redis_url: str
) -> None:
    texts = (SAID, VICIOUS)
    items = [dict(item) | {"id": f"item_{i}"} for i, item in enumerate(order)]
    said = events(*((item, cut(text, 5)) for item, text in zip(items, texts, strict=True)))
    script = stream(frames(said), gap=0.02)
    async with served(script, tmp_path, redis_url, judge("harm", BAD, "output")) as both:
        got = await respond_stream(both.url)
        got.check()
        assert got.names[-1] == "response.incomplete"
        assert output_text(got.final).endswith(REFUSAL)
        assert VICIOUS not in got.raw
        assert SAID in got.raw
        done = {e["output_index"] for e in got.of("output_item.done")}
        assert done == {e["output_index"] for e in got.of("output_item.added")}


async def test_a_block_of_the_exact_lane_and_one_of_the_scores_make_one_refusal(tmp_path: Path, redis_url: str) -> None:
    text = f"{SAID} It is Project Titan. {SAID}"
    script = stream(frames(events((message(text), cut(text, 7)))), gap=0.002)
    async with served(script, tmp_path, redis_url, CODENAME, judge("harm", ALWAYS, "output")) as both:
        got = await respond_stream(both.url)
        got.check()
        assert got.text() == output_text(got.final) == REFUSAL
        assert "lamp" not in got.raw


async def test_a_blocked_body_is_replaced(tmp_path: Path, redis_url: str) -> None:
    async with lane(tmp_path, redis_url, judge("harm", ALWAYS, "output")) as both:
        body = (await respond(both.url)).json()
        assert output_text(body) == REFUSAL
        assert [item["type"] for item in body["output"]] == ["message"]
        fields = {f["field"] for f in body["wardgate"]["findings"]}
        assert fields == {"output[0].content[0].text", "output[1].content[0].text", "output[2].arguments"}


async def test_a_blocked_stream_is_an_error_where_the_policy_says_so(tmp_path: Path, redis_url: str) -> None:
    async with lane(tmp_path, redis_url, judge("harm", ALWAYS, "output"), on_block="error") as both:
        got = await respond_stream(both.url)
        assert (got.status, json.loads(got.raw)["error"]["code"]) == (400, "content_filter")


async def test_a_flagged_stream_leaves_with_its_finding_and_is_kept(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with lane(tmp_path, redis_url, judge("harm", {"flag": 0.0}, "output")) as both:
        got = await respond_stream(both.url)
        got.check()
        assert got.text() == SAID
        assert {f["guard"] for f in got.final["wardgate"]["findings"]} == {"harm output"}
        kept = await FlagLog(redis).show(got.headers["x-request-id"])
        assert kept is not None
        assert kept["answer"]["output[1].content[0].text"] == SAID


async def test_an_audited_stream_leaves_at_once_and_its_exposure_is_recorded(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with lane(tmp_path, redis_url, judge("harm", ALWAYS, "output"), streaming="audit") as both:
        got = await respond_stream(both.url)
        assert got.text() == SAID
        kept = await FlagLog(redis).show(got.headers["x-request-id"])
        assert kept is not None
        assert kept["exposure"]["harm output"] >= len(SAID) + len(THOUGHT) + len(ARGUMENTS)


async def test_a_monitored_guard_changes_nothing(tmp_path: Path, redis_url: str) -> None:
    guards = judge("harm", ALWAYS, "output", mode="monitor"), {**CODENAME, "mode": "monitor"}
    async with lane(tmp_path, redis_url, *guards) as both:
        got = await respond_stream(both.url)
        assert (got.text(), got.final["wardgate"]["findings"]) == (SAID, [])


async def test_a_blocked_prompt_is_never_asked(tmp_path: Path, redis_url: str) -> None:
    async with lane(tmp_path, redis_url, judge("jailbreak", ALWAYS, "input")) as both:
        body = (await respond(both.url)).json()
        assert output_text(body) == REFUSAL
        assert body["wardgate"]["findings"][0]["field"] == "input"
        assert both.vllm.requests == []


async def test_a_bounded_stream_leaks_no_more_than_its_slack(tmp_path: Path, redis_url: str) -> None:
    slack = {"mode": "bounded", "slack": 20}
    async with lane(tmp_path, redis_url, judge("harm", ALWAYS, "output"), streaming=slack) as both:
        got = await respond_stream(both.url)
        got.check()
        shown = len(got.text()) + len(got.text("reasoning_text")) - len(REFUSAL)
        assert 0 <= shown <= 20
        assert output_text(got.final).endswith(REFUSAL)
