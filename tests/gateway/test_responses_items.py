"""Items of a response that are held until they are complete: calls of tools, and what ran at the model server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FOREVER, Piece, stream
from tests.fakes_responses import (
    Event,
    added,
    between,
    call,
    custom,
    cut,
    done,
    echoing,
    events,
    frames,
    message,
    one,
    text_part,
    whole,
)
from tests.gateway.harness import until
from tests.gateway.responding import (
    MAIL,
    REFUSAL,
    Told,
    answered,
    follow,
    output_text,
    respond,
    respond_stream,
    served,
    told,
)

Made = Mapping[str, Any]


@pytest.mark.parametrize("how", ["whole", "stream"])
async def test_arguments_are_redacted_and_stay_json(how: str, tmp_path: Path, redis_url: str) -> None:
    raw = '{"to": "zoe\\u0040example.com", "line": "a\\nb"}'
    if how == "whole":
        item = (await answered(whole(call(raw)), tmp_path, redis_url))["output"][0]
    else:
        got = await told(one(call(raw), cut(raw)), tmp_path, redis_url)
        item = got.final["output"][0]
        assert got.of("function_call_arguments.done")[0]["arguments"] == item["arguments"]
        assert got.text("function_call_arguments") == item["arguments"]
        assert got.of("output_item.added")[0]["item"]["arguments"] == ""
        assert "u0040" not in got.raw
    assert json.loads(item["arguments"]) == {"to": "[EMAIL]", "line": "a\nb"}


@pytest.mark.parametrize("item", [call('{"a": "Project Ti\\u0074an"}'), custom("echo Project Titan")])
async def test_nothing_of_a_blocked_call_leaves(item: Made, tmp_path: Path, redis_url: str) -> None:
    raw = item.get("arguments") or item["input"]
    got = await told(one(item, cut(raw)), tmp_path, redis_url)
    assert [i["type"] for i in got.final["output"]] == ["message"]
    assert output_text(got.final) == REFUSAL
    assert not any(word in got.raw for word in ("Project", "_call.", '_call"', "call_arg", "echo"))
    body = await answered(whole(item), tmp_path, redis_url)
    assert [i["type"] for i in body["output"]] == ["message"]


async def test_a_call_waits_until_it_is_complete(tmp_path: Path, redis_url: str) -> None:
    said = frames(events((message("Well, so."), ["Well, so."]), (call('{"a": 1}'), cut('{"a": 1}'))))
    pieces: list[Piece] = [*said[:-5], FOREVER]
    async with served(stream(pieces), tmp_path, redis_url) as both:
        got = Told()
        reading = asyncio.create_task(follow(got, both.url, {"model": "assistant", "input": "Hi"}))
        await until(lambda: asyncio.sleep(0, "response.output_item.done" in got.names))
        reading.cancel()
        await asyncio.wait({reading})
    assert (got.text(), got.names[-1]) == ("Well, so.", "response.output_item.done")
    assert "function_call" not in got.raw


async def test_custom_calls_come_whole(tmp_path: Path, redis_url: str) -> None:
    text = f"mail {MAIL} | sort"
    got = await told(one(custom(text), cut(text)), tmp_path, redis_url)
    assert got.text("custom_tool_call_input") == "mail [EMAIL] | sort"
    assert got.final["output"][0]["input"] == "mail [EMAIL] | sort"


async def test_parallel_calls_are_judged_each(tmp_path: Path, redis_url: str) -> None:
    good, bad = call('{"a": 1}', id="fc_1"), call('{"a": "Project Titan"}', id="fc_2")
    said = events((good, cut('{"a": 1}')), (bad, cut('{"a": "Project Titan"}')))
    got = await told(stream(frames(said)), tmp_path, redis_url)
    assert [i["type"] for i in got.final["output"]] == ["function_call", "message"]
    assert got.final["status"] == "incomplete"
    assert "Titan" not in got.raw


SERVED: list[Event] = [
    {
        "id": "m",
        "type": "mcp_call",
        "name": "n",
        "server_label": "s",
        "arguments": '{"q": "{}"}',
        "status": "completed",
    },
    {"id": "m", "type": "mcp_call", "name": "n", "server_label": "s", "arguments": "{}", "output": "{}"},
    {"id": "c", "type": "code_interpreter_call", "code": "# {}", "container_id": "auto", "outputs": []},
    {"id": "c", "type": "code_interpreter_call", "code": None, "container_id": "auto", "outputs": [{"logs": "{}"}]},
    {"id": "w", "type": "web_search_call", "action": {"type": "search", "query": "{}"}, "status": "completed"},
    {"id": "f", "type": "file_search_call", "queries": ["{}"], "results": None, "status": "completed"},
    {"id": "f", "type": "file_search_call", "queries": [], "results": [{"text": "{}", "attributes": {"{}": 1}}]},
    {"id": "s", "type": "shell_call", "call_id": "c", "action": {"commands": ["echo {}"]}, "status": "completed"},
    {"id": "l", "type": "local_shell_call", "call_id": "c", "action": {"type": "exec", "env": {"{}": "x"}}},
    {"id": "a", "type": "apply_patch_call", "call_id": "c", "operation": {"type": "create_file", "diff": "{}"}},
    {"id": "t", "type": "computer_call", "call_id": "c", "action": {"type": "type", "text": "{}"}},
    {"id": "p", "type": "mcp_list_tools", "server_label": "s", "tools": [{"name": "n", "description": "{}"}]},
    {"id": "p", "type": "mcp_list_tools", "server_label": "s {}", "tools": []},
    call("{}", name="f {}"),
    message("x", content=[text_part("x", annotations=[{"type": "url_citation", "url": "http://{}", "title": "x"}])]),
    message("x", id="to {}"),
    call("{}", id="to {}"),
    message("x", made_up={"deep": ["{}"]}),
]


def with_text(node: Any, text: str) -> Any:
    if isinstance(node, str):
        return node.replace("{}", text)
    if isinstance(node, dict):
        return {with_text(k, text): with_text(v, text) for k, v in node.items()}
    return [with_text(v, text) for v in node] if isinstance(node, list) else node


@pytest.mark.parametrize("item", SERVED, ids=lambda i: i["type"])
async def test_every_text_of_every_item_is_judged(item: Event, tmp_path: Path, redis_url: str) -> None:
    bad = with_text(item, "Project Titan")
    body = await answered(whole(bad), tmp_path, redis_url)
    assert output_text(body) == REFUSAL
    assert "Titan" not in json.dumps(body)
    got = await told(between(added(bad), done(bad)), tmp_path, redis_url)
    assert got.names[-1] == "response.incomplete"
    assert "Titan" not in got.raw
    got = await told(between(added(with_text(item, MAIL)), done(with_text(item, MAIL))), tmp_path, redis_url)
    assert got.names[-1] == "response.completed"
    assert "zoe" not in got.raw


async def test_tools_that_run_at_the_model_server_tell_how_far_they_are(tmp_path: Path, redis_url: str) -> None:
    item = {"id": "c", "type": "code_interpreter_call", "code": "1+1", "container_id": "auto", "outputs": []}
    where = {"item_id": "c", "output_index": 0}
    name = "response.code_interpreter_call"
    said: list[Event] = [
        added(item | {"code": None, "status": "in_progress"}),
        {"type": f"{name}.in_progress", **where},
        *({"type": f"{name}_code.delta", **where, "delta": piece} for piece in "1+1"),
        {"type": f"{name}_code.done", **where, "code": "1+1"},
        {"type": f"{name}.completed", **where},
        done(item | {"status": "completed"}),
        {"type": f"{name}.completed", **where},
        done(item | {"status": "completed"}),
    ]
    got = await told(between(*said), tmp_path, redis_url)
    assert got.names[2:-1] == [
        "response.output_item.added",
        f"{name}.in_progress",
        f"{name}_code.delta",
        f"{name}_code.done",
        f"{name}.completed",
        "response.output_item.done",
    ]
    assert got.text("code_interpreter_call_code") == "1+1"


TOOLS_ALONE: Event = {"name": "tools", "kind": "tool_call", "allowed_tools": ["mail"]}


@pytest.mark.parametrize("make", [call, custom], ids=["function", "custom"])
@pytest.mark.parametrize(("name", "left"), [("mail", "completed"), ("format_disk", "incomplete")])
async def test_guards_of_calls_judge_them(make: Any, name: str, left: str, tmp_path: Path, redis_url: str) -> None:
    tools = [{"type": "function", "name": "mail"}, {"type": "custom", "name": "mail"}]
    item = make('{"x": 1}', name=name)
    async with served(one(item, cut('{"x": 1}')), tmp_path, redis_url, TOOLS_ALONE) as both:
        got = await respond_stream(both.url, tools=tools)
        got.check()
        assert got.final["status"] == left
        assert ("format_disk" in got.raw, got.text()) == (False, "" if left == "completed" else REFUSAL)
    async with served(whole(item), tmp_path, redis_url, TOOLS_ALONE) as both:
        body = (await respond(both.url, tools=tools)).json()
        assert (body["status"], "format_disk" in json.dumps(body["output"])) == (left, False)


async def test_the_rule_of_spotlighting_is_not_told(tmp_path: Path, redis_url: str) -> None:
    result = {"type": "function_call_output", "call_id": "c", "output": "Rain, 9 degrees"}
    async with served(echoing, tmp_path, redis_url, spotlight="delimit") as both:
        body = (await respond(both.url, [{"role": "user", "content": "Hi"}, result], instructions="Be brief.")).json()
        asked = both.vllm.requests[0].body
    assert "<<data" in asked["input"][1]["output"]
    assert asked["instructions"] != body["instructions"] == "Be brief."
