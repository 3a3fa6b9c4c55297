"""Texts where no surface has a carrier: beside a message, deep in one, in keys, in what comes with every chunk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.errors import UpstreamBroken
from gateway.wire.chat import ChatWire
from gateway.wire.completions import CompletionsWire
from gateway.wire.judge import Judge
from gateway.wire.messages import CountTokensWire, MessagesWire
from gateway.wire.surface import AnswerFilter, Ask, Wire
from guards.catalog import build_lanes
from guards.lane import Lane
from guards.policy import Policy
from guards.verdict import Action
from tests.fakes import USAGE, chat_frame, chat_json, frame, head, text_choice, text_head
from tests.fakes_messages import block_start, block_stop, delta, event, message, message_end, message_start, text
from tests.guards.lanes import FOLDER, rule

MAIL = "ada@example.com"
NAME = "Project Titan"
GUARDS = (
    rule("pii", "pii", entities=("email",)),
    rule("rude", "denylist", terms=("windbag",)),
    rule("codename", "pattern", Action.BLOCK, pattern=r"Project [A-Z]\w{2,20}"),
)
LANE = build_lanes(Policy(name="p", guards=GUARDS), "output", FOLDER).enforced
IDLE = Lane((), None, ())
CHAT = ChatWire()


def answering(wire: Wire, **request: Any) -> AnswerFilter:
    ask = Ask(request, "1", "m", lambda: "Not this.", lambda: {"findings": []}, False)
    filter_ = wire.answer(ask, Judge(LANE, IDLE, FOLDER, "output"), guarded=True)
    assert filter_ is not None
    return filter_


def left(wire: Wire, *frames: bytes) -> str:
    """All that leaves of a stream."""
    filter_, out = answering(wire), list[bytes]()
    for data in frames:
        blocked = filter_.frame(data.partition(b"data: ")[2].strip(), out)
        if blocked:
            filter_.refuse(blocked, out)
        if filter_.done:
            break
    if blocked := filter_.flush(out):
        filter_.refuse(blocked, out)
    return (b"".join(out) + filter_.ending()).decode()


def deltas(said: str) -> list[Any]:
    return [c["delta"] for f in said.split("\n\n") if f.startswith("data: {") for c in json.loads(f[6:])["choices"]]


def details(*texts: str) -> list[bytes]:
    """As OpenRouter tells a model's thinking."""
    return [chat_frame({"reasoning_details": [{"type": "reasoning.text", "text": t}]}) for t in texts]


END = chat_frame({}, finish="stop")


def test_a_text_that_goes_on_deep_in_the_next_chunk_is_read_as_one() -> None:
    said = left(CHAT, *details("Ask ada@exam", "ple.com", " now"), END)
    found = [e["text"] for d in deltas(said) for e in d.get("reasoning_details", ())]
    assert "".join(found) == "Ask [EMAIL] now"
    assert "exam" not in said


def test_texts_deep_in_chunks_that_hide_nothing_leave_at_the_end_each_as_it_was() -> None:
    said = left(CHAT, *details("Ask ", "Ada"), END)
    entries = [e for d in deltas(said) for e in d.get("reasoning_details", ())]
    assert entries == [{"type": "reasoning.text", "text": t} for t in ("Ask ", "Ada")]


def test_a_text_deep_in_chunks_can_block() -> None:
    said = left(CHAT, chat_frame({"meta": {"a": {"b": "Proj"}}}), chat_frame({"meta": {"a": {"b": "ect Titan"}}}), END)
    assert "Proj" not in said
    assert "content_filter" in said


@pytest.mark.parametrize("frames", [details("to ada@exam", "ple.com"), details(f"to {MAIL}")])
def test_a_stream_without_an_end_tells_what_it_held_deep_in_chunks(frames: list[bytes]) -> None:
    assert "to [EMAIL]" in left(CHAT, *frames)


def beside(**more: Any) -> bytes:
    choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": None, **more}
    return frame(head("chat.completion.chunk") | {"choices": [choice]})


@pytest.mark.parametrize(
    "frames",
    [
        [beside(text=f"to {MAIL}")],
        [beside(message={"role": "assistant", "content": f"to {MAIL}"})],
        [beside(mood=f"to {MAIL}")],
        [beside(mood="to ada@exam"), beside(mood="ple.com")],
        [beside(stop_reason=f"to {MAIL}", finish_reason="stop")],
        [chat_frame({"role": f"to {MAIL}"})],
        [chat_frame({"name": f"to {MAIL}"})],
        [chat_frame({"parts": [{"type": f"to {MAIL}"}]})],
        [chat_frame({"parts": [{"type": "image_url", "image_url": {"url": f"http://x/to {MAIL}"}}]})],
        [beside()[:-3] + f', "usage": {{"note": "to {MAIL}"}}}}\n\n'.encode()],
        [frame(head("x") | {"choices": [], "usage": USAGE | {"note": f"to {MAIL}"}})],
    ],
)
def test_no_text_beside_the_message_passes_unjudged(frames: list[bytes]) -> None:
    said = left(CHAT, *frames, *([] if b'"stop"' in frames[-1] else [END]))
    assert "[EMAIL]" in said
    assert "exam" not in said


