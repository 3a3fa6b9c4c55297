"""One chat answer on its way through the guards, chunk by chunk. A whole body is a stream of one chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.errors import UpstreamBroken
from gateway.wire.chat_frames import (
    NO_USAGE,
    calls_apart,
    empty,
    ending,
    parse_chunk,
    refused_choice,
    refused_frames,
    upstream_said,
    wants_usage,
)
from gateway.wire.choice import ChoiceFilter
from gateway.wire.judge import Judge
from gateway.wire.nested import Asides, check_keys, texts_below
from gateway.wire.sse import DONE, frame
from gateway.wire.surface import Ask, Track

PROMPT_ECHOES = ("prompt_logprobs", "prompt_token_ids", "prompt_text")
"""Fields in which vLLM repeats the prompt, the owner's part included."""
TOKEN_IDS = ("token_ids",)
"""Fields that spell the answer in token ids, past every guard that reads text."""
TOP = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier", "obfuscation"}
)
"""Fields of a chunk that hold no text of the model, or that are seen to elsewhere."""


@dataclass(slots=True)
class ChatAnswer:
    """Implements `AnswerFilter`."""

    ask: Ask
    judge: Judge
    guarded: bool = True
    done: bool = False
    clean: bool = False
    choices: dict[int, ChoiceFilter] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)
    """id, object, created and model of the first chunk."""
    usage: bytes | None = None
    """The upstream's usage chunk."""
    spoken: bool = False
    """A chunk has been let go: the role is told."""
    asides: Asides = field(init=False)
    expected: int = field(init=False)
    """How many choices the request asked for."""
    stripped: tuple[str, ...] = field(init=False)
    """Fields that show the owner's prompt, or the answer in a form that no guard reads."""

    def __post_init__(self) -> None:
        self.asides = Asides(self.judge.acts_on)
        n = self.ask.request.get("n")
        self.expected = n if isinstance(n, int) else 1
        self.stripped = (
            *(PROMPT_ECHOES if self.ask.hide_prompt else ()),
            *(TOKEN_IDS if self.judge.withholds else ()),
        )

    @property
    def over(self) -> bool:
        ended = sum(c.blocked or c.finished for c in self.choices.values())
        return ended >= max(self.expected, len(self.choices), 1)

    @property
    def held(self) -> int:
        return sum(c.held for c in self.choices.values())

    # -- whole answers

    def whole(self, body: dict[str, Any]) -> tuple[bool, list[int]]:
        changed, blocked = self._feed(body, "message")
        return changed or self.judge.withholds, blocked

    def refuse_whole(self, body: dict[str, Any], choices: Iterable[int]) -> None:
        gone = set(choices)
        for choice in body["choices"]:
            if (index := choice.get("index", 0)) in gone:
                choice.clear()
                choice.update(self.refused_choice(index))

    def refused_choice(self, index: int) -> dict[str, Any]:
        return refused_choice(index, self.ask)

    # -- streams

    def frame(self, payload: bytes, out: list[bytes]) -> list[int]:
        if payload == b"[DONE]":
            self.done = self.clean = True
            return []
        chunk = parse_chunk(payload)
        if "error" in chunk and "choices" not in chunk:
            raise upstream_said(chunk)
        self._remember(chunk)
        changed, blocked = self._feed(chunk, "delta")
        if not chunk["choices"] and "usage" in chunk:  # sent at the end, after every choice
            self.usage = self._rendered(chunk, payload, changed=changed)
        elif not changed or not empty(chunk):
            self.spoken = True
            if changed and (calls := calls_apart(chunk)):
                out.append(frame(orjson.dumps(calls)))
            data = self._rendered(chunk, payload, changed=changed)
            out.append(self._with_findings(data) if self._last(chunk) else frame(data))
        return blocked

    def _rendered(self, chunk: dict[str, Any], payload: bytes, *, changed: bool) -> bytes:
        """Where guards act, only what was read leaves: bytes may hold a key twice, of which a parser shows one."""
        return orjson.dumps(chunk) if changed or self.judge.withholds else payload

    def _remember(self, chunk: dict[str, Any]) -> None:
        if not self.last:
            keys = ("id", "object", "created", "model")
            self.last = {k: chunk[k] for k in keys if k in chunk}

    def _last(self, chunk: dict[str, Any]) -> bool:
        return any(c.get("finish_reason") for c in chunk["choices"]) and self.over

    def _with_findings(self, data: bytes) -> bytes:
        self.watch()
        return frame(data.rstrip()[:-1] + b',"wardgate":' + orjson.dumps(self.ask.findings()) + b"}")

    def hold(self, choices: Sequence[int]) -> None:
        for index in choices:
            self.choices[index].blocked = True

    def refuse(self, choices: Sequence[int], out: list[bytes]) -> None:
        self.hold(choices)
        findings = None
        if self.over:
            findings = self.ask.findings()
            self.done = True
        out.append(self.refusing(list(choices), findings))
        self.spoken = True

    def refusing(self, choices: list[int], findings: dict[str, Any] | None) -> bytes:
        return refused_frames(self.last, self.ask, choices, role=not self.spoken, wardgate=findings)

    def flush(self, out: list[bytes]) -> list[int]:
        blocked: list[int] = []
        for index, known in self.choices.items():
            if known.blocked or known.finished or not self.guarded:
                continue
            choice = self.blank(index)
            self.judged(known, choice, "delta", final=True)
            chunk = {**self.last, "choices": [choice]}
            if not empty(chunk):
                out.append(frame(orjson.dumps(chunk)))
            if known.blocked:
                blocked.append(index)
        return blocked

    def blank(self, index: int) -> dict[str, Any]:
        """A choice of a chunk that says nothing yet."""
        return {"index": index, "delta": {}, "finish_reason": None}

    def ending(self) -> bytes:
        if self.usage is not None:
            return frame(self.usage) + DONE
        return ending(self.last, NO_USAGE if wants_usage(self.ask.request) else None)

    def without(self, data: bytes, choices: Sequence[int]) -> bytes:
        return b"".join(self._again(f, choices) for f in data.split(b"\n\n") if f)

    def _again(self, held: bytes, gone: Sequence[int]) -> bytes:
        chunk = orjson.loads(held.removeprefix(b"data: "))
        known = len(chunk["choices"])
        chunk["choices"] = [c for c in chunk["choices"] if c.get("index", 0) not in gone]
        if not chunk["choices"] and known:
            return b""
        if "wardgate" in chunk:
            chunk["wardgate"] = self.ask.findings()
        return frame(orjson.dumps(chunk))

    # -- both

    def _feed(self, chunk: dict[str, Any], key: str) -> tuple[bool, list[int]]:
        """Filter a chunk in place: whether it changed, and which choices it left blocked."""
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise UpstreamBroken("The upstream sent a chunk of unknown shape.")
        changed = bool(self.stripped) and self._strip(chunk)
        if self.guarded and (chunk.get("usage") or not chunk.keys() <= TOP):
            changed |= self._judge_others(chunk)
        blocked: list[int] = []
        kept: list[dict[str, Any]] = []
        for choice in choices:
            known, ended = self._known(choice)
            if ended:
                changed = True
                continue
            kept.append(choice)
            changed |= bool(self.stripped) and self._strip(choice)
            if self.guarded:
                changed |= self._filter(known, choice, key, blocked)
            elif choice.get("finish_reason") is not None:
                known.finished = True
        if len(kept) != len(choices):
            chunk["choices"] = kept
        return changed, blocked

    def _judge_others(self, chunk: dict[str, Any]) -> bool:
        """Fields that the gateway does not know pass, judged; one that a guard blocks is left out."""
        changed = chunk.pop("wardgate", None) is not None  # ours alone
        names = [name for name in chunk if name not in TOP or name == "usage"]
        check_keys({name: chunk[name] for name in names}, self.judge.acts_on)
        for name in names:
            for slot in texts_below({name: chunk[name]}, ""):
                release = self.judge.filter().feed(slot.text, final=True)
                self.judge.note(release, slot.path, None)
                release.blocked |= self.asides.goes_on(slot.path, slot.text)
                if release.blocked or slot.path == name:
                    chunk[name] = None if release.blocked else release.text
                else:
                    slot.put(release.text)
                changed |= release.blocked or release.text != slot.text
        return changed

    def _known(self, choice: object) -> tuple[ChoiceFilter, bool]:
        """The choice, and whether it was blocked before."""
        if not isinstance(choice, dict) or not isinstance(choice.get("index", 0), int):
            raise UpstreamBroken("The upstream sent a choice of unknown shape.")
        index: int = choice.get("index", 0)
        known = self.choices.get(index)
        if known is None:
            known = self.choices[index] = self.choice(index)
        return known, known.blocked

    def choice(self, index: int) -> ChoiceFilter:
        return ChoiceFilter(index, self.judge)

    def _filter(self, known: ChoiceFilter, choice: dict[str, Any], key: str, blocked: list[int]) -> bool:
        final = key == "message" or choice.get("finish_reason") is not None
        changed = self.judged(known, choice, key, final=final)
        if known.blocked:
            blocked.append(known.index)
            choice["finish_reason"] = None
            choice.pop("logprobs", None)
            changed = True
        return changed

    def judged(self, known: ChoiceFilter, choice: dict[str, Any], key: str, *, final: bool) -> bool:
        """Filter one chunk of a choice in place; whether it changed."""
        return known.feed(choice, key, final=final)

    def _strip(self, node: dict[str, Any]) -> bool:
        changed = False
        for name in self.stripped:
            if node.get(name) is not None:
                node[name] = None
                changed = True
        return changed

    def finished(self) -> frozenset[int]:
        return frozenset(i for i, c in self.choices.items() if c.finished and not c.blocked)

    def tracks(self) -> Iterator[Track]:
        for index, known in self.choices.items():
            for place, written in known.written():
                yield Track(index, place, written)

    def untold(self) -> dict[str, str]:
        return {k: v for known in self.choices.values() for k, v in known.untold().items()}

    def watch(self) -> None:
        if self.guarded and not self.judge.watch.idle:
            for choice in self.choices.values():
                choice.watch()
