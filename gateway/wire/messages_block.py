"""One content block of an answer from `/v1/messages`, and the texts that all blocks of an answer share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.errors import InvalidRequest, UpstreamBroken
from gateway.wire.arguments import Arguments
from gateway.wire.blocks import CALLS, RESULTS, walk
from gateway.wire.judge import Judge
from gateway.wire.nested import Asides, check_keys
from gateway.wire.written import Written
from guards.calls import ToolCall
from guards.stream import TextFilter

GROWING = frozenset({"text", "thinking"})
"""Blocks whose text, in the key of their own name, comes piece by piece."""
SEALED = frozenset({"redacted_thinking", "container_upload"})
KINDS = GROWING | CALLS | RESULTS | SEALED
DELTAS: Mapping[str, frozenset[str]] = {
    "text_delta": frozenset({"text"}),
    "citations_delta": frozenset({"text"}),
    "thinking_delta": frozenset({"thinking"}),
    "signature_delta": frozenset({"thinking"}),
    "input_json_delta": CALLS,
}
"""Delta -> the blocks that it may go into."""
CARRIERS = ("text", "thinking", "partial_json")
NONE: frozenset[str] = frozenset()


@dataclass(slots=True)
class Texts:
    """Every text of one answer, by its path, and how it was judged."""

    judge: Judge
    raw: dict[str, Written] = field(default_factory=dict)
    """Path -> what the model wrote there, for the flag log and the guards that score. JSON has its escapes undone."""
    blocked: bool = False
    asides: Asides = field(init=False)

    def __post_init__(self) -> None:
        self.asides = Asides(self.judge.acts_on)

    def piece(self, growing: TextFilter, path: str, text: str, *, final: bool) -> str:
        """What may leave of a text that comes piece by piece."""
        if text:
            self._write(path, text)
        release = growing.feed(text, final=final)
        if release.decisions or release.failures:
            self.judge.note(release, path, 0)
        self.blocked |= release.blocked
        return release.text

    def whole(self, path: str, text: str, *, kept: bool = True) -> str:
        """A text that comes at once, as it may leave. `kept`: it is no mere name."""
        if kept:
            self._write(path, text)
        release = self.judge.filter().feed(text, final=True)
        self.judge.note(release, path, 0)
        self.blocked |= release.blocked
        return release.text

    def arguments(self, path: str, raw: str) -> str:
        """The JSON of a tool call."""
        view = Arguments.read(raw)
        self._write(path, view.text)
        release = self.judge.filter().feed(view.text, final=True)
        self.judge.note(release, path, 0)
        self.blocked |= release.blocked
        return view.redact(release.decisions, self.judge.redacts)

    def rest(self, node: dict[str, Any], path: str, skip: frozenset[str]) -> bool:
        """Judge every other text in `node` and below, in place; whether any changed."""
        changed = False
        unread = skip | {"input"} if node.get("type") in CALLS else skip  # JSON by the model is judged as a text
        check_keys({key: value for key, value in node.items() if key not in unread}, self.judge.acts_on)
        try:
            slots = list(walk(node, path, "assistant", skip=skip))
        except InvalidRequest:
            raise UpstreamBroken("The upstream sent an answer that is nested too deeply.") from None
        for slot in slots:
            text = self.arguments(slot.path, slot.text) if slot.json else self.whole(slot.path, slot.text)
            if self.asides.goes_on(slot.path, slot.text):
                text = ""
            if text != slot.text:
                slot.put(text)
                changed = True
        return changed

    def _write(self, path: str, text: str) -> None:
        written = self.raw.get(path)
        if written is None:
            written = self.raw[path] = Written()
        written.add(text)

    def watch(self) -> None:
        """Show all texts to the monitored guards."""
        if not self.judge.watch.idle:
            for path, written in self.raw.items():
                self.judge.watch_text(written.text, path, 0)

    def untold(self) -> Iterator[tuple[str, str]]:
        for path, written in self.raw.items():
            if fresh := written.untold():
                yield path, fresh


@dataclass(slots=True)
class BlockFilter:
    """Filters a block: a whole one, or its start, its deltas and its end."""

    index: int
    kind: str
    texts: Texts
    growing: TextFilter | None = None
    """Of a text or thinking block."""
    start: dict[str, Any] | None = None
    """The start of a tool call, which waits for the end of its input."""
    parts: list[str] = field(default_factory=list)
    """The input of a tool call so far, in JSON."""
    citations: int = 0

    @classmethod
    def new(cls, index: int, node: object, texts: Texts) -> BlockFilter:
        kind = node.get("type") if isinstance(node, dict) else None
        if not isinstance(kind, str) or kind not in KINDS:
            raise UpstreamBroken("The upstream sent a content block of a type that no guard can judge.")
        return cls(index, kind, texts, texts.judge.filter() if kind in GROWING else None)

    @property
    def path(self) -> str:
        return f"content[{self.index}]"

    @property
    def calls(self) -> bool:
        """It calls a tool, and is held until it is whole."""
        return self.kind in CALLS

    @property
    def held(self) -> int:
        return (self.growing.held if self.growing else 0) + sum(map(len, self.parts))

    def open(self, node: dict[str, Any], *, final: bool = False) -> bool:
        """The block as it begins, in place; `final`: nothing follows. Whether it changed."""
        changed = False
        if self.growing is not None:
            changed = self._grow(node, self.kind, final=final)
        elif self.calls:
            changed = self._call(node)
        seen = frozenset({self.kind, "name"} if self.calls else {self.kind})
        return self.texts.rest(node, self.path, seen) or changed

    def _call(self, node: dict[str, Any]) -> bool:
        """Judge a call that is complete, and its name."""
        said = node.get("name")
        if not isinstance(said, str):
            raise UpstreamBroken("The upstream sent a tool call of unknown shape.")
        raw = "".join(self.parts) or spelled(node.get("input"))
        self.texts.blocked |= self.texts.judge.call(ToolCall(said, raw), self.path, 0)
        name = node["name"] = self.texts.whole(f"{self.path}.name", said, kept=False)
        return name != said

    def _grow(self, node: dict[str, Any], key: str, *, final: bool) -> bool:
        text = node.get(key)
        if not isinstance(text, str | None) or self.growing is None:
            raise UpstreamBroken("The upstream sent a content block of unknown shape.")
        out = self.texts.piece(self.growing, f"{self.path}.{key}", text or "", final=final)
        if out == (text or ""):
            return False
        node[key] = out
        return True

    def delta(self, delta: dict[str, Any]) -> bool:
        """The next piece, in place; whether it changed."""
        kind = delta.get("type")
        if not isinstance(kind, str) or self.kind not in DELTAS.get(kind, NONE):
            raise UpstreamBroken("The upstream sent a delta of a type that no guard can judge.")
        if kind in ("text_delta", "thinking_delta"):
            changed, done = self._grow(delta, self.kind, final=False), self.kind
        elif kind == "input_json_delta":
            changed, done = self._gather(delta), "partial_json"
        elif kind == "citations_delta":
            where = f"{self.path}.citations[{self.citations}]"
            changed, done = self._cite(delta, where), "citation"
        else:
            changed, done = False, ""
        if len(delta) > 2 or not done:
            changed |= self.texts.rest(delta, self.path, frozenset({done}))
        return changed

    def _gather(self, delta: dict[str, Any]) -> bool:
        part = delta.get("partial_json")
        if not isinstance(part, str):
            raise UpstreamBroken("The upstream sent the input of a tool call in an unknown shape.")
        self.parts.append(part)
        delta["partial_json"] = ""
        return True

    def _cite(self, delta: dict[str, Any], where: str) -> bool:
        self.citations += 1
        citation = delta.get("citation")
        if not isinstance(citation, dict):
            raise UpstreamBroken("The upstream sent a citation of unknown shape.")
        return self.texts.rest(citation, where, NONE)

    def close(self) -> Iterator[dict[str, Any]]:
        """What must leave before the block's end: held text, or a whole tool call."""
        if self.growing is not None:
            text = self.texts.piece(self.growing, f"{self.path}.{self.kind}", "", final=True)
            if text:
                yield self._event({"type": f"{self.kind}_delta", self.kind: text})
        elif self.start is not None:
            self.open(self.start["content_block"])
            raw = "".join(self.parts)
            redacted = self.texts.arguments(f"{self.path}.input", raw) if raw else ""
            if not self.texts.blocked:
                yield self.start
                if raw:
                    yield self._event({"type": "input_json_delta", "partial_json": redacted})

    def _event(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self.index, "delta": delta}


def spelled(value: object) -> str:
    """The input of a call that came as an object."""
    try:
        return orjson.dumps(value or {}).decode()
    except orjson.JSONEncodeError:
        raise UpstreamBroken("The upstream sent a tool call that is nested too deeply.") from None
