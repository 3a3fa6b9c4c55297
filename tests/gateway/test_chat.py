"""What the model server is asked, and what of its answer comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes import FakeVLLM, Reply, chat_frames, chat_json, fake_vllm, stream
from tests.gateway.harness import CODENAME, EMAIL, ask, ask_stream, document, gateway

OWNER = "You are the assistant of ACME, who makes garden tools."
CARD = {"name": "pii", "kind": "pii", "entities": ["card", "ssn"], "action": "redact"}
ASKED = {"role": "user", "content": "Hello"}


def prompted(mode: str) -> dict[str, object]:
    return {"system_prompt": {"text": OWNER, "mode": mode}}


async def seen(
    mode: str, messages: list[dict[str, Any]], tmp_path: Path, redis_url: str
) -> tuple[int, list[Any], FakeVLLM]:
    """The answer's status, and the messages that reached the model server."""
    async with fake_vllm() as vllm, gateway(document(vllm.url, **prompted(mode)), tmp_path, redis_url) as url:
        answer = await ask(url, messages=messages)
    return answer.status_code, vllm.requests[0].body["messages"] if vllm.requests else [], vllm


async def test_a_prepended_prompt_leads_and_joins_the_clients_leading_system_messages(
    tmp_path: Path, redis_url: str
) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "developer", "content": "In French."}, ASKED]
    _, got, _ = await seen("prepend", messages, tmp_path, redis_url)
    assert got == [{"role": "system", "content": f"{OWNER}\n\nBe brief.\n\nIn French."}, ASKED]


async def test_a_prepended_prompt_joins_a_multi_part_system_message_as_a_part(tmp_path: Path, redis_url: str) -> None:
    part = {"type": "text", "text": "Be brief."}
    _, got, _ = await seen("prepend", [{"role": "system", "content": [part]}, ASKED], tmp_path, redis_url)
    assert got == [{"role": "system", "content": [{"type": "text", "text": OWNER}, part]}, ASKED]


async def test_a_replacing_prompt_drops_all_system_and_developer_messages(tmp_path: Path, redis_url: str) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "A"},
        ASKED,
        {"role": "developer", "content": [{"type": "text"}]},
        ASKED,
    ]
    _, got, _ = await seen("replace", messages, tmp_path, redis_url)
    assert got == [{"role": "system", "content": OWNER}, ASKED, ASKED]


async def test_an_only_prompt_stands_alone(tmp_path: Path, redis_url: str) -> None:
    status, got, _ = await seen("only", [ASKED], tmp_path, redis_url)
    assert (status, got) == (200, [{"role": "system", "content": OWNER}, ASKED])


@pytest.mark.parametrize("role", ["system", "developer", "System"])
async def test_an_only_prompt_refuses_the_clients_system_messages(role: str, tmp_path: Path, redis_url: str) -> None:
    status, _, vllm = await seen("only", [ASKED, {"role": role, "content": "Obey."}], tmp_path, redis_url)
    assert status == 400
    assert not vllm.requests


async def test_request_fields_that_the_gateway_does_not_know_reach_the_model_untouched(
    tmp_path: Path, redis_url: str
) -> None:
    extra: dict[str, object] = {
        "top_k": 5,
        "structured_outputs": {"json": {"type": "object"}},
        "guided_regex": "a+",
        "future": [1, {"a": None}],
    }
    async with fake_vllm() as vllm, gateway(document(vllm.url, EMAIL), tmp_path, redis_url) as url:
        await ask(url, **extra)
    assert vllm.requests[0].body == extra | {"model": "fake", "messages": [ASKED]}


@pytest.mark.parametrize("text", ["Good day.", "Write to ada@example.com"])
async def test_response_fields_that_the_gateway_does_not_know_come_back(
    text: str, tmp_path: Path, redis_url: str
) -> None:
    body = chat_json(text, annotations=[{"a": 1}])[:-1] + b', "kv_transfer_params": {"x": 1}}'
    async with (
        fake_vllm(Reply([body])) as vllm,
        gateway(document(vllm.url, EMAIL), tmp_path, redis_url) as url,
    ):
        answer = (await ask(url)).json()
    assert answer["kv_transfer_params"] == {"x": 1}
    assert answer["choices"][0]["message"]["annotations"] == [{"a": 1}]
    assert answer["choices"][0]["stop_reason"] is None


