"""A message or a reasoning item, as far as the client knows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.wire.responses.events import ITEM_ADDED, ITEM_DONE, KINDS, OUTPUT_TEXT, Kind


@dataclass(slots=True)
class Part:
    """A part of an item, as far as the client knows it."""

    kind: Kind
    index: int
    """Its number in events. vLLM counts on from item to item, so that it need not be the place in the list."""
    place: str
    """In the whole response: `output[0].content[0]`."""
    said: list[str]
    family: str
    told: bool = False
    """The event that opens the part has left."""
    closed: bool = False
    """The event that says its whole text has left."""
    ended: bool = False
    """The event that closes it has left."""

    @property
    def field(self) -> str:
        return f"{self.place}.{self.kind.field}"

    @property
    def text(self) -> str:
        return "".join(self.said)


@dataclass(slots=True)
class Item:
    """An item of the answer, as far as the client knows it."""

    index: int
    body: dict[str, Any]
    """As it was announced, without its texts."""
    parts: dict[tuple[str, int], Part] = field(default_factory=dict)
    told: bool = False
    ended: bool = False
    final: dict[str, Any] = field(default_factory=dict)
    """As it was ended."""

    @property
    def id(self) -> str:
        return str(self.body.get("id") or "")

    def listed(self, name: str) -> list[Part]:
        return [part for part in self.parts.values() if part.kind.list == name]

    def next_index(self, kind: Kind) -> int:
        return max((part.index for part in self.listed(kind.list)), default=-1) + 1

    def where(self, part: Part) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index, part.kind.index: part.index}

    def untell(self, name: str, event: Mapping[str, Any]) -> None:
        """An event that was written did not leave after all."""
        if name == ITEM_ADDED:
            self.told = False
        elif name == ITEM_DONE:
            self.ended = False
        for part in list(self.parts.values()):
            if part.kind.index in event and event[part.kind.index] == part.index:
                self._untell_part(part, name, event)

    def _untell_part(self, part: Part, name: str, event: Mapping[str, Any]) -> None:
        if name == f"{part.family}.added":
            del self.parts[part.kind.list, part.index]
        elif name == f"{part.family}.done":
            part.ended = False
        elif name == f"{part.kind.events}.done":
            part.closed = False
        elif name == f"{part.kind.events}.delta":
            text = part.text
            part.said[:] = [text[: len(text) - len(event["delta"])]]


def kinds_of(item: Item) -> Iterator[Kind]:
    """The kinds of parts that belong in the item."""
    types = ("output_text", "refusal") if item.body["type"] == "message" else ("reasoning_text", "summary_text")
    return (KINDS[t] for t in types)


def empty(kind: Kind) -> dict[str, Any]:
    extra: dict[str, Any] = {"annotations": [], "logprobs": []} if kind is OUTPUT_TEXT else {}
    return {"type": kind.type, kind.field: "", **extra}


def whole_part(part: Part) -> dict[str, Any]:
    return {**empty(part.kind), part.kind.field: part.text}
