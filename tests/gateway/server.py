"""The real gateway on a real socket inside the test's loop, and a client that can send what no HTTP library would."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.api.http1 import HTTP1
from gateway.app import create_app
from gateway.serving import uvicorn_config
from gateway.settings import Settings
from tests.fakes import Server

CHAT = "/v1/chat/completions"
PATIENCE = 15.0
"""Seconds after which an answer that did not come counts as a hang."""

CONFIG = """
version: 1
upstreams:
  - {{name: fake, base_urls: ["{upstream}"], timeouts: {{connect: 1s, read: 2s, idle: 300ms}}}}
models:
  - {{name: guarded, upstream: fake, upstream_model: real, policy: careful}}
  - {{name: plain, upstream: fake, upstream_model: real}}
policies:
  - name: careful
    guards:
      - {{name: mail, kind: pattern, pattern: '\\w{{1,20}}@example\\.com', action: redact}}
      - {{name: codename, kind: pattern, pattern: 'Project [A-Z]\\w{{2,20}}', action: block}}
server: {server}
"""


class Impatient(HTTP1):
    head_seconds = 0.5


@dataclass(frozen=True)
class Answer:
    """A response as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The `code` of OpenAI's error body, whose shape is checked."""
        error = self.json["error"]
        assert set(error) >= {"message", "type", "param", "code"}
        assert isinstance(error["message"], str)
        assert error["message"]
        assert "Traceback" not in error["message"]
        return str(error["code"])

    @property
    def frames(self) -> list[bytes]:
        """The payloads of an event stream."""
        return [f.removeprefix(b"data: ").replace(b"\ndata: ", b"\n") for f in self.body.split(b"\n\n") if f]

    @property
    def text(self) -> str:
        """What a client reads in a stream's first choice."""
        chunks = [json.loads(f) for f in self.frames if f != b"[DONE]"]
        deltas = [c["choices"][0]["delta"] for c in chunks if c.get("choices")]
        return "".join(d.get("content") or "" for d in deltas)


@dataclass
class Client:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> Answer:
        """The next response; TimeoutError when it hangs."""
        async with asyncio.timeout(PATIENCE):
            status, headers = await self.head()
            return Answer(status, headers, await self._body(headers))

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = [line.partition(":") for line in lines[1:] if line]
        return int(lines[0].split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(headers.get("content-length", "0")))
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)
        return body

    async def closed(self) -> bool:
        """Nothing follows: the gateway has hung up."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True


@dataclass(frozen=True)
class Gate:
    """A gateway that listens."""

    port: int

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def post(self, body: bytes) -> Answer:
        async with self.connect() as client:
            await client.send(request(body))
            return await client.answer()

    async def ask(self, **fields: Any) -> Answer:
        """A chat request that differs from a sound one by these fields."""
        return await self.post(chat(**fields))


def request(body: bytes, *headers: str, method: str = "POST") -> bytes:
    """A whole request; with `headers`, exactly those instead of a content-length."""
    lines = headers or (f"content-length: {len(body)}",)
    return "\r\n".join([f"{method} {CHAT} HTTP/1.1", "host: x", *lines, "", ""]).encode("latin-1") + body


def chat(**fields: Any) -> bytes:
    sound = {"model": "guarded", "messages": [{"role": "user", "content": "hello"}]}
    return json.dumps(sound | fields).encode()


@contextlib.asynccontextmanager
async def gateway(folder: Path, redis_url: str, upstream: str, server: str = "{}") -> AsyncIterator[Gate]:
    """A gateway before `upstream`, with the options that `wardgate serve` gives its server."""
    file = folder / "wardgate.yaml"
    file.write_text(CONFIG.format(upstream=upstream, server=server))
    app = create_app(Settings(file, redis_url, folder / "data", "info", None, None, {}))
    config = uvicorn_config(app, 1)
    config.http = Impatient
    listener = socket.create_server(("127.0.0.1", 0))
    running = Server(config)
    serving = asyncio.create_task(running.serve(sockets=[listener]))
    await asyncio.wait_for(running.listening.wait(), PATIENCE)
    try:
        yield Gate(listener.getsockname()[1])
    finally:
        running.should_exit = True
        await serving
        listener.close()


class Memory:
    """How far this process, gateway and client and all, has grown at most since this was made. Linux only."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self.start = peak()

    @property
    def grown(self) -> int:
        return peak() - self.start


def peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
