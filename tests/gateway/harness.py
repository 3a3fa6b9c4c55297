"""The real gateway for tests: in the test's own event loop, or as the `wardgate serve` process that operators run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from gateway.app import create_app
from gateway.settings import Settings
from tests.fakes import Server

CHAT = "/v1/chat/completions"
CONFIG = "wardgate.yaml"
READY_WITHIN = 20.0

EMAIL: Mapping[str, object] = {"name": "pii", "kind": "pii", "entities": ["email"], "action": "redact"}
CODENAME: Mapping[str, object] = {
    "name": "codename",
    "kind": "pattern",
    "pattern": r"Project [A-Z]\w{2,20}",
    "action": "block",
}
RUDE: Mapping[str, object] = {"name": "rude", "kind": "denylist", "terms": ["windbag"], "action": "flag"}


def document(upstream: str, *guards: Mapping[str, object], **policy: object) -> str:
    """A config (JSON is YAML) with the model `assistant`, served by `upstream` as `fake`."""
    data: dict[str, object] = {
        "version": 1,
        "upstreams": [{"name": "vllm", "base_urls": [f"{upstream}/v1"]}],
        "models": [{"name": "assistant", "upstream": "vllm", "upstream_model": "fake", "policy": "support"}],
        "policies": [{"name": "support", "guards": list(guards), **policy}],
    }
    return json.dumps(data)


def with_tenants(config_text: str, *tenants: Mapping[str, object]) -> str:
    """The config for these tenants alone."""
    return json.dumps({**json.loads(config_text), "tenants": tenants})


@contextlib.asynccontextmanager
async def gateway(config_text: str, tmp_path: Path, redis_url: str | None) -> AsyncIterator[str]:
    """The app under uvicorn on a free port; None for `redis_url` embeds one. Its config is `tmp_path`/wardgate.yaml."""
    config = tmp_path / CONFIG
    config.write_text(config_text)
    environ = {"WARDGATE_CONFIG": str(config), "WARDGATE_DATA": str(tmp_path / "data")}
    app = create_app(Settings.read(environ | ({"WARDGATE_REDIS_URL": redis_url} if redis_url else {})))
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", ws="none", http="httptools"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    ready = asyncio.create_task(server.listening.wait())
    await asyncio.wait((serving, ready), return_when=asyncio.FIRST_COMPLETED)
    assert server.started, "the gateway did not start"
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listener.close()


@dataclass
class Process:
    """`wardgate serve` on a port of its own, which it keeps when it is started again."""

    config: Path
    data: Path
    options: Sequence[str] = ()
    port: int = 0
    child: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    async def start(self) -> None:
        """Returns when it answers."""
        self.port = self.port or free_port()
        words = ("-m", "gateway.cli", "serve", "--config", str(self.config), "--port", str(self.port), *self.options)
        environ = {**os.environ, "WARDGATE_DATA": str(self.data)}
        environ.pop("WARDGATE_REDIS_URL", None)
        with (self.data.parent / "gateway.log").open("ab") as log:
            self.child = await asyncio.create_subprocess_exec(
                sys.executable, *words, env=environ, stdout=log, stderr=log
            )
        async with asyncio.timeout(READY_WITHIN), httpx.AsyncClient() as client:
            while not await self._answers(client):
                assert self.child.returncode is None, log_of(self.data)
                await asyncio.sleep(0.05)

    async def _answers(self, client: httpx.AsyncClient) -> bool:
        try:
            return (await client.get(f"{self.url}/health/live")).status_code == 200
        except httpx.TransportError:
            return False

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.child.send_signal(how)
        await self.child.wait()
        self.child = None


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 5.0) -> None:
    """Waits for what other processes and tasks do in their own time."""
    async with asyncio.timeout(seconds):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def log_of(data: Path) -> str:
    return (data.parent / "gateway.log").read_text()[-2000:]


@contextlib.asynccontextmanager
async def wardgate_serve(config_text: str, tmp_path: Path, *options: str) -> AsyncIterator[Process]:
    """A `wardgate serve` process with its embedded Redis; its log is `tmp_path`/gateway.log."""
    config = tmp_path / CONFIG
    config.write_text(config_text)
    process = Process(config, tmp_path / "data", options)
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


@dataclass
class Streamed:
    """A streamed answer as the client got it."""

    status: int
    headers: httpx.Headers
    payloads: list[str] = field(default_factory=list)
    """What follows `data: ` in each frame."""

    @property
    def chunks(self) -> list[Any]:
        return [json.loads(p) for p in self.payloads if p != "[DONE]"]

    @property
    def choices(self) -> list[Any]:
        return [choice for chunk in self.chunks for choice in chunk.get("choices", [])]

    def text(self, index: int = 0, name: str = "content") -> str:
        return "".join(c["delta"].get(name) or "" for c in self.choices if c["index"] == index)

    @property
    def ends(self) -> dict[int, str]:
        return {c["index"]: c["finish_reason"] for c in self.choices if c["finish_reason"]}

    @property
    def wardgate(self) -> Any:
        return next(chunk["wardgate"] for chunk in self.chunks if "wardgate" in chunk)


def request(content: object = "Hello", **more: object) -> dict[str, object]:
    return {"model": "assistant", "messages": [{"role": "user", "content": content}]} | more


async def ask(url: str, content: object = "Hello", **more: object) -> httpx.Response:
    """One chat request, answered whole."""
    return await ask_as("", url, content, **more)


async def ask_as(key: str, url: str, content: object = "Hello", **more: object) -> httpx.Response:
    """The same by whoever holds `key`."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(timeout=10) as client:
        return await client.post(url + CHAT, json=request(content, **more), headers=headers)


async def ask_stream(url: str, content: object = "Hello", **more: object) -> Streamed:
    """One chat request, answered as a stream and read to its end."""
    async with (
        httpx.AsyncClient(timeout=10) as client,
        client.stream("POST", url + CHAT, json=request(content, stream=True, **more)) as answer,
    ):
        got = Streamed(answer.status_code, answer.headers)
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                got.payloads.append(line.removeprefix("data: "))
        return got
