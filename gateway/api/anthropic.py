"""What Anthropic's clients read in their own way, on the routes that are theirs."""

from __future__ import annotations

from typing import Any

from gateway.api.asgi import Headers
from gateway.errors import WardgateError
from gateway.wire.messages_error import error_body

ROUTE = "/v1/messages"
"""The first of them, and the beginning of the others."""


def ids_of(route: str, id: str) -> Headers:
    """The headers that name a request: Anthropic's SDKs read theirs from `request-id`."""
    named = (b"x-request-id", id.encode())
    return [named, (b"request-id", named[1])] if route.startswith(ROUTE) else [named]


def body_of(route: str, error: WardgateError) -> dict[str, Any]:
    """The error as the clients of this route read it."""
    return error_body(error) if route.startswith(ROUTE) else error.body()
