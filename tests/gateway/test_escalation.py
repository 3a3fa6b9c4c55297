"""What a guard escalates waits for a person: nothing of it leaves, all of it is kept, and his word is fetched."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from redis.asyncio import Redis

from gateway.live.flags import FlagLog
from gateway.review.case import State
from gateway.review.decision import Choice, Decision, Reason
from gateway.review.ledger import Ledger
from gateway.review.queue import ReviewQueue
from tests.fakes import Reply, chat_frames, chat_json, fake_vllm, stream
from tests.fakes_messages import saying as messages_saying
from tests.fakes_messages import text
from tests.fakes_responses import saying as responses_saying
from tests.gateway.harness import CHAT, EMAIL, ask, ask_stream, document, gateway, request, until

ESCALATE: Mapping[str, object] = {
    "name": "codename",
    "kind": "pattern",
    "pattern": r"Project [A-Z]\w{2,20}",
    "action": "escalate",
}
BLOCK = {**ESCALATE, "name": "falcon", "pattern": "Falcon", "action": "block"}
NOTICE = "A person will look."
REFUSAL = "Not this."
OPEN: Sequence[State] = ("open",)
SECRET = "Project Titan is ready, write to ada@example.com."
REDACTED = "Project Titan is ready, write to [EMAIL]."


def policy(deliver: str = "withhold", **more: object) -> dict[str, Any]:
    escalation = {"deliver": deliver, "notice": NOTICE, **more}
    return {"escalation": escalation, "review": {"undo": "1ms", "second_share": 0}, "refusal": REFUSAL}


def queue_of(redis: Redis) -> ReviewQueue:
    return ReviewQueue(redis, Ledger(redis))


async def decide(redis: Redis, choice: Choice, edits: Mapping[str, str] | None = None, case: str | None = None) -> str:
    """As a reviewer does; the case's id once the decision is in force."""
    queue = queue_of(redis)
    claim = await queue.claim("open", "ann", wanted=case)
    assert claim is not None
    id: str = claim.case.id
    reason: Reason | None = "other" if choice in ("allow", "block") else None
    decision = Decision(id, choice, "ann", time.time(), reason=reason, edits=dict(edits or {}), token=claim.token)
    await queue.submit(decision, key=f"{id}/1")
    await until(lambda: closed(redis, id))
    return id


async def closed(redis: Redis, case: str) -> bool:
    view = await queue_of(redis).get(case)
    return view is not None and view.closed_at is not None


async def waiting(redis: Redis) -> bool:
    return bool(await queue_of(redis).list("open", states=OPEN))


async def review(url: str, case: str) -> Any:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/v1/reviews/{case}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def whole(content: str) -> Reply:
    return Reply([chat_json(content)])


def saying(*pieces: str) -> Reply:
    return stream(chat_frames(pieces))


