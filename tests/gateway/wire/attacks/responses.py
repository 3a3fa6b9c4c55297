"""`/v1/responses` under attack: items of every kind, whose texts are said in pieces, and again, and again."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.wire.logprobs import SPECIAL
from gateway.wire.responses.wire import ResponsesWire
from gateway.wire.surface import Wire
from tests.fakes_responses import Event, call, custom, events, message, reasoning, refusal, response, summary
from tests.gateway.wire.attacks.chance import Chance, bare
from tests.gateway.wire.attacks.chat import stripped
from tests.gateway.wire.attacks.oracle import Carrier, Mode, payloads_of

FIELDS = {
    "response.output_text": "text",
    "response.refusal": "text",
    "response.reasoning_text": "text",
    "response.reasoning_summary_text": "text",
    "response.function_call_arguments": "arguments",
    "response.custom_tool_call_input": "input",
}
"""Kind of event -> the carrier that it says."""
ENDS = ("response.completed", "response.incomplete")
Item = dict[str, Any]


@dataclass
class ResponsesAttack:
    """Implements `Attack`."""

    chance: Chance
    items: list[tuple[Item, list[str]]] = field(default_factory=list)
    """A whole item, and the pieces of its text."""
    around: dict[str, Any] = field(default_factory=dict)
    """What stands in the response beside its output."""
    contradicts: bool = False
    wire: Wire = field(default_factory=lambda: ResponsesWire("owner"))

    def __post_init__(self) -> None:
        c = self.chance
        self.items = [self.item(n) for n in range(c.r.choice((0, 1, 1, 2, 3)))]
        self.around = {"note": c.text()} if c.often(0.1) else {}

    def request(self) -> dict[str, Any]:
        return {"input": "Hi"}

    # -- what the model says

    def item(self, n: int) -> tuple[Item, list[str]]:
        c = self.chance
        make = c.r.choice((message, message, refusal, reasoning, summary, call, custom))
        text = c.json(c.text()) if make is call else c.text()
        item = make(text, id=f"i_{n}")
        if make in (call, custom):
            item["name"] = c.text(1)
        if make is message and c.often(0.15):
            item["content"][0]["annotations"] = [{"type": "url_citation", "title": c.text(), "url": c.text(1)}]
        if make is message and c.often(0.1):
            item["mood"] = c.text()
        return item, c.cut(text)

    # -- how the upstream says it

    def stream(self) -> list[bytes]:
        c = self.chance
        items = copy.deepcopy(self.items)
        said = events(*items, final=self.around)
        for event in said:
            if "logprobs" in event and c.often(0.5):
                event["logprobs"] = [c.entry(t) for t in c.tokens(event.get("delta") or event.get("text") or "")]
        for item, _ in items:
            for part in item.get("content") or ():
                if part.get("annotations"):
                    said.insert(self.place(said), annotated(item, part["annotations"][0]))
        if c.often(0.15):
            self.spoil(said)
        numbered = [{"sequence_number": n} | event for n, event in enumerate(said)]
        return [orjson.dumps(e) if c.often(0.6) else json.dumps(e).encode() for e in numbered]

    def place(self, said: list[Event]) -> int:
        return self.chance.r.randint(2, len(said) - 1)

    def spoil(self, said: list[Event]) -> None:
        """An event too many, too few, in another's place, or one that contradicts the others."""
        self.contradicts, c = True, self.chance
        at, to, how = self.place(said), self.place(said), c.r.random()
        if how < 0.2:
            said.insert(to, said[at])
        elif how < 0.4:
            del said[at]
        elif how < 0.6:
            said[at], said[to] = said[to], said[at]
        else:
            for key in ("text", "refusal", "arguments", "input", "delta"):
                if key in said[at]:
                    said[at][key] = c.text()

    def body(self) -> dict[str, Any] | None:
        if self.contradicts:
            return None
        return response([copy.deepcopy(item) for item, _ in self.items], **self.around)

    # -- what is read

    def read(self, payloads: Sequence[Any], *, sent: bool) -> Mapping[Carrier, Sequence[str]]:
        said: dict[Carrier, list[str]] = {}
        for event in payloads:
            kind, _, step = event["type"].rpartition(".")
            if step == "delta":
                where = f"{event['output_index']} {event.get('content_index', event.get('summary_index', 0))}"
                add(said, f"{where} {FIELDS[kind]}", event["delta"], mode_of(FIELDS[kind]))
            for entry in event.get("logprobs") or event.get("part", {}).get("logprobs") or ():
                read_entry(entry, said, sent=sent)
            if event["type"] == "response.output_text.annotation.added":
                read_rest(event["annotation"], said, "seen")
            if step == "done":
                read_rest(event, said, "again")
            if event["type"] in ENDS:
                read_response(event["response"], said)
        return said

    def read_whole(self, body: dict[str, Any]) -> Mapping[Carrier, Sequence[str]]:
        said: dict[Carrier, list[str]] = {}
        read_response(body, said)
        return said

    def check_form(self, frames: Sequence[bytes], *, broken: bool) -> set[int]:
        return check_events(frames, broken=broken)


