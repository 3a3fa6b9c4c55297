"""Completions of a prompt, as vLLM writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.bench.carriers.plan import OTHER, Plan

Json = dict[str, object]


def events(plan: Plan) -> Iterator[Json]:
    offset = 0
    for part in plan.parts:
        if plan.carrier == "choice_1":
            yield _answer([_choice(0, OTHER)])
            yield _answer([_choice(1, part)])
        elif plan.carrier == "logprobs":
            yield _answer([_choice(0, part, logprobs=columns([part], offset))])
        else:
            yield _answer([_choice(0, part)])
        offset += len(part)
    for index in (0, 1) if plan.carrier == "choice_1" else (0,):
        yield _answer([_choice(index, "", finish="stop")])


def whole(plan: Plan) -> Json:
    choices = [_choice(0, OTHER, finish="stop")] if plan.carrier == "choice_1" else []
    logprobs = columns(plan.parts, 0) if plan.carrier == "logprobs" else None
    choices.append(_choice(len(choices), plan.text, finish="stop", logprobs=logprobs))
    usage = {"prompt_tokens": 20, "completion_tokens": 200, "total_tokens": 220}
    return {**_answer(choices), "usage": usage}


def columns(tokens: Sequence[str], offset: int) -> Json:
    offsets = []
    for one in tokens:
        offsets.append(offset)
        offset += len(one)
    return {
        "tokens": list(tokens),
        "token_logprobs": [-0.1] * len(offsets),
        "top_logprobs": [{one: -0.1, " else": -3.0} for one in tokens],
        "text_offset": offsets,
    }


def _choice(index: int, text: str, *, finish: str | None = None, logprobs: Json | None = None) -> Json:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}


def _answer(choices: list[Json]) -> Json:
    head = {"id": "cmpl-bench", "object": "text_completion", "created": 1700000000, "model": "bench"}
    return {**head, "choices": choices}
