"""Anthropic's messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.bench.carriers.plan import Plan

Json = dict[str, object]
CALLS = ("arguments", "tool_name")


def whole(plan: Plan) -> Json:
    block: Json = {"type": "text", "text": plan.text}
    if plan.carrier == "reasoning":
        block = {"type": "thinking", "thinking": plan.text, "signature": ""}
    if plan.carrier in CALLS:
        city = "".join(plan.arguments)[len('{"city": "') : -len('"}')]
        block = {"type": "tool_use", "id": "toolu_0", "name": plan.name, "input": {"city": city}}
    return _message([block], "tool_use" if plan.carrier in CALLS else "end_turn")


def events(plan: Plan) -> Iterator[Json]:
    yield {"type": "message_start", "message": _message([], None)}
    if plan.carrier in CALLS:
        opened: Json = {"type": "tool_use", "id": "toolu_0", "name": plan.name, "input": {}}
        yield from _block(opened, "input_json_delta", "partial_json", plan.arguments)
    elif plan.carrier == "reasoning":
        opened = {"type": "thinking", "thinking": "", "signature": ""}
        yield from _block(opened, "thinking_delta", "thinking", plan.parts)
    else:
        yield from _block({"type": "text", "text": ""}, "text_delta", "text", plan.parts)
    stop = {"stop_reason": "tool_use" if plan.carrier in CALLS else "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 200}}
    yield {"type": "message_stop"}


def _block(opened: Json, kind: str, field: str, parts: Sequence[str]) -> Iterator[Json]:
    yield {"type": "content_block_start", "index": 0, "content_block": opened}
    for part in parts:
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": kind, field: part}}
    yield {"type": "content_block_stop", "index": 0}


def _message(content: list[Json], stop: str | None) -> Json:
    head = {"id": "msg_bench", "type": "message", "role": "assistant", "model": "bench", "content": content}
    return {**head, "stop_reason": stop, "stop_sequence": None, "usage": {"input_tokens": 20, "output_tokens": 1}}
