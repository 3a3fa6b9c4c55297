"""Which tools a request offers, in the words of each surface, and how a call of an answer is judged against them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.wire.calls import CallJudge, offered_tools
from gateway.wire.judge import Judge
from guards.calls import ToolCall
from guards.catalog import build_lanes
from guards.policy import Policy, Rule
from guards.verdict import Action
from tests.guards.lanes import FOLDER

SCHEMA = {"type": "object", "required": ["q"]}
BROKEN = {"$ref": "https://example.org/schema.json"}


def judge(request: dict[str, Any], *rules: dict[str, object]) -> Judge:
    guards = tuple(Rule.model_validate({"name": f"g{i}", "kind": "tool_call", **r}) for i, r in enumerate(rules))
    lanes = build_lanes(Policy(name="p", guards=guards), "output", FOLDER)
    return Judge(lanes.enforced, lanes.monitored, FOLDER, "output", calls=CallJudge(lanes.calls, request))


def chat(schema: object = SCHEMA) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "search", "parameters": schema}}]}


@pytest.mark.parametrize(
    "request_",
    [
        chat(),
        {"functions": [{"name": "search", "parameters": SCHEMA}]},
        {"tools": [{"type": "function", "name": "search", "parameters": SCHEMA}]},
        {"tools": [{"name": "search", "input_schema": SCHEMA}]},
    ],
    ids=["chat", "functions", "responses", "messages"],
)
def test_each_surface_offers_tools_in_its_own_words(request_: dict[str, Any]) -> None:
    assert offered_tools(request_) == {"search": [SCHEMA]}


def test_tools_without_a_schema_or_a_name_are_offered_too() -> None:
    tools = [{"type": "custom", "custom": {"name": "sh"}}, {"type": "web_search"}, {"type": "function", "name": "a"}]
    assert offered_tools({"tools": tools}) == {"sh": [], "web_search": [], "a": []}


@pytest.mark.parametrize("choice", ["none", {"type": "none"}])
def test_a_request_that_wants_no_call_offers_nothing(choice: object) -> None:
    assert offered_tools(chat() | {"tool_choice": choice}) == {}
    assert "search" in offered_tools(chat() | {"tool_choice": "auto"})


@pytest.mark.parametrize("tools", [None, "search", [None, 3, {}, {"function": {"name": 5}}], {"a": 1}])
def test_tools_of_unknown_shape_offer_nothing(tools: object) -> None:
    assert offered_tools({"tools": tools}) == {}


def test_a_call_that_is_not_offered_is_blocked_where_it_stands() -> None:
    judged = judge(chat(), {})
    assert judged.call(ToolCall("drop", "{}"), "choices[1].message.tool_calls[0].function", 1)
    (verdict,) = judged.verdicts
    assert verdict.finding() == {
        "guard": "g0",
        "category": "injection",
        "stage": "output",
        "action": "block",
        "score": 1.0,
        "threshold": None,
        "field": "choices[1].message.tool_calls[0].function",
        "choice": 1,
        "entity": "tool_not_offered",
    }


def test_flagged_and_monitored_calls_go_on() -> None:
    judged = judge(chat(), {"action": "flag"}, {"mode": "monitor"})
    assert not judged.call(ToolCall("drop", "{}"), "f", 0)
    assert [(v.action, v.would) for v in judged.verdicts] == [
        (Action.FLAG, Action.FLAG),
        (Action.ALLOW, Action.BLOCK),
    ]


def test_every_guard_says_its_word_on_a_call() -> None:
    judged = judge(chat(), {}, {"allowed_tools": ["other"], "action": "flag"})
    assert judged.call(ToolCall("search", "{}"), "f", 0)
    assert [(v.guard, v.entity) for v in judged.verdicts] == [
        ("g0", "arguments_schema"),
        ("g1", "tool_not_allowed"),
        ("g1", "arguments_schema"),
    ]


@pytest.mark.parametrize(("on_error", "blocked"), [("block", True), ("escalate", True), ("allow", False)])
def test_a_schema_that_cannot_be_used_means_what_on_error_says(on_error: str, blocked: bool) -> None:
    judged = judge(chat(BROKEN), {"on_error": on_error})
    assert judged.call(ToolCall("search", '{"q": 1}'), "f", 0) is blocked
    assert judged.verdicts[0].error == "SchemaUnusable"


def test_without_guards_of_calls_the_tools_are_not_even_read() -> None:
    judged = judge(chat())
    assert not judged.call(ToolCall("drop", "{"), "f", 0)
    assert judged.calls.offered is None
