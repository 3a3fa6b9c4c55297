"""LiteLLM's generic guardrail API: by its shape, and with a real LiteLLM proxy where one is installed.

`tests/bench/peers/install.sh litellm` installs one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from gateway.live.flags import FlagLog
from tests.fakes import FakeVLLM, Reply, chat_frames, chat_json, fake_vllm, stream
from tests.gateway.harness import CODENAME, EMAIL, document, free_port, gateway, until, with_tenants

ROUTE = "/beta/litellm_basic_guardrail_api"
MAIL = "mara@example.org"
REFUSAL = "Not this."
PEER = Path(__file__).parent.parent / "bench" / "peers" / "env" / "litellm" / "bin"
KEY = "wg-litellm"
TENANT = {"name": "proxy", "keys": [f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"], "models": ["assistant"]}


def request(input_type: str = "request", **fields: object) -> dict[str, object]:
    """As LiteLLM 1.108 sends it, absent fields as null."""
    return {
        "input_type": input_type,
        "litellm_call_id": "0b0d8a3c-9f6e-4a8e-8a57-000000000001",
        "litellm_trace_id": "trace",
        "structured_messages": None,
        "images": None,
        "tools": None,
        "texts": None,
        "request_data": {"user_api_key_alias": "somebody"},
        "request_headers": {"host": "proxy", "authorization": "[present]"},
        "litellm_version": "1.108.7",
        "additional_provider_specific_params": {},
        "tool_calls": None,
        "model": "gpt-4o",
    } | fields


def call(arguments: Mapping[str, object]) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": "send", "arguments": json.dumps(arguments)}}


@contextlib.asynccontextmanager
async def guarding(
    tmp_path: Path, redis_url: str, *guards: Mapping[str, object], **policy: object
) -> AsyncIterator[httpx.AsyncClient]:
    text = document("http://127.0.0.1:9", *guards, **({"refusal": REFUSAL} | policy))
    async with gateway(text, tmp_path, redis_url) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


async def ask(client: httpx.AsyncClient, input_type: str = "request", **fields: object) -> dict[str, Any]:
    answer = await client.post(ROUTE, json=request(input_type, **fields))
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_harmless_texts_pass(tmp_path: Path, redis_url: str) -> None:
    async with guarding(tmp_path, redis_url, EMAIL, CODENAME) as client:
        body = await ask(client, texts=["Hello", "", "World"])
        assert body["action"] == "NONE"
        assert "texts" not in body
        assert (await ask(client, texts=None))["action"] == "NONE"
        assert (await ask(client, "response", texts=[]))["action"] == "NONE"


@pytest.mark.parametrize("input_type", ["request", "response"])
async def test_rewritten_texts_keep_their_order_and_number(tmp_path: Path, redis_url: str, input_type: str) -> None:
    async with guarding(tmp_path, redis_url, EMAIL) as client:
        body = await ask(client, input_type, texts=["Hello", f"I am {MAIL}", "", f"I am {MAIL}", "Bye"])
    assert body["action"] == "GUARDRAIL_INTERVENED"
    assert body["texts"] == ["Hello", "I am [EMAIL]", "", "I am [EMAIL]", "Bye"]
    assert [f["field"] for f in body["wardgate"]["findings"]] == ["texts[1]"]


@pytest.mark.parametrize(
    ("on_block", "input_type", "reason"),
    [
        ("refuse", "request", REFUSAL),
        ("error", "request", "The prompt was blocked by the content policy: format."),
        ("error", "response", "The answer was blocked by the content policy: format."),
    ],
)
async def test_a_block_says_what_the_policy_would_say(
    on_block: str, input_type: str, reason: str, *, tmp_path: Path, redis_url: str
) -> None:
    async with guarding(tmp_path, redis_url, CODENAME, on_block=on_block) as client:
        body = await ask(client, input_type, texts=["Hello", "It is Project Zebra."])
    assert (body["action"], body["blocked_reason"]) == ("BLOCKED", reason)
    assert "Zebra" not in json.dumps(body)
    assert "texts" not in body


async def test_messages_tell_whose_a_text_is_and_carry_what_texts_cannot(tmp_path: Path, redis_url: str) -> None:
    rows = [
        {"role": "user", "content": f"I am {MAIL}"},
        {"role": "assistant", "content": None, "tool_calls": [call({"to": MAIL})]},
        {"role": "tool", "tool_call_id": "1", "content": "sent"},
    ]
    async with guarding(tmp_path, redis_url, EMAIL) as client:
        body = await ask(
            client, texts=[f"I am {MAIL}", "sent"], structured_messages=rows, tool_calls=[call({"to": MAIL})]
        )
        plain = await ask(client, texts=[f"I am {MAIL}"], structured_messages=rows[:1])
    assert body["action"] == "GUARDRAIL_INTERVENED"
    assert body["texts"] == ["I am [EMAIL]", "sent"]
    assert body["structured_messages"][0]["content"] == "I am [EMAIL]"
    assert body["structured_messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"to": "[EMAIL]"}'
    assert MAIL not in json.dumps(body)
    assert [f["field"] for f in body["wardgate"]["findings"]] == [
        "structured_messages[0].content",
        "structured_messages[1].tool_calls[0].function.arguments",
    ]
    assert "structured_messages" not in plain
    assert plain["texts"] == ["I am [EMAIL]"]


async def test_tools_come_back_rewritten(tmp_path: Path, redis_url: str) -> None:
    tools = [{"type": "function", "function": {"name": "send", "description": f"ask {MAIL}"}}, {"type": "file_search"}]
    async with guarding(tmp_path, redis_url, EMAIL) as client:
        body = await ask(client, texts=["Hello"], tools=tools)
    assert body["action"] == "GUARDRAIL_INTERVENED"
    assert body["tools"][0]["function"]["description"] == "ask [EMAIL]"
    assert body["tools"][1] == {"type": "file_search"}


@pytest.mark.parametrize("input_type", ["request", "response"])
async def test_a_tool_call_that_cannot_be_rewritten_is_blocked(tmp_path: Path, redis_url: str, input_type: str) -> None:
    async with guarding(tmp_path, redis_url, EMAIL) as client:
        body = await ask(client, input_type, texts=[], tool_calls=[call({"to": MAIL})])
        harmless = await ask(client, input_type, texts=[], tool_calls=[call({"to": "nobody"})])
    assert body["action"] == "BLOCKED"
    assert "tool call" in body["blocked_reason"]
    assert harmless["action"] == "NONE"


async def test_the_end_of_a_stream_so_far_is_held_back(tmp_path: Path, redis_url: str) -> None:
    async with guarding(tmp_path, redis_url, EMAIL) as client:
        body = await ask(client, "response", texts=["Write to mara@exam", "All is said. ", f"I am {MAIL}, and you?"])
        asked = await ask(client, "request", texts=["Write to mara@exam"])
    assert body["texts"][2] == "I am [EMAIL], and you?"
    held = body["stream_holdback_chars"]
    assert held[0] >= len("mara@exam")
    assert "stream_holdback_chars" not in asked
    assert "Write to mara@exam"[: -held[0]] == "Write to "


async def test_a_stream_of_rounds_never_takes_back_what_it_let_go(tmp_path: Path, redis_url: str) -> None:
    said = f"Write to {MAIL} or to tom@example.com, today."
    shown = ""
    async with guarding(tmp_path, redis_url, EMAIL) as client:
        for end in range(1, len(said) + 1):
            body = await ask(client, "response", texts=[said[:end]])
            (text,) = body.get("texts") or [said[:end]]
            text = text[: len(text) - body["stream_holdback_chars"][0]]
            assert text.startswith(shown)
            shown = text
    assert "Write to [EMAIL] or to [EMAIL], today".startswith(shown)
    assert len(shown) > 30


async def test_the_policy_is_a_parameter_of_the_guardrail(tmp_path: Path, redis_url: str) -> None:
    config = json.loads(document("http://127.0.0.1:9", EMAIL))
    config["policies"].append({"name": "lax", "guards": []})
    async with gateway(json.dumps(config), tmp_path, redis_url) as url, httpx.AsyncClient(base_url=url) as client:
        texts = [f"I am {MAIL}"]
        lax = await ask(client, texts=texts, additional_provider_specific_params={"policy": "lax"})
        known = await ask(client, texts=texts, model="assistant", additional_provider_specific_params=None)
        wrong = await client.post(
            ROUTE, json=request(texts=texts, additional_provider_specific_params={"policy": "no"})
        )
    assert (lax["action"], lax["wardgate"]["policy"].split("@")[0]) == ("NONE", "lax")
    assert (known["action"], known["wardgate"]["policy"].split("@")[0]) == ("GUARDRAIL_INTERVENED", "support")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (404, "policy_not_found")


async def test_the_key_comes_as_litellm_sends_it_and_the_call_id_names_the_flag(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    config = with_tenants(document("http://127.0.0.1:9", EMAIL), TENANT)
    async with gateway(config, tmp_path, redis_url) as url, httpx.AsyncClient(base_url=url) as client:
        refused = await client.post(ROUTE, json=request(texts=["a"]))
        served = await client.post(ROUTE, json=request(texts=[f"I am {MAIL}"]), headers={"x-api-key": KEY})
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert served.status_code == 200
    id = str(request()["litellm_call_id"])
    assert served.headers["x-request-id"] == id
    kept = await FlagLog(redis).show(id)
    assert kept is not None
    assert (kept["tenant"], kept["route"], kept["request"]["texts"]) == ("proxy", ROUTE, [f"I am {MAIL}"])


async def test_images_are_judged_by_the_policy_and_stay_out_of_the_flag_log(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    picture = "data:image/png;base64," + "A" * 4000
    rows = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": picture}}]}]
    async with guarding(tmp_path, redis_url, EMAIL) as client:
        shown = await ask(client, texts=["Look"], images=[picture])
        twice = await ask(client, texts=["Look"], images=[picture], structured_messages=rows)
    assert (shown["action"], shown["wardgate"]["findings"][0]["field"]) == ("BLOCKED", "images[0]")
    assert [f["field"] for f in twice["wardgate"]["findings"]] == ["structured_messages[0].content[0].image_url.url"]
    kept = await FlagLog(redis).show(str(request()["litellm_call_id"]))
    assert kept is not None
    assert "AAAA" not in json.dumps(kept)
    assert "sha256" in kept["request"]["images"][0]


async def test_the_tool_calls_of_an_answer_are_judged(tmp_path: Path, redis_url: str) -> None:
    async with guarding(tmp_path, redis_url, {"name": "t", "kind": "tool_call", "allowed_tools": ["read"]}) as client:
        body = await ask(client, "response", texts=[], tool_calls=[call({"to": "somebody"})])
        asked = await ask(client, "request", texts=[], tool_calls=[call({"to": "somebody"})])
    assert (body["action"], body["wardgate"]["findings"][0]["entity"]) == ("BLOCKED", "tool_not_allowed")
    assert asked["action"] == "NONE"


@pytest.mark.parametrize(
    "fields",
    [
        {"input_type": "both"},
        {"images": [1]},
        {"input_type": ["request"]},
        {"texts": "a"},
        {"texts": [1]},
        {"texts": [None]},
        {"structured_messages": ["a"]},
        {"structured_messages": [{"role": "user", "content": 7}]},
        {"tools": {}},
        {"tool_calls": [[]]},
        {"additional_provider_specific_params": []},
    ],
    ids=str,
)
async def test_another_shape_is_refused(tmp_path: Path, redis_url: str, fields: dict[str, object]) -> None:
    async with guarding(tmp_path, redis_url, EMAIL) as client:
        answer = await client.post(ROUTE, json=request() | fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")


# -- with LiteLLM itself


@contextlib.asynccontextmanager
async def litellm(vllm: str, guard: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A LiteLLM proxy before `vllm`, whose guardrail is the gateway at `guard`."""
    params = {
        "guardrail": "generic_guardrail_api",
        "mode": ["pre_call", "post_call"],
        "default_on": True,
        "api_base": guard,
        "api_key": KEY,
        "streaming_transform_mode": "incremental_diff",
        "streaming_sampling_rate": 1,
        "additional_provider_specific_params": {"policy": "support"},
    }
    model = {"model": "hosted_vllm/fake", "api_base": f"{vllm}/v1", "api_key": "none"}
    config = {
        "model_list": [{"model_name": "assistant", "litellm_params": model}],
        "guardrails": [{"guardrail_name": "wardgate", "litellm_params": params}],
        "general_settings": {"master_key": "sk-proxy"},
    }
    (tmp_path / "litellm.yaml").write_text(json.dumps(config))
    port = free_port()
    words = ["--config", str(tmp_path / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    environ = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    environ.pop("PYTHONPATH", None)
    with (tmp_path / "litellm.log").open("wb") as log:
        proxy = await asyncio.create_subprocess_exec(PEER / "litellm", *words, env=environ, stdout=log, stderr=log)
    try:
        headers = {"authorization": "Bearer sk-proxy"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
            await until(lambda: answers(client), 120)
            yield client
    finally:
        proxy.terminate()
        await proxy.wait()


async def answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health/liveliness")).status_code == 200
    except httpx.TransportError:
        return False


def script(asked: Any) -> Reply:
    said = asked.body["messages"][-1]["content"]
    answer = f"Write to {MAIL}, today." if said == "mail" else "It is Project Zebra." if said == "code" else f"<{said}>"
    if not asked.body.get("stream"):
        return Reply([chat_json(answer)])
    return stream(chat_frames([answer[i : i + 3] for i in range(0, len(answer), 3)]), gap=0.01)


async def said_by(client: httpx.AsyncClient, content: str, **more: object) -> httpx.Response:
    messages = [{"role": "user", "content": content}]
    return await client.post("/v1/chat/completions", json={"model": "assistant", "messages": messages, **more})


def streamed(answer: httpx.Response) -> str:
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    choices = [c for line in lines for c in json.loads(line).get("choices", [])]
    return "".join(c["delta"].get("content") or "" for c in choices)


@pytest.mark.skipif(not (PEER / "litellm").exists(), reason="LiteLLM is not installed: tests/bench/peers/install.sh")
async def test_a_litellm_proxy_is_guarded(tmp_path: Path, redis_url: str) -> None:
    async with fake_vllm(script) as vllm:
        config = with_tenants(document(vllm.url, EMAIL, CODENAME, refusal=REFUSAL), TENANT)
        async with gateway(config, tmp_path, redis_url) as guard, litellm(vllm.url, guard, tmp_path) as proxy:
            await guarded(proxy, vllm)


async def guarded(proxy: httpx.AsyncClient, vllm: FakeVLLM) -> None:
    def content(answer: httpx.Response) -> object:
        return answer.json()["choices"][0]["message"]["content"]

    assert content(await said_by(proxy, "Hello")) == "<Hello>"
    assert content(await said_by(proxy, f"I am {MAIL}")) == "<I am [EMAIL]>"
    assert vllm.requests[-1].body["messages"][-1]["content"] == "I am [EMAIL]"
    seen = len(vllm.requests)
    blocked = await said_by(proxy, "Tell me of Project Zebra")
    assert blocked.status_code >= 400
    assert REFUSAL in blocked.text
    assert len(vllm.requests) == seen
    assert content(await said_by(proxy, "mail")) == "Write to [EMAIL], today."
    answer = await said_by(proxy, "code")
    assert answer.status_code >= 400
    assert "Zebra" not in answer.text
    whole = await said_by(proxy, "mail", stream=True)
    assert streamed(whole) == "Write to [EMAIL], today."
    assert "mara" not in whole.text
    cut = await said_by(proxy, "code", stream=True)
    assert "Zebra" not in cut.text
