"""The output of a streamed response: its items, as the client comes to know them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import UpstreamBroken
from gateway.wire.responses import refusal
from gateway.wire.responses.events import (
    ANNOTATED,
    CALL_DELTAS,
    CALL_WHOLES,
    DELTAS,
    ITEM_ADDED,
    ITEM_DONE,
    PARTS_ADDED,
    PARTS_DONE,
    PROGRESS,
    REFUSAL,
    WHOLES,
    Teller,
    node_of,
    number,
)
from gateway.wire.responses.held import HeldItem, Release
from gateway.wire.responses.item import Item
from gateway.wire.responses.items import SPOKEN, kind_of, settle
from gateway.wire.responses.spoken import Speech
from gateway.wire.responses.texts import Texts
from gateway.wire.surface import Ask

HELD_EVENTS = frozenset({*CALL_DELTAS, *CALL_WHOLES, *PROGRESS})


@dataclass(slots=True)
class Output:
    """Follows the items of one stream."""

    texts: Texts
    teller: Teller
    spoken: dict[int, Item] = field(default_factory=dict)
    waiting: dict[int, HeldItem] = field(default_factory=dict)
    """Items that were announced to the gateway alone."""
    complete: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Held items that were told whole."""
    speech: Speech = field(init=False)
    release: Release = field(init=False)

    def __post_init__(self) -> None:
        self.speech = Speech(self.texts, self.teller)
        self.release = Release(self.texts, self.teller)

    @property
    def held(self) -> int:
        return sum(item.held for item in self.waiting.values())

    def take(self, name: str, event: dict[str, Any], out: list[bytes]) -> None:
        """An event of the upstream; what may leave goes to `out`."""
        if name == ITEM_ADDED:
            self._add(event, out)
        elif name == ITEM_DONE:
            self._end(event, out)
        elif name in DELTAS:
            self.speech.piece(self._item(event), DELTAS[name], event, out)
        elif name in WHOLES:
            self.speech.whole(self._item(event), WHOLES[name], event, out)
        elif name in PARTS_ADDED:
            self.speech.open(self._item(event), event, out)
        elif name in PARTS_DONE:
            self.speech.close(self._item(event), event, out)
        elif name == ANNOTATED:
            self.speech.annotate(self._item(event), event, out)
        elif name in HELD_EVENTS:
            self._step(event)
        else:
            raise UpstreamBroken("The upstream sent an event of a kind that cannot be judged.")

    def _add(self, event: dict[str, Any], out: list[bytes]) -> None:
        index, body = number(event, "output_index"), node_of(event, "item")
        kind = kind_of(body)
        if index in self.spoken or index in self.complete:
            raise UpstreamBroken("The upstream announced an item in the place of another.")
        if kind in SPOKEN:
            self.waiting.pop(index, None)
            self.spoken[index] = item = Item(index, body)
            self.speech.add(item, out)
        else:
            self.waiting[index] = HeldItem(index, kind)

    def _end(self, event: dict[str, Any], out: list[bytes]) -> None:
        index, body = number(event, "output_index"), node_of(event, "item")
        kind = kind_of(body)
        if kind in SPOKEN and index in self.spoken:
            item = self.spoken[index]
            if item.body["type"] != kind:
                raise UpstreamBroken("The upstream ended an item as another.")
            if not item.ended:
                self.speech.end(item, body, out)
        elif index in self.waiting and self.waiting[index].kind == kind:
            self.release.end(self.waiting.pop(index), body, out)
            if not self.texts.blocked:
                self.complete[index] = body
        elif index not in self.complete:  # vLLM may say twice that a code interpreter is done
            raise UpstreamBroken("The upstream ended an item that it had not announced.")

    def _item(self, event: dict[str, Any]) -> Item:
        item = self.spoken.get(number(event, "output_index"))
        if item is None or item.ended:
            raise UpstreamBroken("The upstream sent a text of an item that is not open.")
        return item

    def _step(self, event: dict[str, Any]) -> None:
        index = number(event, "output_index")
        if index in self.waiting:
            self.waiting[index].step(event)
        elif index not in self.complete:
            raise UpstreamBroken("The upstream sent an event of an item that it had not announced.")

    def end(self, output: object, out: list[bytes]) -> list[dict[str, Any]]:
        """The output of the response as it ends: what was told, and what only its last event says."""
        if not isinstance(output, list):
            raise UpstreamBroken("The upstream sent an answer of unknown shape.")
        for item in self.spoken.values():
            if not item.ended:
                self.speech.end(item, self._last_word(item, output), out)
        if self.texts.blocked:
            return []
        told = self._told()
        seen: dict[str, int] = {}
        for body in told:
            seen[body["type"]] = seen.get(body["type"], 0) + 1
        at = max([*self.spoken, *self.complete], default=-1) + 1
        for body in output:
            kind = kind_of(body)
            seen[kind] = seen.get(kind, 0) - 1
            if seen[kind] < 0:
                settle(self.texts, body, f"output[{at}]")
                told.append(body)
                at += 1
        return told

    def _last_word(self, item: Item, output: list[Any]) -> dict[str, Any]:
        """What the last event says of an item that it finds open. Its text may go on there, so it counts."""
        kind = item.body["type"]
        known = {**{i: spoken.body for i, spoken in self.spoken.items()}, **self.complete}
        before = sum(i < item.index and body["type"] == kind for i, body in known.items())
        same = [body for body in output if kind_of(body) == kind]
        said = same[before] if before < len(same) else {"status": "incomplete"}
        return {**item.body, **said, "id": item.body.get("id")}

    def _told(self) -> list[dict[str, Any]]:
        items = {**{i: item.final for i, item in self.spoken.items() if item.told}, **self.complete}
        return [items[i] for i in sorted(items)]

    def refuse(self, ask: Ask, out: list[bytes]) -> list[dict[str, Any]]:
        """End what is open, with what was told of it, and say the refusal; the output as it then stands."""
        kind = refusal.kind_for(ask.request)
        self.spoken = {i: item for i, item in self.spoken.items() if item.told}
        still = [item for _, item in sorted(self.spoken.items()) if item.told and not item.ended]
        last = still[-1] if still and still[-1].body["type"] == "message" else None
        for item in still:
            if item is not last:
                self.speech.cut(item, out)
        if last is None:
            index = max([*self.spoken, *self.complete], default=-1) + 1
            last = self.spoken[index] = Item(index, refusal.message(ask))
            self.speech.announce(last, out)
        else:
            # SDKs parse the JSON of a text that is done, and raise a parser's error where it was cut
            self.speech.seal(last, out, done=kind is not REFUSAL)
        self.speech.append(last, kind, ask.refusal, out)
        self.speech.cut(last, out)
        return self._told()

    def untell(self, name: str, event: Mapping[str, Any]) -> None:
        """An event that was written did not leave after all."""
        index = event.get("output_index")
        if not isinstance(index, int):
            return
        item = self.spoken.get(index)
        if item is None:
            self.complete.pop(index, None)
            return
        item.untell(name, event)
        if not item.told:
            del self.spoken[index]
