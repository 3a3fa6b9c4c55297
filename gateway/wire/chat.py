"""Chat completions: upstream chunks in, chunks that may leave out. A whole body is a stream of one chunk."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.errors import UpstreamBroken
from gateway.wire.choice import ChoiceFilter, Judge
from gateway.wire.sse import DONE, frame

PROMPT_ECHOES = ("prompt_logprobs", "prompt_token_ids", "prompt_text")
"""Fields in which vLLM repeats the prompt, the owner's part included."""
TOKEN_IDS = ("token_ids",)
"""Fields that spell the answer in token ids, past every guard that reads text."""


@dataclass(slots=True)
class ChatAnswer:
    """Filters one answer, chunk by chunk, whichever way it comes."""

    judge: Judge
    key: str
    """`delta` or `message`."""
    expected: int
    """How many choices the request asked for."""
    hide_prompt: bool
    refusal: str
    choices: dict[int, ChoiceFilter] = field(default_factory=dict)
    usage: dict[str, Any] | None = None
    last: dict[str, Any] = field(default_factory=dict)
    """id, object, created and model of the newest chunk."""
    guarded: bool = True
    stripped: tuple[str, ...] = field(init=False)
    """Fields that show the owner's prompt, or the answer in a form that no guard reads."""

    def __post_init__(self) -> None:
        self.stripped = (
            *(PROMPT_ECHOES if self.hide_prompt else ()),
            *(() if self.judge.lane.idle else TOKEN_IDS),
        )

    @property
    def blocked(self) -> bool:
        return any(c.blocked for c in self.choices.values())

    @property
    def over(self) -> bool:
        """Every choice has ended, by itself or by a block."""
        ended = sum(c.blocked or c.finished for c in self.choices.values())
        return ended >= max(self.expected, len(self.choices), 1)

    @property
    def held(self) -> int:
        return sum(c.held for c in self.choices.values())

    def feed(self, chunk: dict[str, Any]) -> tuple[bool, list[int]]:
        """Filter a chunk in place: whether it changed, and which choices it left blocked."""
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise UpstreamBroken("The upstream sent a chunk of unknown shape.")
        if isinstance(chunk.get("usage"), dict):
            self.usage = chunk["usage"]
        changed = bool(self.stripped) and self._strip(chunk)
        blocked: list[int] = []
        kept: list[dict[str, Any]] = []
        for choice in choices:
            index, after_end = self._index(choice)
            if after_end:
                changed = True
                continue
            kept.append(choice)
            if self.guarded:
                changed |= self._filter(index, choice, blocked)
            else:
                self._follow(index, choice)
        if len(kept) != len(choices):
            chunk["choices"] = kept
        return changed, blocked

    def _index(self, choice: object) -> tuple[int, bool]:
        if not isinstance(choice, dict) or not isinstance(choice.get("index", 0), int):
            raise UpstreamBroken("The upstream sent a choice of unknown shape.")
        index: int = choice.get("index", 0)
        known = self.choices.get(index)
        if known is None:
            self.choices[index] = ChoiceFilter(index, self.key, self.judge)
        return index, known is not None and known.blocked

    def _filter(self, index: int, choice: dict[str, Any], blocked: list[int]) -> bool:
        known = self.choices[index]
        final = self.key == "message" or choice.get("finish_reason") is not None
        changed = self._strip(choice) if not self.judge.lane.idle else False
        changed |= known.feed(choice, final=final)
        if known.blocked:
            blocked.append(index)
            choice["finish_reason"] = None
            choice.pop("logprobs", None)
            changed = True
        return changed

    def _follow(self, index: int, choice: dict[str, Any]) -> None:
        """Without guards a choice is only followed to its end."""
        if choice.get("finish_reason") is not None:
            self.choices[index].finished = True

    def _strip(self, node: dict[str, Any]) -> bool:
        changed = False
        for name in self.stripped:
            if node.get(name) is not None:
                node[name] = None
                changed = True
        return changed

    def flush(self) -> list[dict[str, Any]]:
        """Choices that the upstream left without an end: what they still hold is judged and let go."""
        out: list[dict[str, Any]] = []
        for index, known in self.choices.items():
            if not known.blocked and not known.finished and self.guarded:
                choice: dict[str, Any] = {"index": index, self.key: {}, "finish_reason": None}
                known.feed(choice, final=True)
                out.append(choice)
        return out

    def texts(self) -> dict[str, str]:
        """Field -> what the model wrote there since the last call, for the flag log."""
        return {k: v for known in self.choices.values() for k, v in known.untold().items()}


def refused_message(refusal: str) -> dict[str, Any]:
    return {"role": "assistant", "content": refusal, "refusal": None}


def refused_choice(index: int, refusal: str) -> dict[str, Any]:
    return {"index": index, "message": refused_message(refusal), "logprobs": None, "finish_reason": "content_filter"}


def refused_body(id: str, model: str, refusal: str, count: int, wardgate: dict[str, Any]) -> bytes:
    """The answer to a blocked prompt under `on_block: refuse`."""
    choices = [refused_choice(i, refusal) for i in range(count)]
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    head = {"id": id, "object": "chat.completion", "created": int(time.time()), "model": model}
    return orjson.dumps({**head, "choices": choices, "usage": usage, "wardgate": wardgate})


def refused_frames(
    head: dict[str, Any], refusal: str, indices: list[int], *, role: bool, wardgate: dict[str, Any] | None
) -> bytes:
    """The refusal as deltas, and the chunks that end the choices."""
    lead: dict[str, Any] = {"role": "assistant"} if role else {}
    out = []
    for n, index in enumerate(indices):
        delta = {"index": index, "delta": {**lead, "content": refusal}, "logprobs": None, "finish_reason": None}
        out.append(frame(orjson.dumps({**head, "choices": [delta]})))
        end: dict[str, Any] = {"index": index, "delta": {}, "logprobs": None, "finish_reason": "content_filter"}
        extra = {"wardgate": wardgate} if wardgate is not None and n == len(indices) - 1 else {}
        out.append(frame(orjson.dumps({**head, "choices": [end], **extra})))
    return b"".join(out)


def ending(head: dict[str, Any], usage: dict[str, Any] | None) -> bytes:
    """The usage chunk, if it was asked for, and `[DONE]`."""
    if usage is None:
        return DONE
    return frame(orjson.dumps({**head, "choices": [], "usage": usage})) + DONE


def parse_chunk(data: bytes) -> dict[str, Any]:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamBroken("The upstream sent something that is not JSON.") from None
    if not isinstance(chunk, dict):
        raise UpstreamBroken("The upstream sent a chunk of unknown shape.")
    return chunk
