"""Tokens of a request: guessed before the model has read it, counted once it has answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

BYTES = 4
"""Of text in one token, about: English in the tokenizers of today. Of other scripts it says rather too many."""
ANSWER = 256
"""Tokens of an answer for which the request names no bound."""
MEDIUM = 1000
"""Tokens of an image, a recording or a file."""
BOUNDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
MANY = 128
"""Choices at most."""
COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens")
WRITING = frozenset({"/chat/completions", "/completions"})
"""Paths of an upstream that streams its usage only to those who ask for it."""
MARK = b'"usage":'
"""A quote inside a text is escaped: this stands in no text."""


def weigh(request: Mapping[str, Any]) -> int:
    """Tokens of the prompt."""
    return sum(weight(each) for each in leaves(request)) + 1


def bound(request: Mapping[str, Any]) -> int:
    """Tokens of the answer at most; a guess where the request sets no bound."""
    named = [n for key in BOUNDS if isinstance(n := request.get(key), int) and n > 0]
    n = request.get("n")
    return min(named, default=ANSWER) * (min(n, MANY) if isinstance(n, int) and n > 0 else 1)


def weight(leaf: str | int) -> int:
    if isinstance(leaf, int):
        return 1
    if leaf.startswith("data:"):
        return MEDIUM
    return -(-(len(leaf) if leaf.isascii() else len(leaf.encode("utf-8", "surrogatepass"))) // BYTES)


def leaves(request: Mapping[str, Any]) -> Iterator[str | int]:
    """Every text of a request, and the tokens that it gives as numbers, but for what is said of the model."""
    waiting: list[object] = [value for key, value in request.items() if key not in ("model", "user", "metadata")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            medium = value.get("data") if value.get("format") or value.get("media_type") else None
            waiting += ["data:"] if isinstance(medium, str) else value.values()
        elif isinstance(value, list):
            ids = [v for v in value if isinstance(v, int)]
            yield from ids
            waiting += value if len(ids) < len(value) else []


@dataclass(slots=True)
class Usage:
    """What one exchange used, as far as the gateway sees it."""

    prompt: int
    """The guess."""
    counts: dict[str, int] = field(default_factory=dict)
    """As the upstream says."""
    frames: int = 0
    asked: bool = False
    """The model has been asked."""
    whole: bool = False
    """Its whole answer came at once."""
    ours: bool = False
    """The client did not ask for the usage: its frame is for the gateway alone."""

    def ask(self, path: str, request: dict[str, Any]) -> None:
        """The request is about to leave; where a stream would keep its usage for itself, ask for it."""
        self.asked = True
        options = request.get("stream_options")
        known = options if isinstance(options, dict) else {}
        if path in WRITING and request.get("stream") and not known.get("include_usage"):
            self.ours = True
            request["stream_options"] = {**known, "include_usage": True}

    def see(self, answer: Mapping[str, Any]) -> None:
        """A whole answer."""
        self.whole = True
        self._read(answer.get("usage"))

    def keeps(self, payload: bytes) -> bool:
        """A frame of a stream: whether it is one that the client never asked for."""
        self.frames += 1
        if MARK not in payload:
            return False
        try:
            chunk = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return False  # the stream's filter says what is wrong with it
        if not isinstance(chunk, dict):
            return False
        self._read(chunk.get("usage"))
        for outer in ("response", "message"):  # `/v1/responses`, `/v1/messages`
            inner = chunk.get(outer)
            if isinstance(inner, dict):
                self._read(inner.get("usage"))
        return self.ours and chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict)

    def _read(self, usage: object) -> None:
        if isinstance(usage, dict):
            found = {k: n for k in COUNTS if isinstance(n := usage.get(k), int) and n >= 0}
            self.counts.update(found)

    @property
    def total(self) -> int | None:
        """Tokens used; None where nobody can tell."""
        if not self.asked:
            return 0
        known = self.counts
        if "total_tokens" in known:
            return known["total_tokens"]
        if known:
            names = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")
            return sum(known.get(n, 0) for n in names)
        return None if self.whole else self.prompt + self.frames
