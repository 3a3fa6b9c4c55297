"""What vLLM sends at `/v1/responses`, whole and as events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.fakes import Reply, Request, stream

Event = dict[str, Any]
USAGE = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 0, "input_tokens_per_turn": [], "cached_tokens_per_turn": []},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 0, "tool_output_tokens": 0},
    "total_tokens": 10,
}


def response(output: Sequence[Any] = (), status: str = "completed", **more: Any) -> dict[str, Any]:
    """A response object with every field that vLLM fills."""
    usage = USAGE if status in ("completed", "incomplete") else None
    return {
        "id": "resp_1",
        "created_at": 1700000000,
        "incomplete_details": None,
        "instructions": None,
        "metadata": None,
        "model": "fake",
        "object": "response",
        "output": list(output),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "background": False,
        "max_output_tokens": 100,
        "max_tool_calls": None,
        "previous_response_id": None,
        "prompt": None,
        "reasoning": None,
        "service_tier": "auto",
        "status": status,
        "text": None,
        "top_logprobs": None,
        "truncation": "disabled",
        "usage": usage,
        "user": None,
        "input_messages": None,
        "output_messages": None,
        "kv_transfer_params": None,
    } | more


def text_part(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": None} | more


def message(text: str, id: str = "msg_1", **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [text_part(text)],
        "phase": None,
    } | more


def refusal(text: str, id: str = "msg_1") -> dict[str, Any]:
    return message("", id, content=[{"type": "refusal", "refusal": text}])


def reasoning(text: str, id: str = "rs_1", **more: Any) -> dict[str, Any]:
    content = [{"type": "reasoning_text", "text": text}]
    return {"id": id, "type": "reasoning", "summary": [], "content": content, "status": None} | more


def summary(text: str, id: str = "rs_1") -> dict[str, Any]:
    return reasoning("", id, content=None, summary=[{"type": "summary_text", "text": text}])


def call(arguments: str, name: str = "mail", id: str = "fc_1", **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "type": "function_call",
        "call_id": f"call_{id}",
        "name": name,
        "arguments": arguments,
        "status": "completed",
    } | more


def custom(text: str, name: str = "shell", id: str = "ct_1") -> dict[str, Any]:
    return {"id": id, "type": "custom_tool_call", "call_id": f"call_{id}", "name": name, "input": text}


def whole(*output: Any, **more: Any) -> Reply:
    return Reply([json.dumps(response(output, **more)).encode()])


def frames(events: Iterable[Event]) -> list[bytes]:
    """Events as vLLM frames and numbers them."""
    out = []
    for n, event in enumerate(events):
        data = {"sequence_number": n} | event
        out.append(b"event: " + str(event["type"]).encode() + b"\ndata: " + json.dumps(data).encode() + b"\n\n")
    return out


def events(*items: tuple[Mapping[str, Any], Sequence[str]], final: Mapping[str, Any] | None = None) -> list[Event]:
    """A streamed answer of these items, each said in pieces. The last event says them again, under other ids."""
    begun = response(status="in_progress", **{k: v for k, v in (final or {}).items() if k in ("id", "instructions")})
    said: list[Event] = [{"type": f"response.{name}", "response": begun} for name in ("created", "in_progress")]
    for index, (item, pieces) in enumerate(items):
        said += item_events(item, pieces, index)
    again = [{**item, "id": f"again_{index}"} for index, (item, _) in enumerate(items)]
    return [*said, {"type": "response.completed", "response": response(again) | dict(final or {})}]


def item_events(item: Mapping[str, Any], pieces: Sequence[str], index: int = 0) -> list[Event]:
    """One item of a stream, from its announcement to its end."""
    writes = {"message": spoken, "reasoning": spoken, "function_call": called, "custom_tool_call": called}
    return writes[item["type"]](item, pieces, index)


def spoken(item: Mapping[str, Any], pieces: Sequence[str], index: int) -> list[Event]:
    name = "summary" if item.get("summary") else "content"
    part = item[name][0]
    where = {"item_id": item["id"], "output_index": index, f"{name}_index": 0}
    field = "refusal" if part["type"] == "refusal" else "text"
    events = {"output_text": "output_text", "refusal": "refusal", "reasoning_text": "reasoning_text"}
    kind = f"response.{events.get(part['type'], 'reasoning_summary_text')}"
    opens = {"reasoning_text": "response.reasoning_part", "summary_text": "response.reasoning_summary_part"}
    family = opens.get(part["type"], "response.content_part")
    extra: dict[str, Any] = {"logprobs": []} if field == "text" and part["type"] == "output_text" else {}
    return [
        added(dict(item) | {name: [], "status": "in_progress"}, index),
        {"type": f"{family}.added", **where, "part": part | {field: ""}},
        *({"type": f"{kind}.delta", **where, "delta": piece, **extra} for piece in pieces),
        {"type": f"{kind}.done", **where, field: part[field], **extra},
        {"type": f"{family}.done", **where, "part": part},
        done(item, index),
    ]


def called(item: Mapping[str, Any], pieces: Sequence[str], index: int) -> list[Event]:
    function = item["type"] == "function_call"
    field, kind = ("arguments", "function_call_arguments") if function else ("input", "custom_tool_call_input")
    where = {"item_id": item["id"], "output_index": index}
    named = {"name": item["name"]} if function else {}
    return [
        added(dict(item) | {field: "", "status": "in_progress"}, index),
        *({"type": f"response.{kind}.delta", **where, "delta": piece} for piece in pieces),
        {"type": f"response.{kind}.done", **where, field: item[field], **named},
        done(item, index),
    ]


def added(item: Mapping[str, Any], index: int = 0) -> Event:
    return {"type": "response.output_item.added", "output_index": index, "item": dict(item)}


def done(item: Mapping[str, Any], index: int = 0) -> Event:
    return {"type": "response.output_item.done", "output_index": index, "item": dict(item)}


def cut(text: str, size: int = 3) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def saying(text: str, size: int = 3, gap: float = 0.0) -> Reply:
    """A stream that says one message."""
    return stream(frames(events((message(text), cut(text, size)))), gap=gap)


def echoing(request: Request) -> Reply:
    """vLLM repeats the instructions and honours the id that it is given."""
    asked = request.body
    final = {"id": asked.get("request_id", "resp_x"), "instructions": asked.get("instructions")}
    if asked.get("stream"):
        return stream(frames(events((message("Fine."), ["Fi", "ne."]), final=final)))
    return whole(message("Fine."), **final)


def one(item: Mapping[str, Any], pieces: Sequence[str]) -> Reply:
    return stream(frames(events((item, pieces))))


def between(*said: Event) -> Reply:
    """A stream of these events, opened and ended as it should be; the last says no more than they do."""
    first, second, last = events()
    return stream(frames([first, second, *said, last]))
