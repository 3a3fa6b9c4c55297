"""`/v1/messages` under attack: blocks of every kind, each in pieces, with events where none belong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.wire.messages import MessagesWire
from gateway.wire.surface import Wire
from tests.fakes_messages import USAGE, message
from tests.gateway.wire.attacks.chance import Chance
from tests.gateway.wire.attacks.oracle import Carrier, Mode, payloads_of, strings

FIELDS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
NAMES = frozenset({"type", "id", "tool_use_id", "signature", "index"})
OF_EVENT = frozenset({"type", "index", "content_block", "delta", "message", "usage", "wardgate"})
Event = dict[str, Any]


@dataclass
class MessagesAttack:
    """Implements `Attack`."""

    chance: Chance
    blocks: list[tuple[dict[str, Any], list[Event]]] = field(default_factory=list)
    """A whole block, and the deltas that say it."""
    stop: str | None = None
    """A stop sequence."""
    tidy: bool = True
    """The stream says what the whole answer says, and no more."""
    wire: Wire = field(default_factory=MessagesWire)
    contradicts: bool = False

    def __post_init__(self) -> None:
        c = self.chance
        self.blocks = [self.block() for _ in range(c.r.choice((0, 1, 1, 2, 3)))]
        self.stop = c.text(1) if c.often(0.1) else None

    def request(self) -> dict[str, Any]:
        return {"messages": [], "max_tokens": 9}

    # -- what the model says

    def block(self) -> tuple[dict[str, Any], list[Event]]:
        make = self.chance.r.choice((self.text, self.text, self.thinking, self.call, self.result))
        return make()

    def text(self) -> tuple[dict[str, Any], list[Event]]:
        c = self.chance
        said, cited = c.text(), [self.citation() for _ in range(c.r.choice((0, 0, 1, 2)))]
        block = {"type": "text", "text": said, **({"citations": cited} if cited else {})}
        pieces = [{"type": "text_delta", "text": p} for p in c.cut(said)]
        return block, c.mixed(pieces, [{"type": "citations_delta", "citation": each} for each in cited])

    def citation(self) -> dict[str, Any]:
        c = self.chance
        return {"type": "char_location", "cited_text": c.text(), "document_title": c.text(1), "start_char_index": 0}

    def thinking(self) -> tuple[dict[str, Any], list[Event]]:
        c = self.chance
        said = c.text()
        pieces = [{"type": "thinking_delta", "thinking": p} for p in c.cut(said)]
        signed = [{"type": "signature_delta", "signature": "5f0c3a"}]
        return {"type": "thinking", "thinking": said, "signature": "5f0c3a"}, [*pieces, *signed]

    def call(self) -> tuple[dict[str, Any], list[Event]]:
        c = self.chance
        given = {"to": c.text(), "n": [1, c.text(1)]}
        raw = json.dumps(given, ensure_ascii=c.often(0.5))
        block = {"type": "tool_use", "id": "toolu_1", "name": c.text(1) or "f", "input": given}
        return block, [{"type": "input_json_delta", "partial_json": p} for p in c.cut(raw)]

    def result(self) -> tuple[dict[str, Any], list[Event]]:
        c = self.chance
        page = {"type": "web_search_result", "title": c.text(), "url": c.text(1), "encrypted_content": "Zm9v"}
        return {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [page]}, []

    # -- how the upstream says it

    def stream(self) -> list[bytes]:
        c = self.chance
        start = message() | {"stop_reason": None}
        events: list[Event] = [{"type": "message_start", "message": start}]
        for index, (block, deltas) in enumerate(self.blocks):
            events.append({"type": "content_block_start", "index": index, "content_block": opened(block)})
            events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
            events.append({"type": "content_block_stop", "index": index})
        ended = {"stop_reason": "end_turn", "stop_sequence": self.stop}
        events += [{"type": "message_delta", "delta": ended, "usage": USAGE}, {"type": "message_stop"}]
        for event in events:
            if c.often(0.02) and not event["type"].endswith("_stop"):
                event["note"], self.tidy = c.text(), False
        for _ in range(c.r.choice((0, 0, 1))):
            events.insert(c.r.randint(1, len(events)), {"type": "ping"})
        if c.often(0.1):
            self.spoil(events)
        return [orjson.dumps(e) if c.often(0.6) else json.dumps(e).encode() for e in events]

    def spoil(self, events: list[Event]) -> None:
        """An event too many, too few, or in another's place."""
        self.tidy, r = False, self.chance.r
        at, to = r.randrange(len(events)), r.randrange(len(events))
        how = r.random()
        if how < 0.3:
            events.insert(to, events[at])
        elif how < 0.6:
            del events[at]
        else:
            events[at], events[to] = events[to], events[at]

    def body(self) -> dict[str, Any] | None:
        if not self.tidy:
            return None
        copied: list[dict[str, Any]] = orjson.loads(orjson.dumps([block for block, _ in self.blocks]))
        return message(*copied) | {"stop_sequence": self.stop}

    # -- what is read

    def read(self, payloads: Sequence[Any], *, sent: bool) -> Mapping[Carrier, Sequence[str]]:
        said: dict[Carrier, list[str]] = {}
        closed: set[int] = set()
        over = False
        for event in payloads:
            index = event.get("index")
            if event["type"] == "content_block_stop":
                closed.add(index)
            elif sent and (index in closed or (over and index is not None)):
                continue
            if event["type"] == "content_block_start":
                read_block(event["content_block"], f"{index}", said)
            elif event["type"] == "content_block_delta":
                read_delta(event["delta"], f"{index}", said)
            elif event["type"] == "message_delta":
                over = True
                add(said, "stop", Mode.EACH, event["delta"].get("stop_sequence") or "")
            for name in event.keys() - OF_EVENT - {"error"}:
                add(said, name, Mode.ASIDE, event[name])
        return said

    def read_whole(self, body: dict[str, Any]) -> Mapping[Carrier, Sequence[str]]:
        said: dict[Carrier, list[str]] = {}
        for index, block in enumerate(body["content"]):
            read_block(block, f"{index}", said)
            if block["type"] == "tool_use":
                add(said, f"{index} input", Mode.JSON, json.dumps(block["input"]))
        add(said, "stop", Mode.EACH, body["stop_sequence"] or "")
        return said

    def check_form(self, frames: Sequence[bytes], *, broken: bool) -> set[int]:
        return check_events(frames, broken=broken)