async def test_a_whole_answer_waits_and_the_application_fetches_it(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with (
        fake_vllm(whole(SECRET)) as vllm,
        gateway(document(vllm.url, EMAIL, ESCALATE, **policy()), tmp_path, redis_url) as url,
    ):
        answer = await ask(url, "Hello")
        case = answer.headers["x-wardgate-case"]
        body = answer.json()
        assert (answer.status_code, answer.headers["x-wardgate-action"]) == (200, "escalate")
        assert body["choices"][0]["message"]["content"] == NOTICE
        assert body["choices"][0]["finish_reason"] == "content_filter"
        assert body["wardgate"]["case"] == case
        assert "Titan" not in answer.text
        assert (await review(url, case))["status"] == "pending"
        await decide(redis, "allow")
        told = await review(url, case)
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as openai:
            fetched = await openai.chat.completions.retrieve(body["id"])
    assert (told["status"], told["decision"]) == ("decided", "allow")
    assert told["output"]["choices"][0]["message"]["content"] == REDACTED
    assert fetched.choices[0].message.content == REDACTED


async def test_an_edit_is_what_leaves(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with (
        fake_vllm(whole(SECRET)) as vllm,
        gateway(document(vllm.url, ESCALATE, **policy()), tmp_path, redis_url) as url,
    ):
        answer = await ask(url, "Hello")
        await decide(redis, "allow_with_edit", {"choices[0].message.content": "It is ready."})
        told = await review(url, answer.headers["x-wardgate-case"])
    assert told["output"]["choices"][0]["message"]["content"] == "It is ready."
    assert "Titan" not in json.dumps(told)


@pytest.mark.parametrize(("choice", "text"), [("block", REFUSAL), ("refuse_rewrite", "I may not name it.")])
async def test_a_refused_answer_never_leaves(
    tmp_path: Path, redis_url: str, redis: Redis, choice: Choice, text: str
) -> None:
    edits = {"choices[0].message.content": text} if choice == "refuse_rewrite" else {}
    async with (
        fake_vllm(whole(SECRET)) as vllm,
        gateway(document(vllm.url, ESCALATE, **policy()), tmp_path, redis_url) as url,
    ):
        answer = await ask(url, "Hello")
        await decide(redis, choice, edits)
        told = await review(url, answer.headers["x-wardgate-case"])
    choice_ = told["output"]["choices"][0]
    assert (choice_["message"]["content"], choice_["finish_reason"]) == (text, "content_filter")
    assert "Titan" not in json.dumps(told)


async def test_a_stream_keeps_what_had_left_and_ends_with_the_notice(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with (
        fake_vllm(saying("Listen. ", f"{SECRET} ", "More of it.")) as vllm,
        gateway(document(vllm.url, EMAIL, ESCALATE, **policy()), tmp_path, redis_url) as url,
    ):
        got = await ask_stream(url)
        case = got.chunks[-1]["wardgate"]["case"]
        await decide(redis, "allow")
        told = await review(url, case)
    assert got.text() == f"Listen. {NOTICE}"
    assert got.ends[0] == "content_filter"
    assert told["output"]["choices"][0]["message"]["content"] == f"Listen. {REDACTED} More of it."


async def test_what_another_guard_blocks_needs_no_person(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with (
        fake_vllm(whole("Project Titan, once Falcon.")) as vllm,
        gateway(document(vllm.url, ESCALATE, BLOCK, **policy()), tmp_path, redis_url) as url,
    ):
        answer = await ask(url, "Hello")
        assert await queue_of(redis).claim("open", "ann") is None
    assert answer.json()["choices"][0]["message"]["content"] == REFUSAL
    assert "x-wardgate-case" not in answer.headers


async def test_an_escalated_prompt_is_answered_and_the_answer_waits(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with (
        fake_vllm(whole("It is a fine day.")) as vllm,
        gateway(document(vllm.url, ESCALATE, **policy()), tmp_path, redis_url) as url,
    ):
        answer = await ask(url, "Tell me of Project Titan.")
        await decide(redis, "allow")
        told = await review(url, answer.headers["x-wardgate-case"])
    assert answer.json()["choices"][0]["message"]["content"] == NOTICE
    assert told["output"]["choices"][0]["message"]["content"] == "It is a fine day."


async def test_a_streamed_answer_to_an_escalated_prompt_waits_whole(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with (
        fake_vllm(saying("It is a fine day.")) as vllm,
        gateway(document(vllm.url, ESCALATE, **policy()), tmp_path, redis_url) as url,
    ):
        got = await ask_stream(url, "Tell me of Project Titan.")
        case = got.headers["x-wardgate-case"]
        await decide(redis, "allow")
        told = await review(url, case)
    assert (got.text(), got.ends[0]) == (NOTICE, "content_filter")
    assert told["output"]["choices"][0]["message"]["content"] == "It is a fine day."


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_request_that_waits_gets_the_decided_answer(
    tmp_path: Path, redis_url: str, redis: Redis, *, streamed: bool
) -> None:
    script = saying(f"Listen. {SECRET}") if streamed else whole(SECRET)
    async with (
        fake_vllm(script) as vllm,
        gateway(document(vllm.url, EMAIL, ESCALATE, **policy("wait", wait="20s")), tmp_path, redis_url) as url,
    ):
        asking: asyncio.Task[Any] = asyncio.create_task(ask_stream(url) if streamed else ask(url))
        await until(lambda: waiting(redis))
        await decide(redis, "allow")
        got = await asking
    if streamed:
        assert (got.text(), got.ends[0]) == (f"Listen. {REDACTED}", "stop")
    else:
        assert got.json()["choices"][0]["message"]["content"] == REDACTED


async def test_a_stream_that_waits_shows_that_it_lives(
    tmp_path: Path, redis_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.holding.KEEP_ALIVE", 0.1)
    async with (
        fake_vllm(saying(SECRET)) as vllm,
        gateway(document(vllm.url, ESCALATE, **policy("wait", wait="500ms")), tmp_path, redis_url) as url,
        httpx.AsyncClient() as client,
        client.stream("POST", url + CHAT, json=request("Hello", stream=True)) as answer,
    ):
        raw = (await answer.aread()).decode()
    assert '"case":"case_' in raw
    assert raw.count(": waiting for a person\n\n") >= 3
    assert NOTICE in raw
    assert "Titan" not in raw


async def test_nobody_decides_in_time_and_the_notice_comes(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with (
        fake_vllm(whole(SECRET)) as vllm,
        gateway(document(vllm.url, ESCALATE, **policy("wait", wait="300ms")), tmp_path, redis_url) as url,
    ):
        answer = await ask(url, "Hello")
    assert answer.json()["choices"][0]["message"]["content"] == NOTICE


@pytest.mark.parametrize(("on_deadline", "text"), [("block", REFUSAL), ("allow", SECRET)])
async def test_the_deadline_decides_where_nobody_does(
    tmp_path: Path, redis_url: str, redis: Redis, on_deadline: str, text: str
) -> None:
    rules = policy(deadline="300ms", on_deadline=on_deadline)
    async with (
        fake_vllm(whole(SECRET)) as vllm,
        gateway(document(vllm.url, ESCALATE, **rules), tmp_path, redis_url) as url,
    ):
        case = (await ask(url, "Hello")).headers["x-wardgate-case"]
        await until(lambda: closed(redis, case))
        told = await review(url, case)
    assert told["output"]["choices"][0]["message"]["content"] == text


async def test_a_released_answer_leaves_and_a_case_is_open(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with (
        fake_vllm(lambda r: saying(SECRET) if r.body.get("stream") else whole(SECRET)) as vllm,
        gateway(document(vllm.url, ESCALATE, **policy("release")), tmp_path, redis_url) as url,
    ):
        answer = await ask(url, "Hello")
        got = await ask_stream(url)
        cases = await queue_of(redis).list("open", states=OPEN)
        flag = await FlagLog(redis).show(answer.headers["x-request-id"])
    assert answer.json()["choices"][0]["message"]["content"] == SECRET
    assert got.text() == SECRET
    assert {view.case.id for view in cases} == {
        answer.headers["x-wardgate-case"],
        got.chunks[-1]["wardgate"]["case"],
    }
    assert flag is not None
    assert flag["case"] == answer.headers["x-wardgate-case"]


async def test_the_lot_opens_a_case_of_what_no_guard_found(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    rules = {**policy(), "review": {"audit_share": 1.0}}
    async with (
        fake_vllm(whole("A fine day.")) as vllm,
        gateway(document(vllm.url, ESCALATE, **rules), tmp_path, redis_url) as url,
    ):
        answer = await ask(url, "Hello")
        await until(lambda: waiting(redis))
        cases = await queue_of(redis).list("open", states=OPEN)
    assert answer.json()["choices"][0]["message"]["content"] == "A fine day."
    assert "x-wardgate-case" not in answer.headers
    assert [(v.case.source, v.case.probability, v.case.exchange) for v in cases] == [
        ("audit", 1.0, answer.headers["x-request-id"])
    ]


async def test_a_case_is_no_business_of_another_tenant(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with (
        fake_vllm(whole(SECRET)) as vllm,
        gateway(document(vllm.url, ESCALATE, **policy()), tmp_path, redis_url) as url,
        httpx.AsyncClient() as client,
    ):
        await ask(url, "Hello")
        strange = await client.get(f"{url}/v1/reviews/case_000000000000000000000000")
        unknown = await client.get(f"{url}{CHAT}/chatcmpl-nothing")
    assert (strange.status_code, strange.json()["error"]["code"]) == (404, "review_not_found")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "review_not_found")


@pytest.mark.parametrize("streamed", [False, True])
async def test_messages_wait_too(tmp_path: Path, redis_url: str, redis: Redis, *, streamed: bool) -> None:
    script = messages_saying(text(SECRET))
    async with (
        fake_vllm(script) as vllm,
        gateway(document(vllm.url, ESCALATE, **policy()), tmp_path, redis_url) as url,
        AsyncAnthropic(base_url=url, api_key="none") as anthropic,
    ):
        asked: Any = {"model": "assistant", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}
        if streamed:
            async with anthropic.messages.stream(**asked) as events:
                message = await events.get_final_message()
        else:
            message = await anthropic.messages.create(**asked)
        case = (await queue_of(redis).list("open", states=OPEN))[0].case.id
        await decide(redis, "allow")
        told = await review(url, case)
    last: Any = message.content[-1]
    assert (message.stop_reason, last.text) == ("refusal", NOTICE)
    assert told["output"]["content"] == [{"type": "text", "text": SECRET}]


async def test_a_held_answer_says_nothing_that_no_guard_has_seen(tmp_path: Path, redis_url: str) -> None:
    strange = json.loads(chat_json("Project Titan.")) | {"x_note": "Falcon", "prompt_logprobs": [{"1": "owner"}]}
    rules = policy() | {"system_prompt": {"text": "The owner speaks.", "mode": "prepend"}}
    async with (
        fake_vllm(Reply([json.dumps(strange).encode()])) as vllm,
        gateway(document(vllm.url, ESCALATE, {**BLOCK, "action": "redact"}, **rules), tmp_path, redis_url) as url,
    ):
        answer = await ask(url, "Hello")
    assert answer.json()["choices"][0]["message"]["content"] == NOTICE
    assert "Falcon" not in answer.text
    assert "owner" not in answer.text


async def test_no_choice_leaves_of_a_prompt_that_waits_and_whose_answer_is_blocked(
    tmp_path: Path, redis_url: str
) -> None:
    both = json.loads(chat_json("About Falcon."))
    both["choices"].append({**both["choices"][0], "index": 1, "message": {"role": "assistant", "content": "Fine."}})
    async with (
        fake_vllm(Reply([json.dumps(both).encode()])) as vllm,
        gateway(document(vllm.url, ESCALATE, BLOCK, **policy()), tmp_path, redis_url) as url,
    ):
        answer = await ask(url, "Tell me of Project Titan.", n=2)
    assert [c["message"]["content"] for c in answer.json()["choices"]] == [REFUSAL, REFUSAL]


async def test_all_guards_see_a_prompt_that_waits(tmp_path: Path, redis_url: str) -> None:
    rules = document("", ESCALATE, {**EMAIL, "stages": ["input"]}, BLOCK, **policy())
    async with (
        fake_vllm(whole("Fine.")) as vllm,
        gateway(rules.replace("/v1", f"{vllm.url}/v1", 1), tmp_path, redis_url) as url,
    ):
        await ask(url, "Project Titan: write to ada@example.com, and then some.")
        blocked = await ask(url, "Project Titan, once Falcon.")
    assert vllm.requests[0].body["messages"][0]["content"] == "Project Titan: write to [EMAIL], and then some."
    assert len(vllm.requests) == 1
    assert blocked.json()["choices"][0]["message"]["content"] == REFUSAL


async def test_an_edit_takes_the_logprobs_of_what_it_removed_with_it(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    said = json.loads(chat_json("Project Titan."))
    token = {"token": "Project Titan.", "logprob": -0.1, "bytes": list(b"Project Titan."), "top_logprobs": []}
    said["choices"][0]["logprobs"] = {"content": [token], "refusal": None}
    async with (
        fake_vllm(Reply([json.dumps(said).encode()])) as vllm,
        gateway(document(vllm.url, ESCALATE, **policy()), tmp_path, redis_url) as url,
    ):
        case = (await ask(url, "Hello", logprobs=True)).headers["x-wardgate-case"]
        await decide(redis, "allow_with_edit", {"choices[0].message.content": "It."})
        told = await review(url, case)
    assert told["output"]["choices"][0]["message"]["content"] == "It."
    assert "Titan" not in json.dumps(told)


async def test_a_stream_that_breaks_off_after_the_escalation_is_no_case(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    frames = chat_frames([f"{SECRET} ", "And more"])[:2]
    async with (
        fake_vllm(stream(frames)) as vllm,
        gateway(document(vllm.url, ESCALATE, **policy()), tmp_path, redis_url) as url,
    ):
        got = await ask_stream(url)
        assert await queue_of(redis).list("open") == []
    assert got.chunks[-1]["error"]["code"] == "upstream_broken"
    assert "Titan" not in str(got.payloads)


async def test_responses_under_wait_end_with_the_notice(
    tmp_path: Path, redis_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.holding.KEEP_ALIVE", 0.05)
    async with (
        fake_vllm(responses_saying(SECRET)) as vllm,
        gateway(document(vllm.url, ESCALATE, **policy("wait", wait="5s")), tmp_path, redis_url) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as openai,
    ):
        asked: Any = {"model": "assistant", "input": "Tell me of Project Titan.", "stream": True}
        events = await openai.responses.create(**asked)
        reading = asyncio.create_task(collect(events))
        await until(lambda: waiting(redis))
        await asyncio.sleep(0.2)
        await decide(redis, "allow")
        last = (await reading)[-1]
        fetched = await openai.responses.retrieve(last.response.id)
    assert (last.type, last.response.output[-1].content[0].text) == ("response.incomplete", NOTICE)
    assert fetched.output_text == SECRET


async def collect(events: Any) -> list[Any]:
    return [event async for event in events]


async def test_a_call_that_another_guard_blocks_is_never_released(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "rm", "arguments": "{}"}}
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    guard = {"name": "tools", "kind": "tool_call", "action": "block"}
    async with (
        fake_vllm(Reply([chat_json("Project Titan.", tool_calls=[call])])) as vllm,
        gateway(document(vllm.url, ESCALATE, guard, **policy()), tmp_path, redis_url) as url,
    ):
        answer = await ask(url, "Hello", tools=tools)
        assert await queue_of(redis).list("open") == []
    assert answer.json()["choices"][0]["message"]["content"] == REFUSAL
