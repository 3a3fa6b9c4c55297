"""Model servers for tests: a real ASGI vLLM on a real socket, and a raw socket for what no HTTP server would send."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

FOREVER = math.inf
Piece = bytes | float
"""Bytes to send, or seconds to wait before the next piece; `FOREVER` stalls until the client leaves."""
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def chat_json(content: str | None, **message: Any) -> bytes:
    """A whole answer of `/v1/chat/completions`; keywords go into the message (`refusal=`, `tool_calls=`)."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content, "refusal": None, "tool_calls": []} | message,
        "logprobs": None,
        "finish_reason": "stop",
        "stop_reason": None,
    }
    return json.dumps(head("chat.completion") | {"choices": [choice], "usage": USAGE}).encode()


def chat_frames(deltas: Sequence[str], n: int = 1, usage: bool = False) -> list[bytes]:
    """A streamed answer as vLLM frames it: role, one frame for each delta and choice, end, usage, `[DONE]`."""
    frames = [chat_frame({"role": "assistant", "content": ""}, i) for i in range(n)]
    frames += [chat_frame({"content": delta}, i) for delta in deltas for i in range(n)]
    frames += [chat_frame({"content": ""}, i, finish="stop") for i in range(n)]
    if usage:
        frames.append(frame(head("chat.completion.chunk") | {"choices": [], "usage": USAGE}))
    return [*frames, b"data: [DONE]\n\n"]


def chat_frame(delta: Mapping[str, Any], index: int = 0, finish: str | None = None) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    return frame(head("chat.completion.chunk") | {"choices": [choice]})


def text_json(*texts: str, **choice: Any) -> bytes:
    """A whole answer of `/v1/completions` with these choices; keywords go into each of them."""
    choices = [text_choice(text, i, "stop") | choice for i, text in enumerate(texts)]
    return json.dumps(text_head() | {"choices": choices, "usage": USAGE}).encode()


def text_frames(deltas: Sequence[str], n: int = 1, usage: bool = False) -> list[bytes]:
    """A streamed answer of `/v1/completions` as vLLM frames it: a frame for each delta and choice, usage, `[DONE]`."""
    frames = [text_frame(delta, i) for delta in deltas for i in range(n)]
    frames += [text_frame("", i, "stop") for i in range(n)]
    if usage:
        frames.append(frame(text_head() | {"choices": [], "usage": USAGE}))
    return [*frames, b"data: [DONE]\n\n"]


def text_frame(text: str, index: int = 0, finish: str | None = None, **choice: Any) -> bytes:
    return frame(text_head() | {"choices": [text_choice(text, index, finish) | choice]})


def text_choice(text: str, index: int, finish: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish, "stop_reason": None}


def text_head() -> dict[str, Any]:
    return {"id": "cmpl-1", "object": "text_completion", "created": 1700000000, "model": "fake"}


def text_logprobs(tokens: Sequence[str], offset: int = 0) -> dict[str, Any]:
    """The columns of `/v1/completions`; each token has itself and one more as alternatives."""
    offsets = [offset + sum(map(len, tokens[:i])) for i in range(len(tokens))]
    return {
        "tokens": list(tokens),
        "token_logprobs": [-0.5 for _ in tokens],
        "top_logprobs": [{token: -0.5, f"{token}s": -2.0} for token in tokens],
        "text_offset": offsets,
    }


