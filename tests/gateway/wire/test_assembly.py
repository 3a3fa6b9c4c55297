"""The frames of a stream, put together, are the whole answer that they spell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamBroken
from gateway.wire.assembly import assembled, left, rest
from gateway.wire.sse import FrameReader
from tests.fakes import chat_frame, chat_frames, text_frames
from tests.fakes_messages import message_frames, text, thinking, tool_use

CHAT, TEXT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"


def payloads(frames: Sequence[bytes]) -> list[bytes]:
    return FrameReader(1 << 20).feed(b"".join(frames))


def of(route: str, frames: Sequence[bytes]) -> Any:
    return assembled(route, payloads(frames))


@given(st.lists(st.text(max_size=8), max_size=6), st.integers(1, 3))
def test_chat(pieces: list[str], n: int) -> None:
    body = of(CHAT, chat_frames(pieces, n=n))
    assert body["object"] == "chat.completion"
    assert [c["index"] for c in body["choices"]] == list(range(n))
    for choice in body["choices"]:
        assert choice["message"]["content"] == "".join(pieces)
        assert (choice["message"]["role"], choice["finish_reason"]) == ("assistant", "stop")


def test_calls_of_tools_are_joined_by_their_index() -> None:
    def call(index: int, arguments: str, **more: Any) -> bytes:
        function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
        return chat_frame({"tool_calls": [{"index": index, **more, "function": function}]})

    frames = [
        chat_frame({"role": "assistant", "content": None}),
        call(0, "", id="a", type="function", name="mail"),
        call(1, '{"x"', id="b", type="function", name="look"),
        call(0, '{"to": 1}'),
        call(1, ": 2}"),
        chat_frame({}, finish="tool_calls"),
    ]
    message = of(CHAT, frames)["choices"][0]["message"]
    assert [
        (c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message["tool_calls"]
    ] == [
        ("a", "mail", {"to": 1}),
        ("b", "look", {"x": 2}),
    ]
    assert message["content"] is None


def test_completions() -> None:
    body = of(TEXT, text_frames(["One ", "two."], n=2))
    assert [c["text"] for c in body["choices"]] == ["One two.", "One two."]
    assert body["object"] == "text_completion"


def test_messages() -> None:
    blocks = [thinking("Hm."), text("Good day to you."), tool_use("mail", {"to": "ada", "n": [1, 2]})]
    body = of(MESSAGES, message_frames(*blocks))
    assert [b["type"] for b in body["content"]] == ["thinking", "text", "tool_use"]
    assert body["content"][0]["thinking"] == "Hm."
    assert body["content"][1]["text"] == "Good day to you."
    assert body["content"][2]["input"] == {"to": "ada", "n": [1, 2]}
    assert (body["role"], body["stop_reason"]) == ("assistant", "end_turn")


def test_a_response_is_in_its_last_event() -> None:
    events = [{"type": "response.created", "response": {"id": "r", "output": []}}]
    events.append({"type": "response.completed", "response": {"id": "r", "output": [{"type": "message"}]}})
    body = assembled(RESPONSES, [json.dumps(e).encode() for e in events])
    assert body == {"id": "r", "output": [{"type": "message"}]}


@pytest.mark.parametrize("route", [CHAT, TEXT, MESSAGES, RESPONSES])
@pytest.mark.parametrize("said", [b"[]", b'{"choices": [1]}', b'{"type": "content_block_delta", "delta": 5}', b"no"])
def test_what_is_no_stream_is_broken_or_empty(route: str, said: bytes) -> None:
    try:
        body = assembled(route, [said])
    except UpstreamBroken:
        return
    assert not body.get("choices")


@given(st.text(max_size=20), st.integers(0, 20))
def test_what_was_seen_and_the_rest_are_the_whole(said: str, cut: int) -> None:
    whole = of(CHAT, chat_frames([said]))
    seen = chat_frames([said[:cut]])[:2]
    more = rest(CHAT, {**whole, "wardgate": {}}, left(CHAT, seen))
    assert more is not None
    again = of(CHAT, [*seen, more])
    assert again["choices"][0]["message"]["content"] == said
    assert again["choices"][0]["finish_reason"] == "stop"


def test_an_answer_that_begins_otherwise_has_no_rest() -> None:
    whole = of(CHAT, chat_frames(["Goodbye."]))
    assert rest(CHAT, {**whole, "wardgate": {}}, left(CHAT, chat_frames(["Hello"])[:2])) is None


def test_other_surfaces_have_no_rest() -> None:
    assert rest(MESSAGES, {"wardgate": {}}, {}) is None
