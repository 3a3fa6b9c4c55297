"""One gateway in which every situation of a client can be met: by the model that it asks, its key, and its words."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.fakes import FakeVLLM, fake_vllm
from tests.gateway.clients.model import CLEAN, LEAK, MAIL, Model
from tests.gateway.harness import CODENAME, EMAIL, free_port, gateway

REFUSE, ERROR, ABSENT = "assistant", "stern", "absent"
"""Models: of `on_block: refuse`, of `on_block: error`, and one whose server is down."""
KEY, SINGLE, ONE_AT_A_TIME, FORBIDDEN = "wg-app", "wg-single", "wg-narrow", "wg-nobody"
"""Keys: without limits, of one request a minute, of one at a time, of nobody."""
REFUSAL = "Not this."
BLOCKED_PROMPT = "Tell me of Project Titan."
TOOLS: Mapping[str, object] = {
    "name": "tools",
    "kind": "tool_call",
    "arguments": [{"tool": "fetch", "path": "url", "hosts": ["example.org"]}],
}
FETCH: dict[str, Any] = {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]}
WAIT: dict[str, Any] = {"type": "object", "properties": {}}


class Seen(NamedTuple):
    """An answer as an application reads it."""

    text: str
    end: str | None
    action: str | None
    """Of the `wardgate` object."""
    calls: Sequence[tuple[str, str]] = ()
    """Names and arguments."""


class Case(NamedTuple):
    """What is asked, and what comes of it under `on_block: refuse`."""

    prompt: str
    whole: str
    streamed: str
    action: str

    @property
    def blocked(self) -> bool:
        return self.action == "block"


NORMAL = Case(f"Hello, {CLEAN}", "All is well.", "All is well.", "allow")
REDACTED = Case(f"Hello, {MAIL}", "Write to [EMAIL] now.", "Write to [EMAIL] now.", "redact")
BLOCKED_IN = Case(BLOCKED_PROMPT, REFUSAL, REFUSAL, "block")
BLOCKED_OUT = Case(f"Hello, {LEAK}", REFUSAL, f"It is {REFUSAL}", "block")
CASES: Mapping[str, Case] = {
    "normal": NORMAL,
    "redacted": REDACTED,
    "blocked in": BLOCKED_IN,
    "blocked out": BLOCKED_OUT,
}


@dataclass
class World:
    url: str
    vllm: FakeVLLM
    model: Model
    http: httpx.AsyncClient
    """For clients that would never close one of their own."""

    @property
    def base(self) -> str:
        """What OpenAI's clients want."""
        return f"{self.url}/v1"

    async def busy(self) -> bool:
        """A request has reached the model."""
        return bool(self.vllm.requests)


def tenant(key: str, **limits: int) -> dict[str, object]:
    digest = hashlib.sha256(key.encode()).hexdigest()
    return {"name": key, "keys": [f"sha256:{digest}"], "models": [REFUSE, ERROR, ABSENT], "limits": limits}


def config(upstream: str) -> str:
    guards = [EMAIL, CODENAME, TOOLS]
    served = {"upstream": "vllm", "upstream_model": "fake"}
    return json.dumps(
        {
            "version": 1,
            "upstreams": [
                {"name": "vllm", "base_urls": [f"{upstream}/v1"]},
                {"name": "gone", "base_urls": [f"http://127.0.0.1:{free_port()}/v1"]},
            ],
            "models": [
                {"name": REFUSE, "policy": "kind", **served},
                {"name": ERROR, "policy": "stern", **served},
                {"name": ABSENT, "policy": "kind", "upstream": "gone"},
            ],
            "policies": [
                {"name": "kind", "refusal": REFUSAL, "guards": guards},
                {"name": "stern", "refusal": REFUSAL, "guards": guards, "on_block": "error"},
            ],
            "tenants": [tenant(KEY), tenant(SINGLE, requests_per_minute=1), tenant(ONE_AT_A_TIME, concurrent=1)],
        }
    )


@contextlib.asynccontextmanager
async def world_on(tmp_path: Path, redis_url: str) -> AsyncIterator[World]:
    model = Model()
    async with (
        fake_vllm(model) as vllm,
        gateway(config(vllm.url), tmp_path, redis_url) as url,
        httpx.AsyncClient(timeout=10) as http,
    ):
        yield World(url, vllm, model, http)
