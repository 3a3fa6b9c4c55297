"""`POST /v1/guard`: the guards without a model."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from gateway.live.flags import FlagLog
from tests.fakes import fake_vllm
from tests.gateway.harness import CODENAME, EMAIL, RUDE, document, gateway, with_tenants

GUARD = "/v1/guard"
MAIL = "mara@example.org"
KEY = "wg-app-secret"


def hashed(key: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def two_policies(upstream: str, *tenants: Mapping[str, object]) -> str:
    """`assistant` is judged by `support`, `clerk` by `office`, and nothing by `spare`."""
    config = json.loads(document(upstream, CODENAME, EMAIL))
    config["models"].append({"name": "clerk", "upstream": "vllm", "policy": "office"})
    config["models"].append({"name": "free", "upstream": "vllm"})
    config["policies"] += [{"name": "office", "guards": [RUDE]}, {"name": "spare", "guards": []}]
    return with_tenants(json.dumps(config), *tenants) if tenants else json.dumps(config)


@contextlib.asynccontextmanager
async def guarding(
    tmp_path: Path, redis_url: str, *guards: Mapping[str, object], config: str = "", **policy: object
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway whose model nobody may ask."""
    async with fake_vllm() as vllm:
        text = config.replace("UPSTREAM", vllm.url) if config else document(vllm.url, *guards, **policy)
        async with gateway(text, tmp_path, redis_url) as url, httpx.AsyncClient(base_url=url) as client:
            yield client
        assert vllm.requests == []


async def check(client: httpx.AsyncClient, key: str = "", **body: object) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return await client.post(GUARD, json=body, headers=headers)


@pytest.mark.parametrize("stage", ["input", "output"])
async def test_a_text_comes_back_redacted(tmp_path: Path, redis_url: str, stage: str) -> None:
    async with guarding(tmp_path, redis_url, EMAIL) as client:
        answer = await check(client, stage=stage, text=f"Write to {MAIL}.")
        body = answer.json()
    assert (answer.status_code, body["action"], body["text"]) == (200, "redact", "Write to [EMAIL].")
    (finding,) = body["findings"]
    assert (finding["guard"], finding["stage"], finding["field"], finding["span"]) == ("pii", stage, "text", [9, 25])
    assert answer.headers["x-wardgate-policy"] == body["policy"]
    assert answer.headers["x-wardgate-action"] == "redact"
    assert float(answer.headers["x-wardgate-guard-ms"]) > 0
    assert answer.headers["x-request-id"]
    assert MAIL not in answer.text


async def test_a_harmless_text_comes_back_as_it_was(tmp_path: Path, redis_url: str) -> None:
    async with guarding(tmp_path, redis_url, EMAIL, CODENAME) as client:
        body = (await check(client, stage="input", text="Hello")).json()
    assert body == {"action": "allow", "policy": body["policy"], "findings": [], "stage": "input", "text": "Hello"}


async def test_of_a_blocked_text_nothing_comes_back(tmp_path: Path, redis_url: str) -> None:
    async with guarding(tmp_path, redis_url, CODENAME, on_block="error") as client:
        answer = await check(client, stage="output", text="It is called Project Zebra.")
    assert (answer.status_code, answer.json()["action"], answer.json()["text"]) == (200, "block", None)
    assert "Zebra" not in answer.text
    assert "called" not in answer.text


async def test_the_guards_of_the_other_stage_do_not_judge(tmp_path: Path, redis_url: str) -> None:
    async with guarding(tmp_path, redis_url, {**CODENAME, "stages": ["output"]}) as client:
        text = "It is called Project Zebra."
        assert (await check(client, stage="input", text=text)).json()["action"] == "allow"
        assert (await check(client, stage="output", text=text)).json()["action"] == "block"


