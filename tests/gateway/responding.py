"""A client of `/v1/responses` that sees every event as it came."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.fakes import FakeVLLM, Reply, Script, fake_vllm
from tests.gateway.harness import CODENAME, EMAIL, document, gateway

PATH = "/v1/responses"
REFUSAL = "Not this."
MAIL = "zoe@example.com"


@dataclass
class Told:
    """The events of a streamed response."""

    status: int = 0
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    names: list[str] = field(default_factory=list)
    """Of the `event:` lines."""
    events: list[Any] = field(default_factory=list)
    raw: str = ""

    def of(self, name: str) -> list[Any]:
        return [e for e in self.events if e["type"] == f"response.{name}"]

    def text(self, name: str = "output_text") -> str:
        return "".join(e["delta"] for e in self.of(f"{name}.delta"))

    @property
    def final(self) -> Any:
        """The response object of the last event."""
        return self.events[-1]["response"]

    def check(self) -> None:
        """What holds of every stream: names, numbers, and that whoever says a text again says what was released."""
        assert self.names == [e["type"] for e in self.events]
        assert [e["sequence_number"] for e in self.events] == list(range(len(self.events)))
        texts: dict[tuple[Any, ...], str] = {}
        items: dict[int, Any] = {}
        for e in self.events:
            where = (
                e.get("output_index"),
                e["type"].rpartition(".")[0],
                e.get("content_index"),
                e.get("summary_index"),
            )
            if e["type"].endswith(".delta"):
                texts[where] = texts.get(where, "") + e["delta"]
            elif where in texts and e["type"].endswith(".done"):
                said = next(e[k] for k in ("text", "refusal", "arguments", "input", "code") if k in e)
                assert said == texts[where]
            elif e["type"] == "response.output_item.done":
                items[e["output_index"]] = e["item"]
        for index, item in items.items():
            for n, part in enumerate(item.get("content") or []):
                assert part.get("text", part.get("refusal")) == "".join(
                    t for (i, kind, c, _), t in texts.items() if i == index and c == n and "summary" not in kind
                )
        if "response" in self.events[-1]:
            assert self.final["output"][: len(items)] == [items[i] for i in sorted(items)]


def output_text(response: Any) -> str:
    return "".join(
        part.get("text", "") for item in response["output"] if item["type"] == "message" for part in item["content"]
    )


async def respond(url: str, given: object = "Hello", key: str = "", **more: object) -> httpx.Response:
    async with httpx.AsyncClient(timeout=10) as client:
        body = {"model": "assistant", "input": given, **more}
        return await client.post(url + PATH, json=body, headers=bearer(key))


async def respond_stream(url: str, given: object = "Hello", key: str = "", **more: object) -> Told:
    got = Told()
    await follow(got, url, {"model": "assistant", "input": given, **more}, key)
    return got


async def follow(got: Told, url: str, body: Mapping[str, object], key: str = "") -> None:
    """A streamed request, read into `got` as it comes."""
    async with (
        httpx.AsyncClient(timeout=10) as client,
        client.stream("POST", url + PATH, json={**body, "stream": True}, headers=bearer(key)) as answer,
    ):
        got.status, got.headers = answer.status_code, answer.headers
        async for line in answer.aiter_lines():
            got.raw += line + "\n"
            if line.startswith("event: "):
                got.names.append(line.removeprefix("event: "))
            elif line.startswith("data: "):
                got.events.append(json.loads(line.removeprefix("data: ")))


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


@dataclass
class Both:
    vllm: FakeVLLM
    url: str


@contextlib.asynccontextmanager
async def served(
    script: Script, tmp_path: Path, redis_url: str, *guards: Mapping[str, object], **policy: object
) -> AsyncIterator[Both]:
    """A gateway that redacts e-mail addresses and blocks codenames, unless other guards are given."""
    async with fake_vllm(script) as vllm:
        config = document(vllm.url, *(guards or (EMAIL, CODENAME)), **({"refusal": REFUSAL} | policy))
        async with gateway(config, tmp_path, redis_url) as url:
            yield Both(vllm, url)


async def told(script: Script, tmp_path: Path, redis_url: str, **policy: object) -> Told:
    """One request, answered as a stream."""
    async with served(script, tmp_path, redis_url, **policy) as both:
        got = await respond_stream(both.url)
        if got.status == 200:
            got.check()
        return got


async def answered(script: Script, tmp_path: Path, redis_url: str, **policy: object) -> Any:
    async with served(script, tmp_path, redis_url, **policy) as both:
        return (await respond(both.url)).json()


async def told_broken(script: Reply, tmp_path: Path, redis_url: str) -> Told:
    async with served(script, tmp_path, redis_url) as both:
        return await respond_stream(both.url)
