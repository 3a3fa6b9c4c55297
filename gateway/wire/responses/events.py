"""The events of a streamed response, and what each of them carries. An event that is not named here never leaves.

Sources: `openai.types.responses.ResponseStreamEvent`; `response.reasoning_part.*` is vLLM's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from gateway.errors import UpstreamBroken

OPENING = frozenset({"response.created", "response.queued", "response.in_progress"})
ENDING = frozenset({"response.completed", "response.incomplete", "response.failed"})
ITEM_ADDED = "response.output_item.added"
ITEM_DONE = "response.output_item.done"
ANNOTATED = "response.output_text.annotation.added"
CONTENT_PART = "response.content_part"
REASONING_PART = "response.reasoning_part"
SUMMARY_PART = "response.reasoning_summary_part"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of part whose text comes in pieces."""

    type: str
    field: str
    """Where the text stands in the part, and in the event that says the whole of it."""
    events: str
    """`<events>.delta` brings a piece, `<events>.done` says the whole."""
    list: str
    """Where the part stands in its item."""
    index: str
    """Which of the list an event is about."""
    family: str
    """`<family>.added` and `<family>.done` open and close the part."""


OUTPUT_TEXT = Kind("output_text", "text", "response.output_text", "content", "content_index", CONTENT_PART)
REFUSAL = Kind("refusal", "refusal", "response.refusal", "content", "content_index", CONTENT_PART)
REASONING = Kind("reasoning_text", "text", "response.reasoning_text", "content", "content_index", REASONING_PART)
SUMMARY = Kind("summary_text", "text", "response.reasoning_summary_text", "summary", "summary_index", SUMMARY_PART)
KINDS: Mapping[str, Kind] = {k.type: k for k in (OUTPUT_TEXT, REFUSAL, REASONING, SUMMARY)}
DELTAS: Mapping[str, Kind] = {f"{k.events}.delta": k for k in KINDS.values()}
WHOLES: Mapping[str, Kind] = {f"{k.events}.done": k for k in KINDS.values()}
PARTS_ADDED = frozenset(f"{family}.added" for family in (CONTENT_PART, REASONING_PART, SUMMARY_PART))
PARTS_DONE = frozenset(f"{family}.done" for family in (CONTENT_PART, REASONING_PART, SUMMARY_PART))


class Call(NamedTuple):
    """An item whose text is held until the whole of it has been judged."""

    field: str
    events: str


CALLS: Mapping[str, Call] = {
    "function_call": Call("arguments", "response.function_call_arguments"),
    "mcp_call": Call("arguments", "response.mcp_call_arguments"),
    "custom_tool_call": Call("input", "response.custom_tool_call_input"),
    "code_interpreter_call": Call("code", "response.code_interpreter_call_code"),
}
CALL_DELTAS: Mapping[str, Call] = {f"{c.events}.delta": c for c in CALLS.values()}
CALL_WHOLES: Mapping[str, Call] = {f"{c.events}.done": c for c in CALLS.values()}
PROGRESS = frozenset(
    {
        *(f"response.web_search_call.{s}" for s in ("in_progress", "searching", "completed")),
        *(f"response.file_search_call.{s}" for s in ("in_progress", "searching", "completed")),
        *(f"response.code_interpreter_call.{s}" for s in ("in_progress", "interpreting", "completed")),
        *(f"response.mcp_call.{s}" for s in ("in_progress", "completed", "failed")),
        *(f"response.mcp_list_tools.{s}" for s in ("in_progress", "completed", "failed")),
    }
)
"""How far a tool has come that runs on the model's side: no text."""


@dataclass(slots=True)
class Teller:
    """Numbers the events that leave, one by one, whatever was held back between them."""

    next: int = 0

    def tell(self, out: list[bytes], name: str, body: Mapping[str, Any]) -> None:
        out.append(frame(name, orjson.dumps({**body, "type": name, "sequence_number": self.next})))
        self.next += 1

    def forward(self, out: list[bytes], event: Mapping[str, Any], payload: bytes) -> None:
        """As it came, but for its number. Only where nobody judges: a parser does not show all that bytes hold."""
        name = str(event["type"])
        if event.get("sequence_number") == self.next and b"\n" not in payload:
            out.append(frame(name, payload))
            self.next += 1
        else:
            self.tell(out, name, event)


def frame(name: str, data: bytes) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


def parse_frame(data: bytes) -> dict[str, Any]:
    """An event of ours, read back."""
    event: dict[str, Any] = orjson.loads(data.partition(b"\ndata: ")[2])
    return event


def number(event: Mapping[str, Any], key: str) -> int:
    """An index of an event."""
    value = event.get(key)
    if type(value) is not int or not 0 <= value < 1 << 20:
        raise UpstreamBroken("The upstream sent an event without its place in the answer.")
    return value


def text_of(event: Mapping[str, Any], key: str) -> str:
    value = event.get(key)
    if not isinstance(value, str):
        raise UpstreamBroken("The upstream sent an event without its text.")
    return value


def node_of(event: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = event.get(key)
    if not isinstance(value, dict):
        raise UpstreamBroken("The upstream sent an event of unknown shape.")
    return value
