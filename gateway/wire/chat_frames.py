"""The frames and bodies of chat that the gateway writes itself, and the reading of chunks."""

from __future__ import annotations

import time
from typing import Any

import orjson

from gateway.errors import UpstreamBroken, UpstreamRefused, WardgateError
from gateway.wire.sse import DONE, frame
from gateway.wire.surface import Ask

SEEN_TO = frozenset({"index", "delta", "finish_reason", "logprobs"})
OF_ENDS = frozenset({"index", "finish_reason", "stop_reason"})
NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def wanted(request: dict[str, Any]) -> int:
    """How many choices the request asks for, within what a gateway itself would write."""
    n = request.get("n")
    return n if isinstance(n, int) and 1 <= n <= 128 else 1


def wants_usage(request: dict[str, Any]) -> bool:
    options = request.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def head(ask: Ask, kind: str, prefix: str = "chatcmpl") -> dict[str, Any]:
    """Of an answer that the gateway writes itself."""
    return {"id": f"{prefix}-{ask.id}", "object": kind, "created": int(time.time()), "model": ask.model}


def structured(request: dict[str, Any]) -> bool:
    """A program waits for JSON."""
    wanted = request.get("response_format")
    return isinstance(wanted, dict) and wanted.get("type") in ("json_schema", "json_object")


def refused_text(ask: Ask) -> dict[str, Any]:
    """The refusal as people read it; as `refusal` too where a program would take the content for JSON.

    OpenAI's stream helpers parse the content as it grows, and raise a parser's error, unless the message has a refusal.
    """
    return {"content": ask.refusal, **({"refusal": ask.refusal} if structured(ask.request) else {})}


def refused_choice(index: int, ask: Ask) -> dict[str, Any]:
    message = {"role": "assistant", "refusal": None, **refused_text(ask)}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": "content_filter"}


def refused_frames(
    head: dict[str, Any], ask: Ask, indices: list[int], *, role: bool, wardgate: dict[str, Any] | None
) -> bytes:
    """The refusal as deltas, and the chunks that end the choices."""
    delta = {**({"role": "assistant"} if role else {}), **refused_text(ask)}
    choices: list[dict[str, Any]] = []
    for index in indices:
        choices.append({"index": index, "delta": delta, "logprobs": None, "finish_reason": None})
        choices.append({"index": index, "delta": {}, "logprobs": None, "finish_reason": "content_filter"})
    return choice_frames(head, choices, wardgate)


def choice_frames(head: dict[str, Any], choices: list[dict[str, Any]], wardgate: dict[str, Any] | None) -> bytes:
    """A chunk for each of them, the last one with the findings."""
    chunks: list[dict[str, Any]] = [{**head, "choices": [choice]} for choice in choices]
    if wardgate is not None and chunks:
        chunks[-1]["wardgate"] = wardgate
    return b"".join(frame(orjson.dumps(chunk)) for chunk in chunks)


def ending(head: dict[str, Any], usage: dict[str, Any] | None) -> bytes:
    """The usage chunk, if it was asked for, and `[DONE]`."""
    if usage is None:
        return DONE
    return frame(orjson.dumps({**head, "choices": [], "usage": usage})) + DONE


def calls_apart(chunk: dict[str, Any]) -> dict[str, Any] | None:
    """What must leave before this chunk: the calls of choices that end with it. None: nothing.

    SDKs tell that a call is complete with the chunk after it; one that is in the last chunk they never tell of.
    """
    calling = [c for c in chunk["choices"] if c.get("finish_reason") is not None and calls_in(c)]
    if not calling:
        return None
    first = {**chunk, "choices": [{**c, "finish_reason": None} for c in calling]}
    if chunk.get("usage"):
        first["usage"] = None
    for choice in calling:
        for name in choice.keys() - OF_ENDS:
            del choice[name]
        choice |= {"delta": {}, "logprobs": None}
    return first


def calls_in(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta") or {}
    return bool(delta.get("tool_calls") or delta.get("function_call"))


def empty(chunk: dict[str, Any]) -> bool:
    """Nothing is left in the chunk that a client would miss."""
    return not chunk.get("usage") and all(
        c.get("finish_reason") is None
        and not any((c.get("logprobs") or {}).values())
        and not any(v for k, v in c.items() if k not in SEEN_TO)
        and not any(v for k, v in (c.get("delta") or {}).items())
        for c in chunk["choices"]
    )


def parse_chunk(data: bytes) -> dict[str, Any]:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamBroken("The upstream sent something that is not JSON.") from None
    if not isinstance(chunk, dict):
        raise UpstreamBroken("The upstream sent a chunk of unknown shape.")
    return chunk


def upstream_said(chunk: dict[str, Any]) -> WardgateError:
    """An error frame in the middle of a stream."""
    error = chunk["error"]
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 502
    message = "The upstream reported an error in the middle of its answer."
    return UpstreamRefused(
        status, {"error": {"message": message, "type": "upstream_error", "param": None, "code": "upstream_error"}}
    )