def annotated(item: Item, annotation: Mapping[str, Any]) -> Event:
    where = {"item_id": item["id"], "output_index": int(item["id"][2:]), "content_index": 0, "annotation_index": 0}
    return {"type": "response.output_text.annotation.added", **where, "annotation": dict(annotation)}


def mode_of(carrier: str) -> Mode:
    return Mode.JSON if carrier == "arguments" else Mode.GROWING


def add(said: dict[Carrier, list[str]], name: str, text: str, mode: Mode = Mode.EACH) -> None:
    said.setdefault(Carrier(0, name, mode), []).append(text)


def read_response(body: Mapping[str, Any], said: dict[Carrier, list[str]]) -> None:
    """The whole response at its end."""
    add(said, "note", body.get("note") or "")
    for n, item in enumerate(body["output"]):
        read_item(item, said, f"whole {n}")


def read_item(item: Mapping[str, Any], said: dict[Carrier, list[str]], place: str) -> None:
    for name in ("name", "mood", "input"):
        if isinstance(item.get(name), str):
            add(said, f"{place} {name}", item[name])
    if "arguments" in item:
        add(said, f"{place} arguments", item["arguments"], Mode.JSON)
    for listed in ("summary", "content"):
        for part in item.get(listed) or ():
            add(said, f"{place} {listed} text", part.get("text", part.get("refusal")))
            for note in part.get("annotations") or ():
                add(said, f"{place} notes", note["title"])
                add(said, f"{place} notes", note["url"])


def read_rest(event: Mapping[str, Any], said: dict[Carrier, list[str]], name: str) -> None:
    """What says a text again: it may say what any of them may."""
    for key in ("text", "refusal", "input", "title", "url", "arguments"):
        if isinstance(event.get(key), str):
            add(said, f"{name} {key}", event[key], Mode.ASIDE_JSON if key == "arguments" else Mode.ASIDE)
    for node in (event.get("part"), event.get("item")):
        if isinstance(node, dict):
            read_rest(node, said, name)
            for part in [*(node.get("summary") or ()), *(node.get("content") or ())]:
                read_rest(part, said, name)


def read_entry(entry: Mapping[str, Any], said: dict[Carrier, list[str]], *, sent: bool) -> None:
    others = said.setdefault(Carrier(0, "alternatives", Mode.SEEN), [])
    others += [other["token"] for other in entry["top_logprobs"]]
    if sent:
        return
    assert entry.keys() <= {"token", "logprob", "bytes", "top_logprobs"}
    if not SPECIAL.fullmatch(entry["token"]):
        texts = ["".join(pieces) for carrier, pieces in said.items() if carrier.name.endswith("text")]
        assert stripped(entry["token"]) in stripped("\0".join(texts)), "a token left that no text spells"
    said.setdefault(Carrier(0, "tokens", Mode.SEEN), []).append(entry["token"])
    assert bare(bytes(entry["bytes"] or b"").decode()) in bare(entry["token"])


def check_events(frames: Sequence[bytes], *, broken: bool) -> set[int]:
    """Events are numbered one by one, what is announced is ended, and whoever says a text again says what was told."""
    names = [f.partition(b"\n")[0].removeprefix(b"event: ").decode() for f in frames]
    told = payloads_of(frames)
    assert names == [e["type"] for e in told]
    assert [e["sequence_number"] for e in told] == list(range(len(told)))
    if broken:
        assert names[-1] == "error"
        return set()
    assert names[-1] in ENDS
    added = [e["output_index"] for e in told if e["type"] == "response.output_item.added"]
    done = {e["output_index"]: e["item"] for e in told if e["type"] == "response.output_item.done"}
    assert sorted(added) == sorted(done)
    assert told[-1]["response"]["output"][: len(done)] == [done[i] for i in sorted(done)]
    return {0} if names[-1] == "response.incomplete" else set()