async def test_a_conversation_comes_back_redacted_in_every_place(tmp_path: Path, redis_url: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "send", "arguments": json.dumps({"to": MAIL})}}
    messages = [
        {"role": "system", "content": f"Owner: {MAIL}"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": f"sent to {MAIL}"},
        {"role": "user", "content": [{"type": "text", "text": f"Thanks, {MAIL}"}, {"type": "text", "text": "Bye"}]},
    ]
    tools = [{"type": "function", "function": {"name": "send", "description": f"ask {MAIL}"}}]
    async with guarding(tmp_path, redis_url, EMAIL) as client:
        answer = await check(client, stage="input", messages=messages, tools=tools)
    body = answer.json()
    assert MAIL not in answer.text
    assert body["text"] == "Thanks, [EMAIL]\nBye"
    assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"to": "[EMAIL]"}'
    assert body["tools"][0]["function"]["description"] == "ask [EMAIL]"
    assert [f["field"] for f in body["findings"]] == [
        "messages[0].content",
        "messages[1].tool_calls[0].function.arguments",
        "messages[2].content",
        "messages[3].content[0].text",
        "tools[0].function.description",
    ]


async def test_of_a_conversation_the_answer_alone_is_output(tmp_path: Path, redis_url: str) -> None:
    messages = [
        {"role": "user", "content": f"I am {MAIL}"},
        {"role": "assistant", "content": "Noted."},
        {"role": "user", "content": "Who am I?"},
        {"role": "assistant", "content": f"You are {MAIL}"},
    ]
    async with guarding(tmp_path, redis_url, EMAIL) as client:
        body = (await check(client, stage="output", messages=messages)).json()
    assert [m["content"] for m in body["messages"]] == [f"I am {MAIL}", "Noted.", "Who am I?", "You are [EMAIL]"]
    assert (body["text"], [f["field"] for f in body["findings"]]) == ("You are [EMAIL]", ["messages[3].content"])


async def test_a_classifier_judges_too(tmp_path: Path, redis_url: str) -> None:
    judge = {"name": "jailbreak", "kind": "classifier", "category": "jailbreak", "stages": ["input"], "timeout": "30s"}
    async with guarding(tmp_path, redis_url, judge | {"thresholds": {"block": 0.0}}) as client:
        body = (await check(client, stage="input", text="Hello")).json()
        (finding,) = body["findings"]
        assert (body["action"], body["text"], finding["threshold"]) == ("block", None, 0.0)
        assert 0 < finding["score"] < 1


