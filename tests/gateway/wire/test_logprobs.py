"""Logprobs of chat and responses: a row leaves only where its text has left, whatever the tokenizer made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.errors import UpstreamBroken
from gateway.wire.chat import ChatWire
from gateway.wire.judge import Judge
from gateway.wire.responses.wire import ResponsesWire
from gateway.wire.surface import AnswerFilter, Ask, Wire
from guards.lane import Lane
from tests.fakes import chat_json, frame, head
from tests.fakes_responses import message, response, text_part
from tests.guards.lanes import FOLDER, every_kind

REDACTING = every_kind(block=False)
IDLE = Lane((), None, ())
CHAT, RESPONSES = ChatWire(), ResponsesWire("me")
MAIL = "ada@example.com"


def answering(wire: Wire, lane: Lane = REDACTING, *, scored: bool = False) -> AnswerFilter:
    ask = Ask({"input": "Hi"}, "1", "m", lambda: "Not this.", lambda: {"findings": []}, False)
    filter_ = wire.answer(ask, Judge(lane, IDLE, FOLDER, "output", scored=scored), guarded=True)
    assert filter_ is not None
    return filter_


def entry(token: str, **more: Any) -> dict[str, Any]:
    return {"token": token, "logprob": -0.1, "bytes": None, "top_logprobs": []} | more


def chunk(delta: dict[str, Any], tokens: Sequence[Any], finish: str | None = None) -> bytes:
    entries = [t if isinstance(t, dict) else entry(t) for t in tokens]
    choice = {"index": 0, "delta": delta, "logprobs": {"content": entries}, "finish_reason": finish}
    return frame(head("chat.completion.chunk") | {"choices": [choice]})


def streamed(*chunks: bytes, lane: Lane = REDACTING, scored: bool = False) -> list[Any]:
    """The choices of all chunks that leave."""
    filter_, out = answering(CHAT, lane, scored=scored), list[bytes]()
    for data in chunks:
        filter_.frame(data.removeprefix(b"data: ").strip(), out)
    filter_.flush(out)
    return [c for f in out for c in json.loads(f.removeprefix(b"data: "))["choices"]]


def rows(choices: Sequence[Any], part: str = "content") -> list[Any]:
    return [e for c in choices for e in (c.get("logprobs") or {}).get(part) or ()]


def tokens(entries: Sequence[Any]) -> list[str]:
    return [e["token"] for e in entries]


def whole(text: str, entries: Sequence[Any], **message: Any) -> Any:
    body = json.loads(chat_json(text, **message))
    body["choices"][0]["logprobs"] = {"content": list(entries)}
    answering(CHAT).whole(body)
    return body["choices"][0]


@pytest.mark.parametrize("blank", ["", " ", "▁"])
def test_tokens_leave_with_the_text_that_they_spell_be_their_blanks_lost_or_not(blank: str) -> None:
    """Without its blank a codename is none to a guard that reads the tokens alone."""
    words = ["It", "is", "Project", "Titan", "today."]
    chunks = [chunk({"content": word if word == "It" else f" {word}"}, [blank + word]) for word in words]
    got = streamed(*chunks, chunk({}, [], "stop"))
    assert "".join(c["delta"].get("content") or "" for c in got) == "It is [CODENAME] today."
    assert tokens(rows(got)) == [blank + word for word in ("It", "is", "today.")]
    body = whole("It is Project Titan today.", [entry(blank + word) for word in words])
    assert tokens(body["logprobs"]["content"]) == [blank + word for word in ("It", "is", "today.")]


def test_no_token_leaves_before_its_text() -> None:
    filter_, out = answering(CHAT), list[bytes]()
    for word in ("Ask", " ada", "@exam"):
        filter_.frame(chunk({"content": word}, [word]).removeprefix(b"data: ").strip(), out)
    got = [c for f in out for c in json.loads(f.removeprefix(b"data: "))["choices"]]
    assert tokens(rows(got)) == ["Ask"]


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "refusal"])
def test_tokens_may_spell_any_text_of_a_choice(name: str) -> None:
    """vLLM tells all tokens in one list: those of the thinking, those of the answer, and what stands between."""
    chunks = [
        chunk({name: "Hm. "}, ["<think>", "Hm", ". "]),
        chunk({name: f"Ask {MAIL}"}, ["Ask", " ada", "@example.com"]),
        chunk({"content": "Yes"}, ["</think>", "Yes"]),
        chunk({"content": "."}, [".", "<|im_end|>"], "stop"),
    ]
    assert tokens(rows(streamed(*chunks))) == ["<think>", "Hm", ". ", "Ask", "</think>", "Yes", ".", "<|im_end|>"]
    said = ["Hm", ". ", "Ask", " ada", "@example.com", "</think>", "Yes", "."]
    body = whole("Yes.", [entry(t) for t in said], **{name: f"Hm. Ask {MAIL}"})
    expected = ["Hm", ". ", "Ask", "</think>", "Yes", "."] if name != "refusal" else ["Yes", "."]
    assert tokens(body["logprobs"]["content"])[-len(expected) :] == expected


def test_tokens_of_a_tool_call_that_is_held_are_withheld() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "mail", "arguments": f'{{"to": "{MAIL}"}}'}}
    got = streamed(chunk({"content": "So"}, ["So"]), chunk({"tool_calls": [call]}, ['{"to', MAIL], "tool_calls"))
    assert tokens(rows(got)) == ["So"]


def test_a_word_that_is_cut_off_the_text_is_withheld() -> None:
    """A stop word is no part of the text: nobody has judged it."""
    got = streamed(chunk({"content": "It is Project"}, ["It is", " Project"]), chunk({}, ["Titan"], "stop"))
    assert tokens(rows(got)) == ["It is", " Project"]


def test_characters_that_the_tokenizer_cuts_cost_only_their_own_rows() -> None:
    chunks = [
        chunk({"content": t}, [k]) for t, k in (("Yes", "Yes"), ("", " \ufffd"), (" ☺", "\ufffd"), (" ok", " ok"))
    ]
    assert tokens(rows(streamed(*chunks, chunk({}, [], "stop")))) == ["Yes", " ok"]
    entries = [entry(t) for t in ("Yes", " \ufffd", "\ufffd", " ok")]
    assert tokens(whole("Yes ☺ ok", entries)["logprobs"]["content"]) == ["Yes", " ok"]


def test_a_row_says_nothing_but_its_token() -> None:
    other = entry(" hm", bytes=list(MAIL.encode())) | {"note": MAIL}
    del other["top_logprobs"]
    said = entry("Hi", bytes=list(MAIL.encode()), top_logprobs=[other, entry(MAIL)], note=MAIL)
    (kept,) = rows(streamed(chunk({"content": "Hi"}, [said], "stop")))
    assert kept == entry("Hi", top_logprobs=[{"token": " hm", "logprob": -0.1, "bytes": None}])


@pytest.mark.parametrize("octets", [None, list(b"Hi"), list(b" Hi")])
def test_bytes_that_say_what_the_token_says_are_kept(octets: list[int] | None) -> None:
    assert rows(streamed(chunk({"content": "Hi"}, [entry("Hi", bytes=octets)], "stop"))) == [entry("Hi", bytes=octets)]


def test_logprobs_of_a_refusal_stay_where_they_are() -> None:
    body = json.loads(chat_json(None, refusal=f"No, {MAIL} no"))
    body["choices"][0]["logprobs"] = {
        "content": None,
        "refusal": [entry(t) for t in ("No,", " ada@example.com", " no")],
    }
    answering(CHAT).whole(body)
    logprobs = body["choices"][0]["logprobs"]
    assert (logprobs["content"], tokens(logprobs["refusal"])) == (None, ["No,", " no"])


@pytest.mark.parametrize(
    "bad",
    [
        {"token": 1, "logprob": 0.0},
        {"token": "a", "logprob": MAIL},
        {"token": "a", "logprob": 0.0, "bytes": MAIL},
        {"token": "a", "logprob": 0.0, "bytes": ["a"]},
        {"token": "a", "logprob": 0.0, "top_logprobs": {"x": MAIL}},
        {"token": "a", "logprob": 0.0, "top_logprobs": [MAIL]},
        {"token": "a", "logprob": 0.0, "top_logprobs": [{"token": "b", "logprob": 0.0, "top_logprobs": [1]}]},
    ],
)
def test_rows_of_unknown_shape_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UpstreamBroken):
        streamed(chunk({"content": "a"}, [bad]))


def test_other_parts_of_logprobs_do_not_leave() -> None:
    body = json.loads(chat_json("Hi"))
    body["choices"][0]["logprobs"] = {"content": [entry("Hi")], "words": [MAIL]}
    answering(CHAT).whole(body)
    assert body["choices"][0]["logprobs"] == {"content": [entry("Hi")]}


def test_where_only_guards_that_score_act_tokens_follow_the_text_too() -> None:
    chunks = (chunk({"content": "Hi"}, ["Hi"]), chunk({}, ["windbag"], "stop"))
    assert tokens(rows(streamed(*chunks, lane=IDLE, scored=True))) == ["Hi"]


def test_where_no_guard_acts_logprobs_leave_as_they_came() -> None:
    said = entry("Hi", note="x")
    assert rows(streamed(chunk({"content": "Ho"}, [said], "stop"), lane=IDLE)) == [said]


# -- responses


def responded(text: str, said: Sequence[str], *, first: bool = False) -> Any:
    """The part of a whole response; `first`: its logprobs stand before its text."""
    part = text_part(text, logprobs=[entry(t) for t in said])
    body = response([message("", content=[dict(sorted(part.items())) if first else part])])
    answering(RESPONSES).whole(body)
    return body["output"][0]["content"][0]


@pytest.mark.parametrize("first", [False, True])
def test_a_response_tells_the_rows_of_the_text_that_it_tells(first: bool) -> None:
    part = responded("It is Project Titan today.", ["It", "is", "Project", "Titan", "today."], first=first)
    assert part["text"] == "It is [CODENAME] today."
    assert tokens(part["logprobs"]) == ["It", "is", "today."]


def test_a_streamed_response_tells_no_row_before_its_text() -> None:
    filter_, out = answering(RESPONSES), list[bytes]()
    where = {"output_index": 0, "content_index": 0, "item_id": "m"}
    events: list[dict[str, Any]] = [
        {"type": "response.output_item.added", "output_index": 0, "item": message("", id="m", content=[])},
        *(
            {"type": "response.output_text.delta", **where, "delta": f" {word}", "logprobs": [entry(word)]}
            for word in ("It", "is", "Project", "Titan", "today.")
        ),
        {"type": "response.output_text.done", **where, "text": " It is Project Titan today.", "logprobs": []},
    ]
    for event in events:
        filter_.frame(json.dumps(event).encode(), out)
    told = [json.loads(f.partition(b"\ndata: ")[2]) for f in out]
    deltas = [e for e in told if e["type"] == "response.output_text.delta"]
    assert "".join(e["delta"] for e in deltas) == " It is [CODENAME] today."
    assert [t["token"] for e in deltas for t in e["logprobs"]] == ["It", "is", "today."]
