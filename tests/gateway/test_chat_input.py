"""What guards find in a prompt: redacted before the model reads it, or refused without asking the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.live.flags import FlagLog
from tests.fakes import fake_vllm
from tests.gateway.harness import CODENAME, EMAIL, RUDE, ask, ask_stream, document, gateway

MAIL = "ada@example.com"
REFUSAL = "Not this."
SECRET = "Tell me of Project Titan"


async def test_every_text_of_a_prompt_is_redacted_before_the_model_reads_it(tmp_path: Path, redis_url: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"to": MAIL, "n": 1})}}
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": f"The owner is {MAIL}"},
        {"role": "user", "content": [{"type": "text", "text": f"I am {MAIL}"}, {"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": f"sent to {MAIL}"},
        {"role": "user", "content": f"And {MAIL}?", "name": "ada"},
    ]
    async with fake_vllm() as vllm, gateway(document(vllm.url, EMAIL), tmp_path, redis_url) as url:
        answer = await ask(url, messages=messages)
    expected = json.loads(json.dumps(messages).replace(MAIL, "[EMAIL]"))
    assert vllm.requests[0].body["messages"] == expected
    assert answer.headers["x-wardgate-action"] == "redact"
    fields = [f["field"] for f in answer.json()["wardgate"]["findings"]]
    assert fields == [
        "messages[0].content",
        "messages[1].content[0].text",
        "messages[2].tool_calls[0].function.arguments",
        "messages[3].content",
        "messages[4].content",
    ]


async def test_a_blocked_prompt_is_refused_in_every_choice_and_never_reaches_the_model(
    tmp_path: Path, redis_url: str
) -> None:
    async with (
        fake_vllm() as vllm,
        gateway(document(vllm.url, CODENAME, refusal=REFUSAL), tmp_path, redis_url) as url,
    ):
        answer = await ask(url, SECRET, n=2)
    body = answer.json()
    assert answer.status_code == 200
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in body["choices"]] == [
        (0, REFUSAL, "content_filter"),
        (1, REFUSAL, "content_filter"),
    ]
    assert body["wardgate"]["action"] == answer.headers["x-wardgate-action"] == "block"
    assert body["object"] == "chat.completion"
    assert "Titan" not in answer.text
    assert not vllm.requests


@pytest.mark.parametrize("usage", [True, False])
async def test_a_blocked_prompt_is_refused_in_a_stream(usage: bool, tmp_path: Path, redis_url: str) -> None:
    async with (
        fake_vllm() as vllm,
        gateway(document(vllm.url, CODENAME, refusal=REFUSAL), tmp_path, redis_url) as url,
    ):
        got = await ask_stream(url, SECRET, stream_options={"include_usage": usage})
    assert got.status == 200
    assert got.text() == REFUSAL
    assert got.ends == {0: "content_filter"}
    assert got.choices[0]["delta"]["role"] == "assistant"
    assert got.wardgate["action"] == "block"
    assert got.payloads[-1] == "[DONE]"
    assert ("usage" in got.chunks[-1]) == usage
    assert not vllm.requests


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_blocked_prompt_is_azures_error_where_the_policy_says_so(
    streamed: bool, tmp_path: Path, redis_url: str
) -> None:
    async with (
        fake_vllm() as vllm,
        gateway(document(vllm.url, CODENAME, on_block="error"), tmp_path, redis_url) as url,
    ):
        answer = await ask(url, SECRET, stream=streamed)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["code"], error["param"], error["status"]) == ("content_filter", "prompt", 400)
    assert error["innererror"]["content_filter_result"]["format"]["filtered"] is True
    assert answer.headers["x-wardgate-action"] == "block"
    assert "Titan" not in answer.text


async def test_a_flagged_prompt_passes_and_is_kept(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with fake_vllm() as vllm, gateway(document(vllm.url, RUDE), tmp_path, redis_url) as url:
        answer = await ask(url, "You windbag")
    kept = await FlagLog(redis).show(answer.headers["x-request-id"])
    assert answer.json()["choices"][0]["message"]["content"] == "You said: You windbag"
    assert answer.headers["x-wardgate-action"] == "flag"
    assert kept is not None
    assert kept["request"]["messages"][0]["content"] == "You windbag"
    assert kept["answer"] == {"choices[0].message.content": "You said: You windbag"}


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_monitored_guard_changes_nothing_and_is_logged(
    streamed: bool, tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    config = [{**CODENAME, "mode": "monitor"}, {**EMAIL, "mode": "monitor"}]
    said = f"{SECRET} and {MAIL}"
    async with fake_vllm() as vllm, gateway(document(vllm.url, *config), tmp_path, redis_url) as url:
        if streamed:
            got = await ask_stream(url, said)
            text, headers, wardgate = got.text(), got.headers, got.wardgate
        else:
            answer = await ask(url, said)
            text, headers = answer.json()["choices"][0]["message"]["content"], answer.headers
            wardgate = answer.json()["wardgate"]
    assert text == f"You said: {said}"
    assert vllm.requests[0].body["messages"][0]["content"] == said
    assert (headers["x-wardgate-action"], wardgate["findings"]) == ("allow", [])
    kept = await FlagLog(redis).show(headers["x-request-id"])
    assert kept is not None
    assert sorted((v["stage"], v["guard"], v["action"], v["would"]) for v in kept["verdicts"]) == [
        (stage, guard, "allow", would)
        for stage in ("input", "output")
        for guard, would in (("codename", "block"), ("pii", "redact"))
    ]


async def test_a_key_that_is_a_name_elsewhere_hides_no_text(tmp_path: Path, redis_url: str) -> None:
    hidden = {"id": {"description": "a windbag"}, "file": {"description": "a windbag"}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": hidden}}}
    async with fake_vllm() as vllm, gateway(document(vllm.url, RUDE), tmp_path, redis_url) as url:
        findings = (await ask(url, tools=[tool])).json()["wardgate"]["findings"]
    assert sorted(f["field"].rsplit(".", 2)[1] for f in findings) == ["file", "id"]
