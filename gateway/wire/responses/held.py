"""Calls of tools and the like: items that are held until they are complete, and leave at once or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gateway.wire.responses.events import (
    CALL_DELTAS,
    CALL_WHOLES,
    CALLS,
    ITEM_ADDED,
    ITEM_DONE,
    Call,
    Teller,
)
from gateway.wire.responses.items import settle
from gateway.wire.responses.texts import Texts

RESULTS = ("output", "outputs", "results", "error")
"""What a tool gave back: not there yet when its call is announced."""


@dataclass(slots=True)
class HeldItem:
    """An item that the client does not know of."""

    index: int
    kind: str
    pieces: list[str] = field(default_factory=list)
    full: str | None = None
    """The text that its own event said to be whole."""
    steps: list[str] = field(default_factory=list)
    """Events that the upstream sent of it, in order, each once."""

    @property
    def held(self) -> int:
        return sum(len(piece) for piece in self.pieces)

    def step(self, event: dict[str, Any]) -> None:
        """Take in an event between the first and the last."""
        name = str(event["type"])
        if name in CALL_DELTAS:
            self.pieces.append(str(event.get("delta") or ""))
        elif name in CALL_WHOLES and isinstance(event.get(CALL_WHOLES[name].field), str):
            self.full = event[CALL_WHOLES[name].field]
        if name not in self.steps:
            self.steps.append(name)


@dataclass(slots=True)
class Release:
    """Tells a held item that has been judged."""

    texts: Texts
    teller: Teller

    def end(self, item: HeldItem, body: dict[str, Any], out: list[bytes]) -> None:
        """The event that ends the item: judge it, and tell all of it unless it is blocked."""
        call = CALLS.get(item.kind)
        if call is not None and not isinstance(body.get(call.field), str):
            body[call.field] = item.full if item.full is not None else "".join(item.pieces)
        settle(self.texts, body, f"output[{item.index}]")
        if self.texts.blocked:
            return
        self.teller.tell(out, ITEM_ADDED, {"output_index": item.index, "item": announced(body, call)})
        for name in item.steps:
            self.teller.tell(out, name, self._step(item, name, body))
        self.teller.tell(out, ITEM_DONE, {"output_index": item.index, "item": body})

    def _step(self, item: HeldItem, name: str, body: dict[str, Any]) -> dict[str, Any]:
        where = {"item_id": body.get("id") or "", "output_index": item.index}
        if name in CALL_DELTAS:
            return {**where, "delta": body[CALL_DELTAS[name].field]}
        if name in CALL_WHOLES:
            named = {"name": body["name"]} if "name" in body and name == "response.function_call_arguments.done" else {}
            return {**where, CALL_WHOLES[name].field: body[CALL_WHOLES[name].field], **named}
        return where


def announced(body: dict[str, Any], call: Call | None) -> dict[str, Any]:
    """The item as it stands at the beginning."""
    begun = {k: v for k, v in body.items() if k not in RESULTS}
    if "status" in begun:
        begun["status"] = "in_progress"
    if call is not None:
        begun[call.field] = ""
    return begun
