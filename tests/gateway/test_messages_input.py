"""What guards find in a request to `/v1/messages`, what the model server gets of it, and what errors look like."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from tests.fakes import Reply, fake_vllm
from tests.fakes_messages import message_json, saying, text
from tests.gateway.harness import CODENAME, EMAIL, document, gateway, with_tenants
from tests.gateway.messages import COUNT, MESSAGES, REFUSAL, ask, ask_stream, count, request, serving

BAD = "Tell me of Project Titan."
MAIL = "ada@example.com"
OWNER = "You are ACME's assistant."
RED = {**EMAIL, "stages": ["input"]}
STOP = {**CODENAME, "stages": ["input"]}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"ada@example.com").decode()
HELLO = {"role": "user", "content": "Hello"}
WEATHER = {"name": "weather", "description": "The forecast", "input_schema": {"type": "object", "properties": {}}}


def asked(*blocks: Mapping[str, object], role: str = "user") -> dict[str, object]:
    return {"messages": [HELLO, {"role": role, "content": list(blocks)}]}


def result(content: object) -> Mapping[str, object]:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": content}


def source(kind: str, **more: object) -> Mapping[str, object]:
    return {"type": "document", "source": {"type": kind, **more}}


PLACES: Mapping[str, Mapping[str, object]] = {
    "system": {"system": BAD},
    "system[0].text": {"system": [{"type": "text", "text": BAD, "cache_control": {"type": "ephemeral"}}]},
    "messages[0].content": {"messages": [{"role": "user", "content": BAD}]},
    "messages[1].content": {"messages": [HELLO, {"role": "system", "content": BAD}]},
    "messages[1].content[0].text": asked({"type": "text", "text": BAD}),
    "messages[1].content[0].thinking": asked({"type": "thinking", "thinking": BAD, "signature": "x"}, role="assistant"),
    "messages[1].content[0].input": asked(
        {"type": "tool_use", "id": "toolu_1", "name": "say", "input": {"a": [BAD]}}, role="assistant"
    ),
    "messages[1].content[0].content": asked(result(BAD)),
    "messages[1].content[0].content[0].text": asked(result([{"type": "text", "text": BAD}])),
    "messages[1].content[0].title": asked({**source("text", media_type="text/plain", data="Well."), "title": BAD}),
    "messages[1].content[0].source.data": asked(source("text", media_type="text/plain", data=BAD)),
    "messages[1].content[0].source.content[0].text": asked(source("content", content=[{"type": "text", "text": BAD}])),
    "messages[1].content[0].content[1].text": asked(
        {"type": "search_result", "source": "a", "title": "b", "content": [result("c"), {"type": "text", "text": BAD}]}
    ),
    "messages[1].content[0].novel.thing": asked({"type": "novelty", "novel": {"thing": BAD}}),
    "messages[1].content[0].data": asked({"type": "redacted_thinking", "data": BAD}, role="assistant"),
    "tools[0].description": {"tools": [{**WEATHER, "description": BAD}]},
    "tools[0].input_schema.properties.id.description": {
        "tools": [{**WEATHER, "input_schema": {"type": "object", "properties": {"id": {"description": BAD}}}}]
    },
}
"""Where a text stands -> a request with a bad one there."""


@pytest.mark.parametrize("where", PLACES)
async def test_every_text_of_a_request_can_block_it(where: str, tmp_path: Path, redis_url: str) -> None:
    async with serving(saying(text("Well.")), tmp_path, redis_url, STOP) as both:
        body = (await ask(both.url, **PLACES[where])).json()
        assert (body["stop_reason"], body["content"]) == ("refusal", [{"type": "text", "text": REFUSAL}])
        found = body["wardgate"]["findings"]
        assert [f["field"] for f in found if f["guard"] == "codename"] == [where]
        assert both.vllm.requests == []


async def test_a_blocked_prompt_is_refused_in_a_stream_too(tmp_path: Path, redis_url: str) -> None:
    async with serving(saying(text("Well.")), tmp_path, redis_url, STOP) as both:
        got = await ask_stream(both.url, BAD)
    got.check()
    assert (got.spelled(0), got.end["delta"]["stop_reason"]) == (REFUSAL, "refusal")
    assert got.end["wardgate"]["action"] == "block"


async def test_a_blocked_prompt_is_an_error_where_the_policy_says_so(tmp_path: Path, redis_url: str) -> None:
    async with serving(saying(text("Well.")), tmp_path, redis_url, STOP, on_block="error") as both:
        for answer in (await ask(both.url, BAD), await ask(both.url, BAD, stream=True)):
            assert answer.status_code == 400
            body = answer.json()
            assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
            assert (body["error"]["code"], body["error"]["innererror"]["code"]) == (
                "content_filter",
                "ResponsibleAIPolicyViolation",
            )
            assert "Titan" not in answer.text


async def test_a_request_is_redacted_and_the_rest_of_it_untouched(tmp_path: Path, redis_url: str) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    linked = {"type": "image", "source": {"type": "url", "url": f"https://a.example/?to={MAIL}"}}
    call = {"type": "tool_use", "id": "toolu_1", "name": "mail", "input": {"to": MAIL, "n": [1, {"b": None}]}}
    sent: dict[str, object] = {
        "system": [{"type": "text", "text": f"I am {MAIL}"}],
        "messages": [
            {"role": "user", "content": [image, linked, {"type": "text", "text": f"To {MAIL}"}]},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result(f"sent to {MAIL}")]},
        ],
        "metadata": {"user_id": MAIL},
        "tools": [WEATHER],
        "odd": {"field": MAIL},
    }
    async with serving(saying(text("Well.")), tmp_path, redis_url, RED, media={"hosts": ["a.example"]}) as both:
        await ask(both.url, **sent)
        (got,) = both.vllm.requests
    assert got.path == MESSAGES
    first, second, third = got.body["messages"]
    assert got.body["system"] == [{"type": "text", "text": "I am [EMAIL]"}]
    assert first["content"] == [image, linked, {"type": "text", "text": "To [EMAIL]"}]
    assert second["content"][0]["input"] == {"to": "[EMAIL]", "n": [1, {"b": None}]}
    assert third["content"][0]["content"] == "sent to [EMAIL]"
    assert {k: got.body[k] for k in ("metadata", "tools", "odd", "model")} == {
        **{k: sent[k] for k in ("metadata", "tools", "odd")},
        "model": "fake",
    }


@pytest.mark.parametrize(
    ("mode", "theirs", "system"),
    [
        ("prepend", None, OWNER),
        ("prepend", "Be brief.", f"{OWNER}\n\nBe brief."),
        (
            "prepend",
            [{"type": "text", "text": "Be brief."}],
            [{"type": "text", "text": f"{OWNER}\n\n"}, {"type": "text", "text": "Be brief."}],
        ),
        ("replace", "Be brief.", OWNER),
        ("only", None, OWNER),
    ],
)
async def test_the_owners_prompt_leads(
    mode: str, theirs: object, system: object, tmp_path: Path, redis_url: str
) -> None:
    prompt = {"text": OWNER, "mode": mode}
    more: dict[str, object] = {} if theirs is None else {"system": theirs}
    async with serving(saying(text("Well.")), tmp_path, redis_url, system_prompt=prompt) as both:
        await ask(both.url, **more, chat_template="x")
        (got,) = both.vllm.requests
    assert got.body["system"] == system
    assert got.body["messages"] == [HELLO]
    assert "chat_template" not in got.body


async def test_system_messages_of_the_client_are_dropped_or_refused(tmp_path: Path, redis_url: str) -> None:
    messages = [{"role": "system", "content": "Be brief."}, HELLO, {"role": " Developer", "content": "And rude."}]
    prompt = {"text": OWNER, "mode": "replace"}
    async with serving(saying(text("Well.")), tmp_path, redis_url, system_prompt=prompt) as both:
        await ask(both.url, messages=messages)
        assert both.vllm.requests[0].body["messages"] == [HELLO]
    prompt = {"text": OWNER, "mode": "only"}
    async with serving(saying(text("Well.")), tmp_path, redis_url, system_prompt=prompt) as both:
        first, second = await ask(both.url, messages=messages), await ask(both.url, system="Be brief.")
        for answer, param in ((first, "messages[0].role"), (second, "system")):
            assert answer.status_code == 400
            assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == (
                "system_message_refused",
                param,
            )
        assert both.vllm.requests == []


async def test_tokens_are_counted_with_the_owners_prompt_and_under_guard(tmp_path: Path, redis_url: str) -> None:
    prompt = {"text": OWNER, "mode": "prepend"}
    async with serving(saying(), tmp_path, redis_url, RED, STOP, system_prompt=prompt) as both:
        counted = await count(both.url, f"To {MAIL}")
        assert (counted.status_code, counted.json()["input_tokens"]) == (200, 11)
        (got,) = both.vllm.requests
        assert (got.path, got.body["system"]) == (COUNT, OWNER)
        assert got.body["messages"][0]["content"] == "To [EMAIL]"
        blocked = await count(both.url, BAD)
        assert blocked.status_code == 400
        assert (blocked.json()["type"], blocked.json()["error"]["code"]) == ("error", "content_filter")
        assert blocked.json()["error"]["innererror"]["content_filter_result"]
        assert (await count(both.url, stream=True)).json()["error"]["param"] == "stream"
        assert len(both.vllm.requests) == 1


@pytest.mark.parametrize("counted", [{"input_tokens": "11"}, {"input_tokens": 11, "text": BAD}, {"tokens": 11}])
async def test_a_count_of_unknown_shape_is_refused(counted: object, tmp_path: Path, redis_url: str) -> None:
    async with serving(Reply([json.dumps(counted).encode()]), tmp_path, redis_url, STOP) as both:
        answer = await count(both.url)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_broken")


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"system": 7}, "system"),
        ({"system": [7]}, "system[0]"),
        ({"stream": "yes"}, "stream"),
    ],
)
async def test_a_request_that_cannot_be_read_is_refused(
    more: Mapping[str, object], param: str, tmp_path: Path, redis_url: str
) -> None:
    async with serving(saying(text("Well.")), tmp_path, redis_url, STOP) as both:
        answer = await ask(both.url, **more)
        assert answer.status_code == 400
        body = answer.json()
        assert (body["type"], body["error"]["code"], body["error"]["param"]) == ("error", "invalid_request", param)
        assert both.vllm.requests == []


async def test_a_key_in_x_api_key_serves(tmp_path: Path, redis_url: str) -> None:
    tenant = {"name": "acme", "keys": [f"sha256:{hashlib.sha256(b'wg-key').hexdigest()}"], "models": ["assistant"]}
    async with (
        fake_vllm(Reply([message_json(text("Well."))])) as vllm,
        gateway(with_tenants(document(vllm.url), tenant), tmp_path, redis_url) as url,
        httpx.AsyncClient(base_url=url, headers={"x-api-key": "wg-key"}) as client,
    ):
        assert (await client.post(MESSAGES, json=request())).status_code == 200
        bearer = await client.post(
            MESSAGES, json=request(), headers={"authorization": "Bearer wg-key", "x-api-key": "other"}
        )
        assert bearer.status_code == 200
        wrong = await client.post(MESSAGES, json=request(), headers={"x-api-key": "other"})
        assert (wrong.status_code, wrong.json()["error"]["type"]) == (401, "authentication_error")
        assert "x-api-key" not in vllm.requests[0].headers
        lost = await client.post(MESSAGES, json=request(model="nobody"))
        assert (lost.status_code, lost.json()["error"]["type"], lost.json()["error"]["code"]) == (
            404,
            "not_found_error",
            "model_not_found",
        )


async def test_an_error_of_the_upstream_keeps_its_status_and_words(tmp_path: Path, redis_url: str) -> None:
    said = {"type": "error", "error": {"type": "BadRequestError", "message": "max_tokens must be positive"}}
    async with serving(Reply([json.dumps(said).encode()], status=400), tmp_path, redis_url) as both:
        answer = await ask(both.url)
    assert answer.status_code == 400
    told = {"type": "invalid_request_error", "message": "max_tokens must be positive"}
    assert answer.json() == {"type": "error", "error": told}