def test_a_text_of_no_choice_that_goes_on_in_the_next_chunk_is_not_completed() -> None:
    notes = [frame(head("x") | {"choices": [], "note": n}) for n in ("Ask ada@exam", "ple.com", "ple.com")]
    assert "ple.com" not in left(CHAT, *notes, END)


def test_a_text_of_no_choice_that_comes_with_every_chunk_stays() -> None:
    frames = [frame(head("x") | {"choices": [], "provider": "Groq"}) for _ in range(3)]
    assert left(CHAT, *frames, END).count("Groq") == 3


@pytest.mark.parametrize(
    "data",
    [
        chat_frame({MAIL: "x"}),
        chat_frame({"meta": {MAIL: 1}}),
        chat_frame({"meta": [{"a": {NAME: None}}]}),
        beside(**{NAME: "x"}),
        frame(head("x") | {"choices": [], MAIL: "x"}),
        frame(head("x") | {"choices": [], "note": {MAIL: 1}}),
        beside(finish_reason=MAIL),
        beside(finish_reason={"a": MAIL}),
        chat_frame({"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}),
        chat_frame({"meta": json.loads("[" * 150 + "]" * 150)}),
        chat_frame({"meta": json.loads('{"a":' * 150 + "1" + "}" * 150)}),
    ],
)
def test_what_cannot_be_judged_or_redacted_is_refused(data: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        left(CHAT, data, END)


@pytest.mark.parametrize("wire", [CHAT, CompletionsWire()])
def test_a_key_that_stands_twice_leaves_once(wire: Wire) -> None:
    """A parser shows one of the two."""
    choice = (
        text_choice("Hi", 0, "stop") if isinstance(wire, CompletionsWire) else {"index": 0, "finish_reason": "stop"}
    )
    data = json.dumps(text_head() | {"choices": [choice]})
    twice = f'data: {{"id": "{MAIL}", "x": "{MAIL}", "x": "y", {data[1:]}\n\n'.encode()
    assert MAIL not in left(wire, twice)
    body = json.loads(twice[6:])
    assert answering(wire).whole(body)[0]


def test_a_call_id_does_not_repeat_the_name_that_was_redacted() -> None:
    """Kimi's calls are `functions.<name>:<number>`."""
    body = json.loads(chat_json(None, tool_calls=[call("windbag", "functions.windbag:0")]))
    answering(CHAT).whole(body)
    (made,) = body["choices"][0]["message"]["tool_calls"]
    assert (made["function"]["name"], made["id"]) == ("[RUDE]", "functions.[RUDE]:0")


def call(name: str, id: str) -> dict[str, Any]:
    return {"index": 0, "id": id, "type": "function", "function": {"name": name, "arguments": "{}"}}


# -- messages

MESSAGES = MessagesWire()


def events(*said: bytes) -> Sequence[bytes]:
    return [message_start(), block_start(0, text("")), *said, block_stop(0), *message_end()]


def noted(note: str) -> bytes:
    return event(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}, "note": note}
    )


def test_a_note_that_goes_on_in_the_next_event_of_a_message_is_not_completed() -> None:
    assert "ple.com" not in left(MESSAGES, *events(noted("Ask ada@exam"), noted("ple.com")))


@pytest.mark.parametrize(
    "said",
    [
        [delta(0, "text_delta", text="a", **{MAIL: "x"})],
        [event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}, NAME: 1})],
        [delta(0, "citations_delta", citation={"type": "x", MAIL: 1})],
    ],
)
def test_a_key_of_a_message_that_a_guard_minds_is_refused(said: list[bytes]) -> None:
    with pytest.raises(UpstreamBroken):
        left(MESSAGES, *events(*said))


@pytest.mark.parametrize("name", ["data", "signature", "encrypted_content"])
def test_a_cipher_that_reads_like_a_text_is_judged(name: str) -> None:
    body = message({"type": "redacted_thinking", name: MAIL, "more": "a+/=_-9"})
    answering(MESSAGES).whole(body)
    assert body["content"][0] == {"type": "redacted_thinking", name: "[EMAIL]", "more": "a+/=_-9"}


def test_a_count_of_tokens_has_no_key_that_a_guard_minds() -> None:
    with pytest.raises(UpstreamBroken):
        answering(CountTokensWire()).whole({"input_tokens": 3, MAIL: 4})
