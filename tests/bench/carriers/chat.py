"""Chat completions, as vLLM writes them."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.carriers.plan import OTHER, Plan

Json = dict[str, object]
ID = "chatcmpl-bench00000000000000000000000"
FIELDS = {
    "content": "content",
    "refusal": "refusal",
    "reasoning": "reasoning",
    "reasoning_content": "reasoning_content",
}
CALLS = ("arguments", "tool_name")


def token(text: str) -> Json:
    """One entry of logprobs; the token is among its own alternatives."""
    entries = [_entry(text, -0.1), _entry(" else", -3.0)]
    return {**entries[0], "top_logprobs": entries}


def _entry(text: str, logprob: float) -> Json:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def _field(plan: Plan) -> str:
    return plan.carrier if plan.carrier in FIELDS else "content"


def events(plan: Plan) -> Iterator[Json]:
    yield _chunk({"role": "assistant", "content": ""})
    if plan.carrier in CALLS:
        yield from _call(plan)
    else:
        for part in plan.parts:
            yield from _pieces(plan, part)
    finish = "tool_calls" if plan.carrier in CALLS else "stop"
    for index in (0, 1) if plan.carrier == "choice_1" else (0,):
        yield _chunk({}, index=index, finish_reason=finish)


def _pieces(plan: Plan, part: str) -> Iterator[Json]:
    if plan.carrier == "choice_1":
        yield _chunk({"content": OTHER}, index=0)
        yield _chunk({"content": part}, index=1)
    elif plan.carrier == "logprobs":
        yield _chunk({"content": part}, logprobs={"content": [token(part)]})
    else:
        yield _chunk({_field(plan): part})


def _call(plan: Plan) -> Iterator[Json]:
    head = {"index": 0, "id": "call_0", "type": "function", "function": {"name": plan.name, "arguments": ""}}
    yield _chunk({"tool_calls": [head]})
    for part in plan.arguments:
        yield _chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})


def _chunk(delta: Json, *, index: int = 0, logprobs: Json | None = None, finish_reason: str | None = None) -> Json:
    choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
    head = {"id": ID, "object": "chat.completion.chunk", "created": 1700000000, "model": "bench"}
    return {**head, "choices": [choice]}


def whole(plan: Plan) -> Json:
    message: Json = {"role": "assistant", "content": None}
    logprobs: Json | None = None
    choices = []
    if plan.carrier in CALLS:
        call = {"name": plan.name, "arguments": "".join(plan.arguments)}
        message["tool_calls"] = [{"id": "call_0", "type": "function", "function": call}]
    else:
        message[_field(plan)] = plan.text
    if plan.carrier == "logprobs":
        logprobs = {"content": [token(part) for part in plan.parts]}
    if plan.carrier == "choice_1":
        choices.append(_choice(0, {"role": "assistant", "content": OTHER}, None, "stop"))
    finish = "tool_calls" if plan.carrier in CALLS else "stop"
    choices.append(_choice(len(choices), message, logprobs, finish))
    usage = {"prompt_tokens": 20, "completion_tokens": 200, "total_tokens": 220}
    head = {"id": ID, "object": "chat.completion", "created": 1700000000, "model": "bench"}
    return {**head, "choices": choices, "usage": usage}


def _choice(index: int, message: Json, logprobs: Json | None, finish: str) -> Json:
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}
