"""The JSON that vLLM writes for chat completions, and its parts that other surfaces share."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

JSON = dict[str, object]


@dataclass(frozen=True, slots=True)
class Said:
    """One choice: its tokens, and why it ended."""

    tokens: Sequence[str]
    finish: str


@dataclass(frozen=True, slots=True)
class ChatShapes:
    """Writes one answer, whole or as frames. `top` is the number of alternatives to each token; None: no logprobs."""

    id: str
    created: int
    model: str
    prompt_tokens: int
    top: int | None

    def whole(self, choices: Sequence[Said]) -> JSON:
        written = [self._choice(index, said) for index, said in enumerate(choices)]
        more: JSON = {"service_tier": None, "system_fingerprint": None, "usage": self.usage(choices)}
        return self._head("chat.completion") | {"choices": written} | more | {"prompt_logprobs": None}

    def _choice(self, index: int, said: Said) -> JSON:
        message: JSON = {
            "role": "assistant",
            "content": "".join(said.tokens),
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "tool_calls": [],
            "reasoning": None,
        }
        end: JSON = {"logprobs": self._logprobs(said.tokens), "finish_reason": said.finish, "stop_reason": None}
        return {"index": index, "message": message} | end | {"token_ids": None}

    def role(self, index: int) -> JSON:
        return self._chunk(index, {"role": "assistant", "content": ""})

    def delta(self, index: int, token: str) -> JSON:
        return self._chunk(index, {"content": token}, logprobs=self._logprobs([token]))

    def end(self, index: int, finish: str) -> JSON:
        return self._chunk(index, {"content": ""}, finish=finish)

    def usage_chunk(self, choices: Sequence[Said]) -> JSON:
        return self._head("chat.completion.chunk") | {"choices": [], "usage": self.usage(choices)}

    def usage(self, choices: Sequence[Said]) -> JSON:
        completion = sum(len(said.tokens) for said in choices)
        total = self.prompt_tokens + completion
        counts: JSON = {"prompt_tokens": self.prompt_tokens, "total_tokens": total, "completion_tokens": completion}
        return counts | {"prompt_tokens_details": None}

    def _chunk(self, index: int, delta: JSON, *, logprobs: JSON | None = None, finish: str | None = None) -> JSON:
        choice: JSON = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        if finish is not None:
            choice["stop_reason"] = None
        return self._head("chat.completion.chunk") | {"choices": [choice | {"token_ids": None}]}

    def _head(self, kind: str) -> JSON:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _logprobs(self, tokens: Sequence[str]) -> JSON | None:
        if self.top is None:
            return None
        return {"content": [self._logprob(token, self.top) for token in tokens]}

    def _logprob(self, token: str, top: int) -> JSON:
        others = [token, token.upper(), token.lower(), f"{token}s", " the", " a"][:top]
        alternatives = [weighed(other, rank) for rank, other in enumerate(others)]
        return weighed(token, 0) | {"top_logprobs": alternatives}


def weighed(token: str, rank: int) -> JSON:
    """A token with a likelihood that falls with its rank and varies with its length."""
    probability = (0.5 + 0.4 / (1 + len(token) % 5)) / (1 + 3 * rank)
    return {"token": token, "logprob": math.log(probability), "bytes": list(token.encode(errors="replace"))}


def tokens_of(text: str) -> list[str]:
    """About a word each, with the space before it, as tokenizers cut."""
    return re.findall(r"\s*\S+", text)


def count(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None


def frame(data: JSON) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(data)


def error(message: str, kind: str, status: int) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": status}})
