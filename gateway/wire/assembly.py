"""The frames of a stream put together to the whole answer that they spell, as the SDKs do it; and the way back.

Only for answers that are held: what a person is to judge, and an application to fetch, is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from gateway.errors import UpstreamBroken
from gateway.wire.chat_frames import parse_chunk
from gateway.wire.nested import merged
from gateway.wire.sse import FrameReader, frame

Body = dict[str, Any]
LISTED = ("tool_calls",)
"""Lists whose entries have an `index` by which their pieces belong together."""
LARGEST = 8 << 20
"""Bytes of one frame that the gateway itself sent."""
CONTINUED = frozenset({"/v1/chat/completions", "/v1/completions"})
"""Routes whose streams can go on with the rest of an answer."""
ENDED = frozenset({"message_stop", "response.completed", "response.incomplete"})
"""Events without which an answer is not whole."""


def chat(chunks: Iterable[Body]) -> Body:
    """Of `/v1/chat/completions`."""
    return _chosen(chunks, "chat.completion", _message)


def completions(chunks: Iterable[Body]) -> Body:
    """Of `/v1/completions`."""
    return _chosen(chunks, "text_completion", merged)


def _chosen(chunks: Iterable[Body], kind: str, join: Callable[[Body, Body], Body]) -> Body:
    whole: Body = {}
    choices: dict[int, Body] = {}
    for chunk in chunks:
        whole |= {k: v for k, v in chunk.items() if k != "choices" and v is not None}
        for piece in chunk.get("choices") or ():
            index = piece.get("index", 0)
            choices[index] = join(choices.get(index, {}), spoken(piece))
    return {**whole, "object": kind, "choices": [choices[i] for i in sorted(choices)]}


def spoken(piece: Body) -> Body:
    """Without what says nothing, and would cover what was said before."""
    return {k: v for k, v in piece.items() if v is not None}


def _message(known: Body, piece: Body) -> Body:
    delta = spoken(piece.get("delta") or {})
    message = dict(known.get("message") or {"role": "assistant", "content": None})
    for name in LISTED:
        if isinstance(pieces := delta.pop(name, None), list):
            message[name] = _joined(message.get(name) or [], pieces)
    rest = {k: v for k, v in piece.items() if k != "delta"}
    beside = merged({k: v for k, v in known.items() if k != "message"}, rest)
    return {**beside, "index": piece.get("index", 0), "message": merged(message, delta)}


def _joined(known: list[Body], pieces: list[Body]) -> list[Body]:
    calls = {call.get("index", i): call for i, call in enumerate(known)}
    for piece in pieces:
        at = piece.get("index", len(calls))
        before = calls.get(at, {})
        function = merged(before.get("function") or {}, piece.get("function") or {})
        calls[at] = {**before, **{k: v for k, v in piece.items() if v is not None}, "function": function}
    return [calls[at] for at in sorted(calls)]


def responses(events: Iterable[Body]) -> Body:
    """Of `/v1/responses`: its last event holds the whole."""
    whole = [event["response"] for event in events if isinstance(event.get("response"), dict)]
    if not whole:
        raise UpstreamBroken("The upstream's stream had no response in it.")
    last: Body = whole[-1]
    return last


def messages(events: Iterable[Body]) -> Body:
    """Of `/v1/messages`."""
    body: Body = {}
    blocks: dict[int, Body] = {}
    written: dict[int, list[str]] = {}
    for event in events:
        kind, at = event.get("type"), event.get("index", 0)
        if kind == "message_start":
            body = dict(event.get("message") or {})
        elif kind == "content_block_start":
            blocks[at] = dict(event.get("content_block") or {})
        elif kind == "content_block_delta":
            _grow(blocks.setdefault(at, {"type": "text"}), event.get("delta") or {}, written.setdefault(at, []))
        elif kind == "message_delta":
            body |= event.get("delta") or {}
            body["usage"] = {**(body.get("usage") or {}), **(event.get("usage") or {})}
    for at, pieces in written.items():
        if pieces:
            blocks[at]["input"] = _input("".join(pieces))
    return {**body, "content": [blocks[at] for at in sorted(blocks)]}


def _grow(block: Body, delta: Body, written: list[str]) -> None:
    if delta.get("type") == "input_json_delta":
        written.append(str(delta.get("partial_json", "")))
        return
    for name, value in delta.items():
        if name != "type":
            block[name] = merged(block[name], value) if name in block else value


def _input(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}


WHOLE: Mapping[str, Callable[[Iterable[Body]], Body]] = {
    "/v1/chat/completions": chat,
    "/v1/completions": completions,
    "/v1/responses": responses,
    "/v1/messages": messages,
}
"""Route -> how its streams are put together."""


def assembled(route: str, payloads: Iterable[bytes]) -> Body:
    """The whole answer of an upstream's frames; UpstreamBroken where they are none, or it broke off."""
    chunks = [parse_chunk(p) for p in payloads if p != b"[DONE]"]
    if any(c.get("error") or c.get("type") in ("error", "response.failed") for c in chunks):
        raise UpstreamBroken("The upstream reported an error in the middle of its answer.")
    body = joined(route, chunks)
    if not ended(route, chunks, body):
        raise UpstreamBroken("The upstream's answer broke off.")
    return body


