"""Errors on Anthropic's routes: OpenAI's body, and at the same time Anthropic's (https://docs.anthropic.com/en/api/errors)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.errors import WardgateError

TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Status -> Anthropic's name for it, which its SDKs read from `error.type`."""


def error_body(error: WardgateError) -> dict[str, Any]:
    """`type` says "error" to one SDK, `error` says to the other what it was."""
    body = error.body()
    told = {**body["error"], "type": type_of(error.status)}
    if isinstance(code := told.get("code"), str):
        told["details"] = {"error_code": code}
    return {"type": "error", **body, "error": told}


def type_of(status: int) -> str:
    return TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