def frame(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def head(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1700000000, "model": "fake"}


@dataclass(frozen=True)
class Reply:
    """What the fake sends for one request. `before` is the wait for the head; `FOREVER` never sends it."""

    pieces: Sequence[Piece] | AsyncIterator[Piece]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    before: float = 0.0


def stream(frames: Sequence[Piece], gap: float = 0.0) -> Reply:
    """Frames as an event stream, `gap` seconds apart."""
    pieces = [piece for part in frames for piece in (part, gap)] if gap else list(frames)
    return Reply(pieces, headers={"content-type": "text/event-stream; charset=utf-8"})


@dataclass
class Request:
    """A request as the fake saw it."""

    path: str
    method: str
    headers: dict[str, str]
    raw: bytes
    client: tuple[str, int]
    """The client's end of the connection: the same for two requests that shared one."""

    @property
    def body(self) -> Any:
        return json.loads(self.raw) if self.raw else None


def echo(request: Request) -> Reply:
    """The default script: says what the last message said, streamed or not, with `n` choices."""
    said = f"You said: {request.body['messages'][-1]['content']}" if "chat" in request.path else "ok"
    if not request.body.get("stream"):
        return Reply([chat_json(said)])
    words = said.split(" ")
    usage = bool((request.body.get("stream_options") or {}).get("include_usage"))
    deltas = [words[0], *(f" {word}" for word in words[1:])]
    return stream(chat_frames(deltas, n=request.body.get("n") or 1, usage=usage))


Script = Reply | Sequence[Reply] | Callable[[Request], Reply]
"""One reply for all requests, one after the other (the last repeats), or chosen by the request."""


class FakeVLLM:
    """The ASGI app, and what it saw."""

    def __init__(self, script: Script) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.closed: list[float] = []
        """Monotonic time of each disconnect that came before the end of an answer."""
        self.left = asyncio.Event()
        """Set with the first of them."""
        self.running = 0
        self.script = script
        self.stopping = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await read_request(scope, receive)
        self.requests.append(request)
        self.running += 1
        try:
            await self._serve(self._reply(request), receive, send)
        finally:
            self.running -= 1
            if self.closed:
                self.left.set()

    def _reply(self, request: Request) -> Reply:
        if isinstance(self.script, Reply):
            return self.script
        if callable(self.script):
            return self.script(request)
        return self.script[min(len(self.requests), len(self.script)) - 1]

    async def _serve(self, reply: Reply, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(play(reply, send))
        leaving = asyncio.create_task(disconnected(receive))
        stopping = asyncio.create_task(self.stopping.wait())
        tasks = (sending, leaving, stopping)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if leaving.done() and not sending.done():
            self.closed.append(time.monotonic())
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]


async def read_request(scope: Scope, receive: Receive) -> Request:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    return Request(scope["path"], scope["method"], headers, body, tuple(scope["client"]))


async def disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def play(reply: Reply, send: Send) -> None:
    await pause(reply.before)
    headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    async for piece in each(reply.pieces):
        if isinstance(piece, bytes):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        else:
            await pause(piece)
    await send({"type": "http.response.body", "body": b""})


async def each(pieces: Sequence[Piece] | AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    if isinstance(pieces, Sequence):
        for piece in pieces:
            yield piece
    else:
        async for piece in pieces:
            yield piece


async def pause(seconds: float) -> None:
    await (asyncio.sleep(seconds) if seconds != FOREVER else asyncio.Event().wait())


class Server(uvicorn.Server):
    """Tells when it listens, and leaves the signals to the test runner."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def fake_vllm(script: Script = echo) -> AsyncIterator[FakeVLLM]:
    """A fake vLLM on a free port; `url` has no path, so that `/v1` is added as for a real one."""
    fake = FakeVLLM(script)
    listener = socket.create_server(("127.0.0.1", 0))
    fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(fake, log_config=None, access_log=False, lifespan="off", ws="none", http="httptools")
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await server.listening.wait()
    try:
        yield fake
    finally:
        fake.stopping.set()
        server.should_exit = True
        await serving
        listener.close()


ABORT = b"\0ABORT"
"""A piece that resets the connection."""
CLOSE = b"\0CLOSE"
"""A piece that closes it in order."""


class RawServer:
    """Plays pieces of bytes for each request; the n-th request gets the n-th script, the last one repeats."""

    def __init__(self, *scripts: Sequence[Piece]) -> None:
        self.url = ""
        self.requests: list[bytes] = []
        self.connections = 0
        self._scripts = scripts
        self.writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._play(await self._next(reader), reader, writer):
                pass
        writer.close()
        self.writers.discard(writer)

    async def _next(self, reader: asyncio.StreamReader) -> Sequence[Piece]:
        self.requests.append(await read_raw(reader))
        return self._scripts[min(len(self.requests), len(self._scripts)) - 1]

    async def _play(self, script: Sequence[Piece], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        for piece in script:
            if isinstance(piece, float | int):
                await (asyncio.sleep(piece) if piece != FOREVER else reader.read())
            elif piece == ABORT:
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # makes it a TCP reset
                writer.transport.abort()
                return False
            elif piece == CLOSE:
                return False
            else:
                writer.write(piece)
                await writer.drain()
        return True


async def read_raw(reader: asyncio.StreamReader) -> bytes:
    """One request with its body, by `content-length`."""
    top = await reader.readuntil(b"\r\n\r\n")
    length = next((line[15:] for line in top.lower().split(b"\r\n") if line.startswith(b"content-length:")), b"0")
    return top + await reader.readexactly(int(length))


@contextlib.asynccontextmanager
async def raw_server(*scripts: Sequence[Piece]) -> AsyncIterator[RawServer]:
    """A server that sends exactly these bytes."""
    raw = RawServer(*scripts)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield raw
    finally:
        server.close()
        for writer in raw.writers:
            writer.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0)


def raw_head(*headers: str, status: str = "200 OK") -> bytes:
    """The head of a raw answer: `raw_head("content-length: 5")`."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()