async def test_a_stream_with_nothing_to_hide_keeps_its_chunks_one_for_one(tmp_path: Path, redis_url: str) -> None:
    deltas = ["The", " capital", " of", " France", " is", " Paris", "."]
    frames = chat_frames(deltas, usage=True)
    async with (
        fake_vllm(stream(frames, gap=0.01)) as vllm,
        gateway(document(vllm.url, CARD, CODENAME, **prompted("prepend")), tmp_path, redis_url) as url,
    ):
        got = await ask_stream(url, stream_options={"include_usage": True})
    assert [c["delta"].get("content") for c in got.choices] == ["", *deltas, ""]
    assert got.wardgate["action"] == "allow"
    assert len(got.payloads) == len(frames)
    assert got.chunks[-1]["usage"]["total_tokens"] == 10
    assert got.payloads[-1] == "[DONE]"


@pytest.mark.parametrize(("policy", "shown"), [(prompted("prepend"), None), ({}, [None, {"1": {}}])])
async def test_prompt_logprobs_are_hidden_with_a_system_prompt_and_kept_without(
    policy: Mapping[str, object], shown: object, tmp_path: Path, redis_url: str
) -> None:
    body = chat_json("ok")[:-1] + b', "prompt_logprobs": [null, {"1": {}}], "prompt_token_ids": [1, 2]}'
    async with (
        fake_vllm(Reply([body])) as vllm,
        gateway(document(vllm.url, **policy), tmp_path, redis_url) as url,
    ):
        answer = (await ask(url, prompt_logprobs=1)).json()
    assert answer["prompt_logprobs"] == shown
    assert (answer["prompt_token_ids"] is None) == (shown is None)


async def test_an_answer_names_its_request_its_policy_and_what_was_done(tmp_path: Path, redis_url: str) -> None:
    async with (
        fake_vllm(Reply([chat_json("Write to ada@example.com")])) as vllm,
        gateway(document(vllm.url, EMAIL), tmp_path, redis_url) as url,
    ):
        answer = await ask(url)
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    assert re.fullmatch(r"support@[0-9a-f]{12}", answer.headers["x-wardgate-policy"])
    assert answer.headers["x-wardgate-action"] == "redact"
    assert float(answer.headers["x-wardgate-guard-ms"]) >= 0
    wardgate = answer.json()["wardgate"]
    assert wardgate["policy"] == answer.headers["x-wardgate-policy"]
    assert wardgate["findings"] == [
        {
            "guard": "pii",
            "category": "pii",
            "stage": "output",
            "action": "redact",
            "score": 1.0,
            "threshold": None,
            "field": "choices[0].message.content",
            "choice": 0,
            "entity": "email",
            "span": [9, 24],
        }
    ]


@pytest.mark.parametrize(("streamed", "status"), [(False, 429), (True, 404)])
async def test_an_upstream_error_keeps_its_status_and_body(
    streamed: bool, status: int, tmp_path: Path, redis_url: str
) -> None:
    body = b'{"error": {"message": "No such thing.", "type": "NotFoundError", "param": "p", "code": 7, "more": 1}}'
    async with (
        fake_vllm(Reply([body], status)) as vllm,
        gateway(document(vllm.url, EMAIL), tmp_path, redis_url) as url,
    ):
        answer = await ask(url, stream=streamed)
        async with httpx.AsyncClient() as client:
            scrape = (await client.get(f"{url}/metrics")).text
    assert answer.status_code == status
    assert f'route="/v1/chat/completions",status="{status}"}} 1.0' in scrape
    assert answer.json()["error"]["more"] == 1
    assert answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"
