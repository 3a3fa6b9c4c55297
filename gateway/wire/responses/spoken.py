"""Messages and reasoning: items that leave while the model writes them, part by part, text by text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.errors import UpstreamBroken
from gateway.wire.responses.events import (
    ANNOTATED,
    ITEM_ADDED,
    ITEM_DONE,
    KINDS,
    OUTPUT_TEXT,
    Kind,
    Teller,
    node_of,
    number,
    text_of,
)
from gateway.wire.responses.item import Item, Part, empty, kinds_of, whole_part
from gateway.wire.responses.items import LISTS, parts_of, settle, walk
from gateway.wire.responses.texts import Texts


@dataclass(slots=True)
class Speech:
    """Tells the spoken items. Every method writes what may leave to `out`, and stops where a text is blocked."""

    texts: Texts
    teller: Teller

    # -- what the upstream says

    def add(self, item: Item, out: list[bytes]) -> None:
        """Announce an item; what it already says is told like pieces."""
        begun = [(KINDS[p["type"]], p) for p in parts_of(item.body)]
        for name in LISTS:
            if item.body.get(name) is not None:
                item.body[name] = []
        walk(self.texts, item.body, f"output[{item.index}]")
        if self.texts.blocked:
            return
        self.announce(item, out)
        for kind, body in begun:
            part = self._new(item, kind, item.next_index(kind), kind.family)
            self._open(item, part, out)
            self._say(item, part, text_of(body, kind.field), out)

    def open(self, item: Item, event: dict[str, Any], out: list[bytes]) -> None:
        family = str(event["type"]).removesuffix(".added")
        body = node_of(event, "part")
        kind = KINDS.get(str(body.get("type")))
        if kind is None or kind not in kinds_of(item):
            raise UpstreamBroken("The upstream sent a content part of a kind that cannot be judged.")
        part = self._new(item, kind, number(event, kind.index), family)
        self._open(item, part, out)
        if text := body.get(kind.field):
            self._say(item, part, str(text), out)

    def piece(self, item: Item, kind: Kind, event: dict[str, Any], out: list[bytes]) -> None:
        """A delta."""
        part = self._part(item, kind, number(event, kind.index))
        text, entries = text_of(event, "delta"), event.get("logprobs") or []
        kept = self.texts.feed(part.field, text)
        logs = self.texts.feed_logprobs(part.field, entries)
        if kept or logs:
            self._open(item, part, out)
            self._tell_piece(item, part, kept, logs, out)

    def whole(self, item: Item, kind: Kind, event: dict[str, Any], out: list[bytes]) -> None:
        """The event that says a whole text."""
        part = self._part(item, kind, number(event, kind.index))
        self._close(item, part, text_of(event, kind.field), out, event.get("logprobs"))

    def close(self, item: Item, event: dict[str, Any], out: list[bytes]) -> None:
        """The event that ends a part."""
        body = node_of(event, "part")
        kind = KINDS.get(str(body.get("type")))
        if kind is None or kind not in kinds_of(item):
            raise UpstreamBroken("The upstream sent a content part of a kind that cannot be judged.")
        part = self._part(item, kind, number(event, kind.index))
        self._close(item, part, text_of(body, kind.field), out, body.get("logprobs"))
        if self.texts.blocked or part.ended:
            return
        walk(self.texts, body, part.place)
        if not self.texts.blocked:
            self._end(item, part, {**body, kind.field: part.text}, out)

    def annotate(self, item: Item, event: dict[str, Any], out: list[bytes]) -> None:
        part = self._part(item, OUTPUT_TEXT, number(event, OUTPUT_TEXT.index))
        at, note = number(event, "annotation_index"), event.get("annotation")
        if isinstance(note, dict):
            walk(self.texts, note, f"{part.place}.annotations[{at}]")
        if not self.texts.blocked:
            self._open(item, part, out)
            body = {**item.where(part), "annotation_index": at, "annotation": note if isinstance(note, dict) else None}
            self.teller.tell(out, ANNOTATED, body)

    def end(self, item: Item, body: dict[str, Any], out: list[bytes]) -> None:
        """The event that ends an item and says all of it again."""
        for name in LISTS:
            known = iter(item.listed(name))
            for said in [p for p in parts_of(body) if KINDS[p["type"]].list == name]:
                kind = KINDS[said["type"]]
                part = next(known, None) or self._new(item, kind, item.next_index(kind), kind.family)
                self._finish(item, part, said.get(part.kind.field), out)
            for part in known:
                self._finish(item, part, None, out)
        if self.texts.blocked:
            return
        settle(self.texts, body, f"output[{item.index}]")
        if not self.texts.blocked:
            self._tell_end(item, body, out)

    # -- what the gateway says

    def announce(self, item: Item, out: list[bytes]) -> None:
        self.teller.tell(out, ITEM_ADDED, {"output_index": item.index, "item": item.body})
        item.told = True

    def cut(self, item: Item, out: list[bytes], status: str = "incomplete") -> None:
        """End an item with what was told of it."""
        self.seal(item, out)
        self._tell_end(item, {**item.body, "status": status}, out)

    def seal(self, item: Item, out: list[bytes], *, done: bool = True) -> None:
        """End the open parts of an item with what was told of them. `done`: say so of their texts, too."""
        for part in item.parts.values():
            part.closed |= not done and part.kind is OUTPUT_TEXT
            self._seal(item, part, out)

    def append(self, item: Item, kind: Kind, text: str, out: list[bytes]) -> None:
        """A part of the gateway's own, told and ended."""
        index = item.next_index(kind)
        part = item.parts[kind.list, index] = Part(kind, index, "", [], kind.family)
        self._open(item, part, out)
        part.said.append(text)
        self._tell_piece(item, part, text, [], out)
        self._seal(item, part, out)

    # -- steps

    def _say(self, item: Item, part: Part, text: str, out: list[bytes]) -> None:
        kept = self.texts.feed(part.field, text)
        if kept:
            self._tell_piece(item, part, kept, [], out)

    def _part(self, item: Item, kind: Kind, index: int) -> Part:
        part = item.parts.get((kind.list, index))
        if part is None:
            return self._new(item, kind, index, kind.family)
        if part.kind is not kind:
            raise UpstreamBroken("The upstream sent a text for a part of another kind.")
        return part

    def _new(self, item: Item, kind: Kind, index: int, family: str) -> Part:
        if kind not in kinds_of(item) or (kind.list, index) in item.parts or item.ended:
            raise UpstreamBroken("The upstream sent a content part where none belongs.")
        place = f"output[{item.index}].{kind.list}[{len(item.listed(kind.list))}]"
        said = self.texts.at(f"{place}.{kind.field}").said
        part = item.parts[kind.list, index] = Part(kind, index, place, said, family)
        return part

    def _open(self, item: Item, part: Part, out: list[bytes]) -> None:
        if not part.told:
            part.told = True
            self.teller.tell(out, f"{part.family}.added", {**item.where(part), "part": empty(part.kind)})

    def _tell_piece(self, item: Item, part: Part, text: str, logs: list[dict[str, Any]], out: list[bytes]) -> None:
        body = {**item.where(part), "delta": text, **({"logprobs": logs} if part.kind is OUTPUT_TEXT else {})}
        self.teller.tell(out, f"{part.kind.events}.delta", body)

    def _close(self, item: Item, part: Part, full: str | None, out: list[bytes], logs: object = None) -> None:
        """The rest of a text, and the event that says the whole of it."""
        if part.closed:
            return
        rest = self.texts.finish(part.field, full)
        more = self.texts.feed_logprobs(part.field, [], final=True)
        self._open(item, part, out)
        if rest or more:
            self._tell_piece(item, part, rest, more, out)
        if not self.texts.blocked:
            told = self.texts.whole_logprobs(part.field, logs) if isinstance(logs, list) and logs else []
            self._seal_text(item, part, told, out)

    def _finish(self, item: Item, part: Part, full: object, out: list[bytes]) -> None:
        if self.texts.blocked:
            return
        self._close(item, part, full if isinstance(full, str) else None, out)
        if not self.texts.blocked and not part.ended:
            self._end(item, part, whole_part(part), out)

    def _seal(self, item: Item, part: Part, out: list[bytes]) -> None:
        if part.told and not part.closed:
            self._seal_text(item, part, [], out)
        if part.told and not part.ended:
            self._end(item, part, whole_part(part), out)

    def _seal_text(self, item: Item, part: Part, logs: list[dict[str, Any]], out: list[bytes]) -> None:
        part.closed = True
        body = {**item.where(part), part.kind.field: part.text}
        extra = {"logprobs": logs} if part.kind is OUTPUT_TEXT else {}
        self.teller.tell(out, f"{part.kind.events}.done", {**body, **extra})

    def _end(self, item: Item, part: Part, body: dict[str, Any], out: list[bytes]) -> None:
        part.ended = True
        self.teller.tell(out, f"{part.family}.done", {**item.where(part), "part": body})

    def _tell_end(self, item: Item, body: dict[str, Any], out: list[bytes]) -> None:
        for name in LISTS:
            known, listed = item.listed(name), body.get(name) or []
            for part, node in zip(known, listed, strict=False):
                if node["type"] == part.kind.type:
                    node[part.kind.field] = part.text
            missing = [whole_part(part) for part in known[len(listed) :] if part.text]
            if missing:
                body[name] = [*listed, *missing]
        item.ended, item.final = True, body
        self.teller.tell(out, ITEM_DONE, {"output_index": item.index, "item": body})
