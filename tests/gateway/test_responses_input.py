"""What guards find in a request of `/v1/responses`, and what of it nobody could guard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fakes_responses import echoing
from tests.gateway.harness import CODENAME, EMAIL
from tests.gateway.responding import (
    MAIL,
    REFUSAL,
    output_text,
    respond,
    respond_stream,
    served,
)

IN = ({**CODENAME, "stages": ["input"]}, {**EMAIL, "stages": ["input"]})
HISTORY: list[Any] = [
    {"role": "user", "content": [{"type": "input_text", "text": "{}"}, {"type": "input_text", "text": "."}]},
    {"role": "assistant", "type": "message", "content": [{"type": "output_text", "text": "{}", "annotations": []}]},
    {"role": "assistant", "type": "message", "content": [{"type": "refusal", "refusal": "{}"}]},
    {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "{}"}]},
    {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "{}"}]},
    {"type": "function_call", "call_id": "c", "name": "mail", "arguments": '{{"to": "{}"}}'},
    {"type": "function_call_output", "call_id": "c", "output": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "{}"}]},
    {"type": "custom_tool_call", "call_id": "c", "name": "sh", "input": "{}"},
    {"type": "custom_tool_call_output", "call_id": "c", "output": "{}"},
    {"type": "mcp_call", "id": "m", "name": "n", "server_label": "s", "arguments": "x", "output": "{}"},
    {"type": "computer_call", "id": "m", "call_id": "c", "action": {"type": "type", "text": "{}"}},
    {"type": "web_search_call", "id": "w", "action": {"type": "search", "query": "{}"}},
    {"role": "user", "content": [{"type": "input_text", "text": "x", "filename": "{}"}]},
]


def filled(node: Any, text: str) -> Any:
    if isinstance(node, str):
        return node.replace("{{", "{").replace("}}", "}").replace("{}", text)
    if isinstance(node, dict):
        return {k: filled(v, text) for k, v in node.items()}
    return [filled(v, text) for v in node] if isinstance(node, list) else node


@pytest.mark.parametrize("item", HISTORY, ids=lambda i: i.get("type", "message"))
async def test_every_text_of_an_item_is_judged(item: Any, tmp_path: Path, redis_url: str) -> None:
    async with served(echoing, tmp_path, redis_url, *IN) as both:
        body = (await respond(both.url, [{"role": "user", "content": "Hi"}, filled(item, "Project Titan")])).json()
        assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
        (finding,) = body["wardgate"]["findings"]
        assert finding["field"].startswith("input[1].")
        assert both.vllm.requests == []
        await respond(both.url, [{"role": "user", "content": "Hi"}, filled(item, f"mail {MAIL}!")])
        assert both.vllm.requests[0].body["input"][1] == filled(item, "mail [EMAIL]!")


@pytest.mark.parametrize(
    ("given", "more", "field"),
    [
        ("Project Titan", {}, "input"),
        ("Hi", {"instructions": "Project Titan"}, "instructions"),
        ("Hi", {"tools": [{"type": "function", "name": "f", "description": "Project Titan"}]}, "tools[0].description"),
        ("Hi", {"prompt": {"id": "p", "variables": {"x": "Project Titan"}}}, "prompt.variables.x"),
        ("Hi", {"previous_input_messages": [{"role": "user", "content": "Project Titan"}]}, "previous_input_messages"),
    ],
)
async def test_every_text_beside_the_items_is_judged(
    given: str, more: dict[str, Any], field: str, tmp_path: Path, redis_url: str
) -> None:
    async with served(echoing, tmp_path, redis_url, *IN) as both:
        body = (await respond(both.url, given, **more)).json()
        assert body["wardgate"]["findings"][0]["field"].startswith(field)
        assert output_text(body) == REFUSAL
        assert both.vllm.requests == []


async def test_a_blocked_prompt_is_refused_as_a_stream(tmp_path: Path, redis_url: str) -> None:
    async with served(echoing, tmp_path, redis_url, *IN) as both:
        got = await respond_stream(both.url, "Project Titan")
        got.check()
        assert got.names[0] == "response.created"
        assert got.names[-1] == "response.incomplete"
        assert got.text() == output_text(got.final) == REFUSAL
        assert got.final["incomplete_details"] == {"reason": "content_filter"}
        assert got.final["wardgate"]["action"] == "block"
        assert both.vllm.requests == []


@pytest.mark.parametrize("how", [False, True], ids=["whole", "stream"])
async def test_a_blocked_prompt_is_an_error_where_the_policy_says_so(how: bool, tmp_path: Path, redis_url: str) -> None:
    async with served(echoing, tmp_path, redis_url, *IN, on_block="error") as both:
        answer = await respond(both.url, "Project Titan", stream=how)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_filter")


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"input": 7}, "input"),
        ({"input": None}, "input"),
        ({"input": ["Hi"]}, "input[0]"),
        ({"input": [{"content": "Hi"}]}, "input[0]"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": 7, "role": "user"}]}, "input[0]"),
        ({"instructions": ["Hi"]}, "instructions"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"stream": "yes"}, "stream"),
    ],
)
async def test_a_request_that_could_not_be_guarded_is_refused(
    more: dict[str, Any], param: str, tmp_path: Path, redis_url: str
) -> None:
    async with served(echoing, tmp_path, redis_url) as both:
        answer = await respond(both.url, **({"given": more["input"]} if "input" in more else more))
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_request", param)
        assert both.vllm.requests == []
