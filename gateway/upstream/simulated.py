"""The simulated model of the demo: answers like vLLM, in process, and now and then misbehaves."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import orjson

from gateway.errors import UpstreamBroken
from gateway.upstream import shapes, simulated_text
from gateway.upstream.persona import speak
from gateway.upstream.protocol import ReplicaState
from gateway.upstream.shapes import ChatShapes, Said, count, tokens_of

URL = "simulated:"
LONGEST_THOUGHT = 0.4
"""Seconds that a whole answer takes at most."""
MAX_CHOICES = 16
JSON_HEADERS = {"content-type": "application/json"}
STREAM_HEADERS = {"content-type": "text/event-stream; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request wants, of the things that the simulated model understands."""

    model: str
    question: str
    system: str
    prompt_tokens: int
    choices: int
    max_tokens: int | None
    stream: bool
    usage: bool
    top: int | None


class Simulated:
    """Implements `ModelServer`; the same body gives the same answer. `pause` is the time one token takes, seconds."""

    def __init__(self, pause: float = 0.015, clock: Callable[[], float] = time.time) -> None:
        self._pause = pause
        self._clock = clock
        self._outstanding = 0

    async def start(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def states(self) -> list[ReplicaState]:
        return [ReplicaState(URL, "closed", self._outstanding)]

    async def open(self, path: str, body: bytes, headers: Mapping[str, str], method: str = "POST") -> SimulatedAnswer:
        if (method, path) == ("GET", "/models"):
            return self._json(200, orjson.dumps({"object": "list", "data": [{"id": "simulated", "object": "model"}]}))
        known = {"/chat/completions": self._chat, "/completions": self._complete, "/embeddings": self._embed}
        if method != "POST" or path not in known:
            return self._json(404, shapes.error("The simulated model does not know this.", "NotFoundError", 404))
        try:
            return await known[path](body, hashlib.sha256(body).hexdigest()[:32])
        except ValueError as error:
            return self._json(400, shapes.error(str(error), "BadRequestError", 400))

    async def _chat(self, body: bytes, name: str) -> SimulatedAnswer:
        ask = parse(body)
        written = ChatShapes(f"chatcmpl-{name}", int(self._clock()), ask.model, ask.prompt_tokens, ask.top)
        choices = [say(ask, index) for index in range(ask.choices)]
        if ask.stream:
            return self._answer(200, STREAM_HEADERS, frames(written, choices, usage=ask.usage), self._pause)
        await self._think(choices)
        return self._json(200, orjson.dumps(written.whole(choices)))

    async def _complete(self, body: bytes, name: str) -> SimulatedAnswer:
        written, data = simulated_text.completion(body, name, int(self._clock()))
        if data.get("stream") is True:
            return self._answer(200, STREAM_HEADERS, written.frames(usage=wants_usage(data)), self._pause)
        await self._think(written.choices)
        return self._json(200, orjson.dumps(written.whole()))

    async def _embed(self, body: bytes, name: str) -> SimulatedAnswer:
        return self._json(200, orjson.dumps(simulated_text.embeddings(body, name, int(self._clock()))))

    async def _think(self, choices: Sequence[Said]) -> None:
        await asyncio.sleep(min(self._pause * max(len(said.tokens) for said in choices), LONGEST_THOUGHT))

    def _json(self, status: int, body: bytes) -> SimulatedAnswer:
        return self._answer(status, JSON_HEADERS, [body], 0)

    def _answer(self, status: int, headers: Mapping[str, str], pieces: list[bytes], pause: float) -> SimulatedAnswer:
        self._outstanding += 1
        return SimulatedAnswer(status, headers, pieces, pause, self._left)

    def _left(self) -> None:
        self._outstanding -= 1


class SimulatedAnswer:
    """Implements `Answer` over frames that are known beforehand."""

    def __init__(
        self, status: int, headers: Mapping[str, str], pieces: list[bytes], pause: float, left: Callable[[], None]
    ) -> None:
        self.status = status
        self.headers = headers
        self._pieces = pieces
        self._pause = pause
        self._left: Callable[[], None] | None = left
        self._closed = False

    @property
    def content_type(self) -> str:
        return self.headers["content-type"].partition(";")[0]

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if self._pause:
                await asyncio.sleep(self._pause)
            if self._closed:
                raise UpstreamBroken("The upstream's answer broke off.")
            yield piece

    async def pump(self, take: Callable[[bytes], bool]) -> None:
        """Nothing arrives by itself: all of it comes from `chunks`."""

    async def read(self, limit: int) -> bytes:
        body = b"".join([piece async for piece in self.chunks()])
        if len(body) > limit:
            raise UpstreamBroken("The upstream's answer is too large.")
        return body

    def close(self) -> None:
        self._closed = True
        self.release()

    def release(self) -> None:
        left, self._left = self._left, None
        if left is not None:
            left()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._left is not None:
            self.close()


def frames(written: ChatShapes, choices: list[Said], *, usage: bool) -> list[bytes]:
    """The whole stream; the choices of one answer grow side by side."""
    out = [shapes.frame(written.role(index)) for index in range(len(choices))]
    for place in range(max(len(said.tokens) for said in choices) + 1):
        for index, said in enumerate(choices):
            if place < len(said.tokens):
                out.append(shapes.frame(written.delta(index, said.tokens[place])))
            elif place == len(said.tokens):
                out.append(shapes.frame(written.end(index, said.finish)))
    if usage:
        out.append(shapes.frame(written.usage_chunk(choices)))
    return [*out, b"data: [DONE]\n\n"]


def say(ask: Ask, index: int) -> Said:
    tokens = tokens_of(speak(ask.question, ask.system, index))
    if ask.max_tokens is not None and len(tokens) > ask.max_tokens:
        return Said(tokens[: ask.max_tokens], "length")
    return Said(tokens, "stop")


def parse(body: bytes) -> Ask:
    """Raises `ValueError` (orjson's is one) with a text for the client."""
    data = orjson.loads(body)
    messages = data.get("messages") if isinstance(data, dict) else None
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise ValueError("messages must be a list of messages, with at least one")
    spoken = [(str(message.get("role")), text_of(message.get("content"))) for message in messages]
    return Ask(
        model=str(data.get("model", "simulated")),
        question=next((text for role, text in reversed(spoken) if role == "user"), ""),
        system="\n".join(text for role, text in spoken if role in {"system", "developer"}),
        prompt_tokens=sum(len(tokens_of(text)) + 4 for _, text in spoken),
        choices=min(count(data.get("n")) or 1, MAX_CHOICES),
        max_tokens=count(data.get("max_completion_tokens")) or count(data.get("max_tokens")),
        stream=data.get("stream") is True,
        usage=wants_usage(data),
        top=(count(data.get("top_logprobs")) or 0) if data.get("logprobs") is True else None,
    )


def text_of(content: object) -> str:
    """The text of a message, in one string or in parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


def wants_usage(data: Mapping[str, object]) -> bool:
    options = data.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True
