from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.export.turns import READERS, Unreadable, tools_of, turns, with_owner

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Find a shed."}
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"q":"shed"}'}}
ASKED = {"role": "assistant", "content": "", "tool_calls": [CALL]}
FOUND = {"role": "tool", "content": "A red one.", "tool_call_id": "c1"}
WHOLE = [SYSTEM, USER, ASKED, FOUND]

CHAT = {"messages": [{**SYSTEM, "role": "developer"}, USER, {**ASKED, "content": None}, FOUND]}
USE = {"type": "tool_use", "id": "c1", "name": "find", "input": {"q": "shed"}}
RESULT = {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "A red one."}]}
MESSAGES = {
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        USER,
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, USE]},
        {"role": "user", "content": [RESULT]},
    ],
}
RESPONSES = {
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Find a shed."}]},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "find", "arguments": '{"q":"shed"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "A red one."},
    ],
}


@pytest.mark.parametrize(
    ("route", "request_"),
    [("/v1/chat/completions", CHAT), ("/v1/messages", MESSAGES), ("/v1/responses", RESPONSES)],
)
def test_every_surface_tells_the_same_conversation(route: str, request_: dict[str, Any]) -> None:
    assert turns(route, request_) == WHOLE


@pytest.mark.parametrize(
    ("route", "tool"),
    [
        ("/v1/chat/completions", {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}),
        ("/v1/messages", {"name": "find", "input_schema": {"type": "object"}}),
        ("/v1/responses", {"type": "function", "name": "find", "parameters": {"type": "object"}}),
    ],
)
def test_every_surface_tells_the_same_tools(route: str, tool: dict[str, Any]) -> None:
    known = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
    assert tools_of(route, {"tools": [tool, {"type": "web_search"}]}) == [known]


def test_the_owners_prompt_leads_or_stands_alone() -> None:
    assert with_owner([SYSTEM, USER], "Sell.", replaces=False)[0]["content"] == "Sell.\n\nBe brief."
    assert with_owner([SYSTEM, USER], "Sell.", replaces=True) == [{"role": "system", "content": "Sell."}, USER]


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "prompt"])
def test_turns_that_are_kept_elsewhere_are_missed(field: str) -> None:
    with pytest.raises(Unreadable, match="earlier_turns_unknown"):
        turns("/v1/responses", {"input": "And then?", field: "r1"})


def test_an_answer_that_the_client_has_begun_is_no_turn() -> None:
    with pytest.raises(Unreadable, match="prefilled_answer"):
        turns("/v1/messages", {"messages": [USER, {"role": "assistant", "content": "Well,"}]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "messages", "input"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.sampled_from(sorted(READERS)), st.dictionaries(st.sampled_from(["messages", "input", "system"]), JSON))
def test_whatever_a_request_holds_it_is_read_or_said_to_be_unreadable(route: str, request_: dict[str, Any]) -> None:
    try:
        said = turns(route, request_)
    except Unreadable:
        return
    assert all(isinstance(turn["content"], str) for turn in said)
