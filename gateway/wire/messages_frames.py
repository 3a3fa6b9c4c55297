"""Events of `/v1/messages` as Anthropic's SDKs read them: each frame is named after the type in its data."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.wire.surface import Ask

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def event(data: dict[str, Any]) -> bytes:
    return named(data["type"], orjson.dumps(data))


def named(name: str, data: bytes) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


def message(id: str, model: str, content: list[Any], stop_reason: str | None) -> dict[str, Any]:
    """A message that the gateway writes itself."""
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def start(message: dict[str, Any]) -> bytes:
    return event({"type": "message_start", "message": message})


def structured(request: dict[str, Any]) -> bool:
    """A program waits for JSON."""
    config = request.get("output_config")
    wanted = config.get("format") if isinstance(config, dict) else None
    return wanted is not None or request.get("output_format") is not None


def refused(id: str, ask: Ask) -> dict[str, Any]:
    """A message that is a refusal. Where a program waits for JSON it has no text: SDKs parse every text there is."""
    content = [] if structured(ask.request) else [text_block(ask.refusal)]
    return message(id, ask.model, content, "refusal") | stop_details(ask)


def stop_details(ask: Ask) -> dict[str, Any]:
    """https://docs.anthropic.com/en/api/messages: `category` names a policy of Anthropic's own, so there is none."""
    return {"stop_details": {"type": "refusal", "category": None, "explanation": ask.refusal}}


def refusal(index: int, ask: Ask, usage: dict[str, Any]) -> bytes:
    """The refusal as the text block `index`, and the end of the message."""
    ended = {"stop_reason": "refusal", "stop_sequence": None, **stop_details(ask)}
    end = event({"type": "message_delta", "delta": ended, "usage": usage, "wardgate": ask.findings()})
    if structured(ask.request):
        return end
    delta = {"type": "text_delta", "text": ask.refusal}
    return b"".join(
        (
            event({"type": "content_block_start", "index": index, "content_block": text_block("")}),
            event({"type": "content_block_delta", "index": index, "delta": delta}),
            block_stop(index),
            end,
        )
    )


def block_stop(index: int) -> bytes:
    return event({"type": "content_block_stop", "index": index})