def joined(route: str, chunks: Iterable[Body]) -> Body:
    """What they spell, be it whole or not."""
    try:
        return WHOLE[route](chunks)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UpstreamBroken("The upstream sent a stream of unknown shape.") from None


def ended(route: str, chunks: Iterable[Body], body: Body) -> bool:
    """Whether the model came to an end."""
    if route not in CONTINUED:
        return any(c.get("type") in ENDED for c in chunks)
    choices = body.get("choices") or []
    return bool(choices) and all(c.get("finish_reason") for c in choices)


def left(route: str, sent: Iterable[bytes]) -> Body:
    """What a client has seen of an answer, from the bytes that it was sent."""
    payloads = FrameReader(LARGEST).feed(b"".join(sent))
    return joined(route, [parse_chunk(p) for p in payloads if p != b"[DONE]"])


def rest(route: str, body: Body, seen: Body) -> bytes | None:
    """The frames that bring a client from what it has seen to this answer, `wardgate` included; None where none do."""
    if route not in CONTINUED:
        return None
    before = {c.get("index", 0): c for c in seen.get("choices") or ()}
    pieces = [_missing(choice, before.get(choice.get("index", 0), {})) for choice in body.get("choices") or ()]
    if not pieces or any(piece is None for piece in pieces):
        return None
    kind = "chat.completion.chunk" if route == "/v1/chat/completions" else "text_completion"
    head = {k: v for k, v in body.items() if k not in ("choices", "usage", "wardgate")}
    chunks = [{**head, "object": kind, "choices": [piece]} for piece in pieces]
    chunks[-1]["wardgate"] = body["wardgate"]
    return b"".join(frame(orjson.dumps(chunk)) for chunk in chunks)


def _missing(choice: Body, seen: Body) -> Body | None:
    """The last chunk of a choice; None where what was seen is not how it begins."""
    ending = {"index": choice.get("index", 0), "logprobs": None, "finish_reason": choice.get("finish_reason") or "stop"}
    if "message" not in choice:
        more = _after(choice.get("text"), seen.get("text"))
        return None if more is None else {**ending, "text": more}
    message, before = choice["message"], seen.get("message") or {}
    delta: Body = {} if before else {"role": "assistant"}
    for name, value in message.items():
        if isinstance(value, str) and name != "role":
            more = _after(value, before.get(name))
            if more is None:
                return None
            delta[name] = more
        elif value and name in LISTED:
            if before.get(name):
                return None
            delta[name] = [{"index": i, **call} for i, call in enumerate(value)]
    return {**ending, "delta": delta}


def _after(text: object, seen: object) -> str | None:
    whole, begun = str(text or ""), str(seen or "")
    return whole[len(begun) :] if whole.startswith(begun) else None
