"""Responses: items, parts and the events of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.bench.carriers.plan import Plan

Json = dict[str, object]
CALLS = ("arguments", "tool_name")
AT: Json = {"item_id": "item_0", "output_index": 0}


def whole(plan: Plan) -> Json:
    return _response("completed", [_item(plan, "completed")])


def events(plan: Plan) -> Iterator[Json]:
    for number, event in enumerate(_events(plan)):
        yield {**event, "sequence_number": number}


def _events(plan: Plan) -> Iterator[Json]:
    yield {"type": "response.created", "response": _response("in_progress", [])}
    yield {"type": "response.in_progress", "response": _response("in_progress", [])}
    yield {"type": "response.output_item.added", "output_index": 0, "item": _item(plan, "in_progress")}
    if plan.carrier in CALLS:
        yield from _texts("response.function_call_arguments", plan.arguments, "arguments", {}, {"name": plan.name})
    elif plan.carrier == "summary":
        yield from _part(plan, "response.reasoning_summary_part", "response.reasoning_summary_text", "summary_index")
    elif plan.carrier == "reasoning":
        yield from _texts("response.reasoning_text", plan.parts, "text", {"content_index": 0}, {})
    else:
        kind = "refusal" if plan.carrier == "refusal" else "output_text"
        yield from _part(plan, "response.content_part", f"response.{kind}", "content_index")
    yield {"type": "response.output_item.done", "output_index": 0, "item": _item(plan, "completed")}
    yield {"type": "response.completed", "response": whole(plan)}


def _part(plan: Plan, family: str, name: str, index: str) -> Iterator[Json]:
    place: Json = {index: 0}
    logprobs: Json = {"logprobs": []} if name == "response.output_text" else {}
    field = "refusal" if plan.carrier == "refusal" else "text"
    yield {"type": f"{family}.added", **AT, **place, "part": _text_part(plan, "")}
    yield from _texts(name, plan.parts, field, {**place, **logprobs}, {})
    yield {"type": f"{family}.done", **AT, **place, "part": _text_part(plan, plan.text)}


def _texts(name: str, parts: Sequence[str], field: str, more: Json, last: Json) -> Iterator[Json]:
    for part in parts:
        yield {"type": f"{name}.delta", **AT, **more, "delta": part}
    yield {"type": f"{name}.done", **AT, **more, **last, field: "".join(parts)}


def _text_part(plan: Plan, text: str) -> Json:
    if plan.carrier == "summary":
        return {"type": "summary_text", "text": text}
    if plan.carrier == "reasoning":
        return {"type": "reasoning_text", "text": text}
    if plan.carrier == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _item(plan: Plan, status: str) -> Json:
    done = status == "completed"
    if plan.carrier in CALLS:
        arguments = "".join(plan.arguments) if done else ""
        call = {"type": "function_call", "id": "item_0", "call_id": "call_0", "name": plan.name}
        return {**call, "arguments": arguments, "status": status}
    parts = [_text_part(plan, plan.text)] if done else []
    if plan.carrier == "summary":
        return {"type": "reasoning", "id": "item_0", "summary": parts}
    if plan.carrier == "reasoning":
        return {"type": "reasoning", "id": "item_0", "summary": [], "content": parts}
    return {"type": "message", "id": "item_0", "role": "assistant", "status": status, "content": parts}


def _response(status: str, output: list[Json]) -> Json:
    return {
        "id": "resp_bench",
        "object": "response",
        "created_at": 1700000000,
        "status": status,
        "model": "bench",
        "output": output,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "top_p": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 20,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 200,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 220,
        },
    }
