"""What the simulated model makes of bare prompts, and of texts to embed."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from gateway.upstream import shapes
from gateway.upstream.persona import speak
from gateway.upstream.shapes import JSON, Said, count, tokens_of

MAX_CHOICES = 64
MAX_DIMENSIONS = 4096
DIMENSIONS = 64


@dataclass(frozen=True, slots=True)
class Texts:
    """An answer of `/v1/completions`. `top` is the number of alternatives to each token; None: no logprobs."""

    id: str
    created: int
    model: str
    prompt_tokens: int
    choices: Sequence[Said]
    top: int | None

    def whole(self) -> JSON:
        choices = [self._choice(i, said.tokens, 0, said.finish) for i, said in enumerate(self.choices)]
        return self._head() | {"choices": choices, "usage": self._usage()}

    def frames(self, *, usage: bool) -> list[bytes]:
        """The whole stream; the choices grow side by side."""
        out: list[JSON] = []
        ends = [0] * len(self.choices)
        for place in range(max(len(said.tokens) for said in self.choices) + 1):
            for i, said in enumerate(self.choices):
                if place < len(said.tokens):
                    out.append(self._choice(i, said.tokens[place : place + 1], ends[i], None))
                    ends[i] += len(said.tokens[place])
                elif place == len(said.tokens):
                    out.append(self._choice(i, (), ends[i], said.finish))
        chunks: list[JSON] = [self._head() | {"choices": [choice]} for choice in out]
        if usage:
            chunks.append(self._head() | {"choices": [], "usage": self._usage()})
        return [*map(shapes.frame, chunks), b"data: [DONE]\n\n"]

    def _head(self) -> JSON:
        return {"id": self.id, "object": "text_completion", "created": self.created, "model": self.model}

    def _usage(self) -> JSON:
        written = sum(len(said.tokens) for said in self.choices)
        total = self.prompt_tokens + written
        return {"prompt_tokens": self.prompt_tokens, "total_tokens": total, "completion_tokens": written}

    def _choice(self, index: int, tokens: Sequence[str], offset: int, finish: str | None) -> JSON:
        logprobs = columns(tokens, offset, self.top) if self.top is not None else None
        text: JSON = {"index": index, "text": "".join(tokens), "logprobs": logprobs}
        return text | {"finish_reason": finish, "stop_reason": None}


def columns(tokens: Sequence[str], offset: int, top: int) -> JSON:
    """Logprobs of these tokens, the first of which stands at `offset`."""
    offsets: list[int] = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return {
        "text_offset": offsets,
        "token_logprobs": [shapes.weighed(token, 0)["logprob"] for token in tokens],
        "tokens": list(tokens),
        "top_logprobs": [{t: shapes.weighed(t, r)["logprob"] for r, t in enumerate(likely(x, top))} for x in tokens],
    }


def likely(token: str, top: int) -> list[str]:
    return list(dict.fromkeys([token, token.upper(), token.lower(), f"{token}s", " the"]))[: max(1, top)]


def completion(body: bytes, name: str, created: int) -> tuple[Texts, JSON]:
    """The answer, and the request it is for. Raises `ValueError` with a text for the client."""
    data = parsed(body)
    prompts = texts_of(data.get("prompt"))
    n = min(count(data.get("n")) or 1, MAX_CHOICES)
    choices = [said(data, prompt, index) for prompt in prompts for index in range(n)]
    spent, top = sum(len(tokens_of(prompt)) for prompt in prompts), data.get("logprobs")
    top = top if type(top) is int else None
    return Texts(f"cmpl-{name}", created, str(data.get("model", "simulated")), spent, choices, top), data


def said(data: JSON, prompt: str, index: int) -> Said:
    """What goes on from a prompt; all but its last paragraph instructs."""
    system, _, question = prompt.rpartition("\n\n")
    tokens, limit = tokens_of(speak(question, system, index)), count(data.get("max_tokens"))
    finish = "length" if limit is not None and len(tokens) > limit else "stop"
    echoed = tokens_of(prompt) if data.get("echo") is True else []
    return Said([*echoed, *tokens[:limit]], finish)


def embeddings(body: bytes, name: str, created: int) -> JSON:
    """Vectors of the words: texts that share words are near to each other."""
    data = parsed(body)
    texts = texts_of(data.get("input"))
    size = min(count(data.get("dimensions")) or DIMENSIONS, MAX_DIMENSIONS)
    packed = data.get("encoding_format") == "base64"
    rows = [
        {"index": i, "object": "embedding", "embedding": pack(v) if packed else v}
        for i, v in enumerate(vector(text, size) for text in texts)
    ]
    spent = sum(len(tokens_of(text)) for text in texts)
    head: JSON = {"id": f"embd-{name}", "object": "list", "created": created, "model": data.get("model")}
    return head | {"data": rows, "usage": {"prompt_tokens": spent, "total_tokens": spent}}


def vector(text: str, size: int) -> list[float]:
    """Of length 1."""
    out = [0.0] * size
    for word in re.findall(r"\w+", text.lower()):
        digest = hashlib.sha256(word.encode()).digest()
        out[int.from_bytes(digest[:4], "big") % size] += 1.0 if digest[4] % 2 else -1.0
    length = math.sqrt(sum(x * x for x in out)) or 1.0
    return [x / length for x in out]


def pack(values: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def parsed(body: bytes) -> JSON:
    data = orjson.loads(body)
    if not isinstance(data, dict):
        raise ValueError("the body must be an object")
    return data


def texts_of(given: object) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("the simulated model reads a text or a list of texts")
    return texts
