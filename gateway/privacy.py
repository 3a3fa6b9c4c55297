"""End users of applications: their digests, and how their records go."""

from __future__ import annotations

import hashlib
from typing import Any

FIELDS = ("safety_identifier", "user")
"""Fields of a request that name its end user; on `/v1/messages` it is `metadata.user_id`."""


def user_digest(tenant: str, request: dict[str, Any]) -> str:
    """Of whoever the application says asked; empty where it says nothing."""
    named = [request.get(name) for name in FIELDS]
    metadata = request.get("metadata")
    if isinstance(metadata, dict):
        named.append(metadata.get("user_id"))
    user = next((each for each in named if isinstance(each, str) and each), "")
    return digest_of(tenant, user) if user else ""


def digest_of(tenant: str, user: str) -> str:
    return hashlib.sha256(f"{tenant}\0{user}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
