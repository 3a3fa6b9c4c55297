"""A client of `/v1/messages` that shows every event as it came, and a gateway for it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.fakes import FakeVLLM, Script, fake_vllm
from tests.gateway.harness import document, gateway

MESSAGES = "/v1/messages"
COUNT = f"{MESSAGES}/count_tokens"
REFUSAL = "Not this."
CARRIER = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


@dataclass
class Events:
    """A streamed message as the client got it."""

    status: int
    headers: httpx.Headers
    names: list[str] = field(default_factory=list)
    """What follows `event: `."""
    events: list[Any] = field(default_factory=list)
    raw: str = ""

    def of(self, kind: str) -> list[Any]:
        return [e for e in self.events if e["type"] == kind]

    @property
    def blocks(self) -> list[Any]:
        return [e["content_block"] for e in self.of("content_block_start")]

    def spelled(self, index: int) -> str:
        """What the deltas of a block spell together."""
        deltas = [e["delta"] for e in self.of("content_block_delta") if e["index"] == index]
        return "".join(d[CARRIER[d["type"]]] for d in deltas if d["type"] in CARRIER)

    @property
    def end(self) -> Any:
        (end,) = self.of("message_delta")
        return end

    def check(self) -> None:
        """It is a stream that an SDK takes: named events, blocks one after the other, one end."""
        assert self.names == [e["type"] for e in self.events]
        assert (self.names[0], self.names[-1], self.names.count("message_stop")) == ("message_start", "message_stop", 1)
        opened, count = None, 0
        for event in self.events:
            if event["type"] == "content_block_start":
                assert (opened, event["index"]) == (None, count)
                opened, count = event["index"], count + 1
            elif event["type"].startswith("content_block"):
                assert event["index"] == opened
                opened = None if event["type"] == "content_block_stop" else opened
            elif event["type"] == "message_delta":
                assert opened is None
                assert isinstance(event["usage"]["output_tokens"], int)


@dataclass
class Both:
    vllm: FakeVLLM
    url: str


@contextlib.asynccontextmanager
async def serving(
    script: Script, tmp_path: Path, redis_url: str, *guards: Mapping[str, object], **policy: object
) -> AsyncIterator[Both]:
    async with fake_vllm(script) as vllm:
        config = document(vllm.url, *guards, **({"refusal": REFUSAL} | policy))
        async with gateway(config, tmp_path, redis_url) as url:
            yield Both(vllm, url)


def request(content: object = "Hello", **more: object) -> dict[str, object]:
    messages = [{"role": "user", "content": content}]
    return {"model": "assistant", "max_tokens": 100, "messages": messages} | more


async def ask(url: str, content: object = "Hello", **more: object) -> httpx.Response:
    """One request, answered whole."""
    return await post(url + MESSAGES, request(content, **more))


async def count(url: str, content: object = "Hello", **more: object) -> httpx.Response:
    """The tokens of a request."""
    return await post(url + COUNT, request(content, **more))


async def post(url: str, body: Mapping[str, object]) -> httpx.Response:
    async with httpx.AsyncClient(timeout=20) as client:
        return await client.post(url, json=body)


async def ask_stream(url: str, content: object = "Hello", **more: object) -> Events:
    """One request, answered as a stream and read to its end."""
    async with (
        httpx.AsyncClient(timeout=20) as client,
        client.stream("POST", url + MESSAGES, json=request(content, stream=True, **more)) as answer,
    ):
        raw = (await answer.aread()).decode()
    return read_events(answer.status_code, answer.headers, raw)


def read_events(status: int, headers: httpx.Headers, raw: str) -> Events:
    got = Events(status, headers, raw=raw)
    for frame in raw.split("\n\n"):
        name, _, data = frame.partition("\n")
        if data.startswith("data: "):
            got.names.append(name.removeprefix("event: "))
            got.events.append(json.loads(data.removeprefix("data: ")))
    return got
