"""What the gateway itself says in the place of an answer."""

from __future__ import annotations

import time
from typing import Any

from gateway.wire.responses.events import OUTPUT_TEXT, REFUSAL, Kind
from gateway.wire.surface import Ask

FILTERED = {"reason": "content_filter"}
NO_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}
REPEATED = ("instructions", "metadata", "previous_response_id", "temperature", "top_p", "max_output_tokens", "user")


def kind_for(request: dict[str, Any]) -> Kind:
    """How a refusal is told: as text that people read, or as a `refusal` where a program waits for JSON."""
    text = request.get("text")
    wanted = text.get("format") if isinstance(text, dict) else None
    structured = isinstance(wanted, dict) and wanted.get("type") in ("json_schema", "json_object")
    return REFUSAL if structured else OUTPUT_TEXT


def message(ask: Ask, status: str = "in_progress") -> dict[str, Any]:
    """An empty message."""
    return {"id": f"msg_{ask.id}", "type": "message", "role": "assistant", "status": status, "content": []}


def refused_message(ask: Ask) -> dict[str, Any]:
    kind = kind_for(ask.request)
    extra: dict[str, Any] = {"annotations": [], "logprobs": []} if kind is OUTPUT_TEXT else {}
    part = {"type": kind.type, kind.field: ask.refusal, **extra}
    return {**message(ask, "incomplete"), "content": [part]}


def head(ask: Ask, id: str) -> dict[str, Any]:
    """A response that has only begun."""
    request = ask.request
    return {
        "id": id,
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": ask.model,
        "output": [],
        "parallel_tool_calls": request.get("parallel_tool_calls") is not False,
        "tool_choice": request.get("tool_choice") or "auto",
        "tools": request.get("tools") or [],
        "truncation": "disabled",
        "usage": None,
        **{name: request.get(name) for name in REPEATED},
    }


def filtered(response: dict[str, Any], output: list[dict[str, Any]]) -> dict[str, Any]:
    """The response as a block leaves it."""
    ended = {"status": "incomplete", "error": None, "incomplete_details": FILTERED, "output": output}
    return {**response, **ended, "usage": response.get("usage") or NO_USAGE}