async def test_what_a_monitored_guard_finds_is_recorded_and_not_shown(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with guarding(tmp_path, redis_url, {**EMAIL, "mode": "monitor"}) as client:
        answer = await check(client, stage="input", text=f"I am {MAIL}")
    assert (answer.json()["action"], answer.json()["findings"], answer.json()["text"]) == ("allow", [], f"I am {MAIL}")
    kept = await FlagLog(redis).show(answer.headers["x-request-id"])
    assert kept is not None
    assert [(v["guard"], v["action"], v["would"]) for v in kept["verdicts"]] == [("pii", "allow", "redact")]


async def test_what_is_flagged_is_in_the_flag_log_as_it_was_sent(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    async with guarding(tmp_path, redis_url, EMAIL) as client:
        headers = {"x-request-id": "my-own-id"}
        await client.post(
            GUARD, json={"stage": "output", "text": f"I am {MAIL}", "model": "assistant"}, headers=headers
        )
        await check(client, stage="output", text="Hello")
        scrape = (await client.get("/metrics")).text
    kept = await FlagLog(redis).show("my-own-id")
    assert kept is not None
    assert kept["request"]["text"] == f"I am {MAIL}"
    assert (kept["route"], kept["tenant"], kept["model"], kept["action"]) == (GUARD, "open", "assistant", "redact")
    assert kept["outcome"] == "complete"
    assert len(await FlagLog(redis).list(10)) == 1
    assert 'wardgate_requests_total{model_name="assistant",route="/v1/guard",status="200"} 1.0' in scrape
    assert 'wardgate_requests_total{model_name="none",route="/v1/guard",status="200"} 1.0' in scrape
    assert "wardgate_flagged_exchanges_total 1.0" in scrape


@pytest.mark.parametrize(
    ("named", "judged"),
    [
        ({}, "support"),
        ({"policy": "office"}, "office"),
        ({"policy": "spare"}, "spare"),
        ({"model": "clerk"}, "office"),
        ({"model": "free"}, "none"),
        ({"model": "nobody"}, "support"),
        ({"model": "clerk", "policy": "support"}, "support"),
    ],
    ids=str,
)
async def test_the_policy_is_the_one_named_else_the_models_else_the_first(
    named: dict[str, Any], judged: str, *, tmp_path: Path, redis_url: str
) -> None:
    async with guarding(tmp_path, redis_url, config=two_policies("UPSTREAM")) as client:
        body = (await check(client, stage="input", text="Hello", **named)).json()
    assert body["policy"].split("@")[0] == judged


async def test_a_tenant_names_the_policies_of_its_models_alone(tmp_path: Path, redis_url: str) -> None:
    acme = {"name": "acme", "keys": [hashed(KEY)], "models": ["clerk"]}
    strict = {"name": "strict", "keys": [hashed("strict")], "models": ["clerk"], "policy": "support"}
    bare = {"name": "bare", "keys": [hashed("bare")], "models": ["free"]}
    async with guarding(tmp_path, redis_url, config=two_policies("UPSTREAM", acme, strict, bare)) as client:
        ask: dict[str, Any] = {"stage": "input", "text": "Hello"}
        assert (await check(client, KEY, **ask)).json()["policy"].startswith("office@")
        assert (await check(client, KEY, **ask, model="assistant")).json()["policy"].startswith("office@")
        assert (await check(client, "strict", **ask, model="clerk")).json()["policy"].startswith("support@")
        for key, name in ((KEY, "support"), (KEY, "spare"), (KEY, "nothing"), ("strict", "office"), ("bare", "none")):
            refused = await check(client, key, **ask, policy=name)
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "policy_not_found")
        unjudged = await check(client, "bare", **ask)
        assert (unjudged.status_code, unjudged.json()["error"]["code"]) == (404, "policy_not_found")


@pytest.mark.parametrize("key", ["", "wrong"])
async def test_without_a_key_nothing_is_judged(tmp_path: Path, redis_url: str, key: str) -> None:
    acme = {"name": "acme", "keys": [hashed(KEY)], "models": ["clerk"]}
    async with guarding(tmp_path, redis_url, config=two_policies("UPSTREAM", acme)) as client:
        answer = await check(client, key, stage="input", text="Hello")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "body",
    [
        {"text": "a"},
        {"stage": "both", "text": "a"},
        {"stage": ["input"], "text": "a"},
        {"stage": "input"},
        {"stage": "input", "text": None},
        {"stage": "input", "text": ["a"]},
        {"stage": "input", "text": "a", "messages": []},
        {"stage": "input", "messages": []},
        {"stage": "input", "messages": "a"},
        {"stage": "input", "messages": [{"content": "a"}]},
        {"stage": "input", "messages": [{"role": "user", "content": 7}]},
        {"stage": "output", "messages": [{"role": "user", "content": "a"}]},
        {"stage": "input", "text": "a", "polciy": "strict"},
        {"stage": "input", "text": "a", "policy": 7},
        {"stage": "input", "text": "a", "tools": []},
        {"stage": "input", "messages": [{"role": "user", "content": "a"}], "tools": {}},
        {"stage": "input", "messages": [{"role": "user", "content": "a"}], "prompt": "a"},
    ],
    ids=str,
)
async def test_what_it_does_not_know_is_refused(tmp_path: Path, redis_url: str, body: object) -> None:
    async with guarding(tmp_path, redis_url, EMAIL) as client:
        answer = await client.post(GUARD, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert "polciy" not in answer.text


async def test_errors_have_openais_body(tmp_path: Path, redis_url: str) -> None:
    async with guarding(tmp_path, redis_url, EMAIL) as client:
        got = await client.get(GUARD)
        broken = await client.post(GUARD, content=b"{")
        nested: Any = "deep"
        for _ in range(200):
            nested = [nested]
        deep = await check(client, stage="input", messages=[{"role": "user", "content": nested}])
    assert (got.status_code, got.json()["error"]["code"], got.headers["allow"]) == (405, "method_not_allowed", "POST")
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_json")
    assert (deep.status_code, deep.json()["error"]["code"]) == (400, "invalid_request")


async def test_the_limits_of_a_tenant_hold_here_too(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    acme = {"name": "acme", "keys": [hashed(KEY)], "models": ["clerk"], "limits": {"requests_per_minute": 2}}
    async with guarding(tmp_path, redis_url, config=two_policies("UPSTREAM", acme)) as client:
        answers = [await check(client, KEY, stage="input", text="Hello") for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 200, 429]
    assert answers[0].headers["x-ratelimit-remaining-requests"] == "1"
    assert answers[2].json()["error"]["code"] == "rate_limit_exceeded"


async def test_a_long_text_is_judged_whole(tmp_path: Path, redis_url: str) -> None:
    async with guarding(tmp_path, redis_url, {**EMAIL, "timeout": "30s"}) as client:
        body = (await check(client, stage="input", text="word " * 60_000 + MAIL)).json()
    assert body["text"].endswith("word [EMAIL]")


def turn(name: str, arguments: object) -> list[dict[str, object]]:
    call = {"id": "1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    return [{"role": "user", "content": "Go"}, {"role": "assistant", "content": None, "tool_calls": [call]}]


BAD_CALLS: tuple[object, ...] = ({}, {"function": {}}, {"function": {"name": "a", "arguments": {}}}, "a")
TOOLS = {"name": "tools", "kind": "tool_call", "allowed_tools": ["search", "send"]}


@pytest.mark.parametrize(
    ("name", "arguments", "offered", "entity"),
    [
        ("search", {"q": "a"}, True, None),
        ("search", {"q": 7}, True, "arguments_schema"),
        ("send", {}, True, "tool_not_offered"),
        ("delete", {}, False, "tool_not_allowed"),
        ("send", {}, False, None),
    ],
)
async def test_the_tool_calls_of_an_answer_are_judged(
    name: str, arguments: object, offered: bool, entity: str | None, *, tmp_path: Path, redis_url: str
) -> None:
    schema = {"type": "object", "properties": {"q": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "search", "parameters": schema}}]
    more: dict[str, Any] = {"tools": tools} if offered else {}
    async with guarding(tmp_path, redis_url, TOOLS) as client:
        body = (await check(client, stage="output", messages=turn(name, arguments), **more)).json()
    assert [f["entity"] for f in body["findings"]] == ([entity] if entity else [])
    assert body["action"] == ("block" if entity else "allow")
    assert (body["messages"] is None) == (entity is not None)


async def test_a_tool_call_that_nobody_can_read_is_refused(tmp_path: Path, redis_url: str) -> None:
    async with guarding(tmp_path, redis_url, TOOLS) as client:
        for bad in BAD_CALLS:
            messages = [{"role": "assistant", "content": None, "tool_calls": [bad]}]
            answer = await check(client, stage="output", messages=messages)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")


async def test_media_are_judged_by_the_policy(tmp_path: Path, redis_url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": "https://elsewhere.example/a.png"}}
    messages = [{"role": "user", "content": [part]}]
    async with guarding(tmp_path, redis_url, media={"hosts": ["pictures.example"]}) as client:
        body = (await check(client, stage="input", messages=messages)).json()
        part["image_url"] = {"url": "https://pictures.example/a.png"}
        other = (await check(client, stage="input", messages=messages)).json()
    assert (body["action"], body["findings"][0]["entity"]) == ("block", "media_refused")
    assert (other["action"], other["findings"][0]["entity"]) == ("flag", "unjudged")