def opened(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block as its first event has it."""
    if block["type"] in ("text", "thinking"):
        return {"type": block["type"], block["type"]: ""}
    return {**block, "input": {}} if block["type"] == "tool_use" else dict(block)


def add(said: dict[Carrier, list[str]], name: str, mode: Mode, text: str) -> None:
    said.setdefault(Carrier(0, name, mode), []).append(text)


def read_block(block: Mapping[str, Any], place: str, said: dict[Carrier, list[str]]) -> None:
    kind = block["type"]
    if kind in ("text", "thinking"):
        add(said, f"{place} {kind}", Mode.GROWING, block[kind])
    for name, value in block.items():
        if name == "name":
            add(said, f"{place} name", Mode.EACH, value)
        elif name in ("citations", "content"):
            said.setdefault(Carrier(0, f"{place} {name}", Mode.EACH), []).extend(texts_of(value))


def read_delta(delta: Mapping[str, Any], place: str, said: dict[Carrier, list[str]]) -> None:
    kind = delta["type"]
    if kind == "citations_delta":
        said.setdefault(Carrier(0, f"{place} citations", Mode.EACH), []).extend(texts_of(delta["citation"]))
    elif kind == "input_json_delta":
        add(said, f"{place} input", Mode.JSON, delta["partial_json"])
    elif kind in FIELDS:
        add(said, f"{place} {FIELDS[kind]}", Mode.GROWING, delta[FIELDS[kind]])


def texts_of(node: Any) -> list[str]:
    """Its texts in order; names and keys are none."""
    if isinstance(node, dict):
        return [t for k, v in node.items() if k not in NAMES for t in texts_of(v)]
    return list(strings(node)) if isinstance(node, str) else [t for v in node for t in texts_of(v)] if node else []


def check_events(frames: Sequence[bytes], *, broken: bool) -> set[int]:
    """Blocks one after the other, one end, or an error in its place."""
    names = [f.partition(b"\n")[0].removeprefix(b"event: ").decode() for f in frames]
    events = payloads_of(frames)
    assert names == [e["type"] for e in events]
    assert names[-1] == ("error" if broken else "message_stop")
    opened, count = None, 0
    for event in events:
        if event["type"] == "content_block_start":
            assert (opened, event["index"]) == (None, count)
            opened, count = event["index"], count + 1
        elif event["type"].startswith("content_block"):
            assert event["index"] == opened
            opened = None if event["type"] == "content_block_stop" else opened
    ends = [e["delta"]["stop_reason"] for e in events if e["type"] == "message_delta"]
    assert broken or ends
    return {0} if "refusal" in ends else set()
