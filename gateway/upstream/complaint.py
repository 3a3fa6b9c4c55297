"""An upstream's error in OpenAI's shape, whatever shape it came in."""

from __future__ import annotations

from typing import Any

import orjson


def complaint(status: int, raw: bytes) -> dict[str, Any]:
    """The error body for the client: the upstream's own where it has OpenAI's shape, else one made of what it says."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        return body
    told = body if isinstance(body, dict) else {}
    message, kind = told.get("message"), told.get("type")
    text = message if isinstance(message, str) else f"The upstream answered with status {status}."
    return {"error": {"message": text, "type": kind or "upstream_error", "param": None, "code": "upstream_error"}}
