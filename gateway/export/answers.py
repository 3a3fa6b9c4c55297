"""What the model said, and what a person made of it, put together from the texts of a case."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.export.turns import Unreadable
from gateway.review.paths import steps

SAID = re.compile(
    r"choices\[0\]\.(message\.content|text)|content\[\d+\]\.text|output\[\d+\]\.content\[\d+\]\.(text|refusal)"
)
"""Fields with the words that a user reads."""
THOUGHT = re.compile(
    r"choices\[0\]\.message\.reasoning(_content)?|content\[\d+\]\.thinking|output\[\d+\]\.summary\[\d+\]\.text"
)
SECOND = re.compile(r"choices\[[1-9]")
ITEM = re.compile(r"output\[(\d+)\]")


def spoken(texts: Mapping[str, str], answer: Mapping[str, Any] | None) -> list[str]:
    """The fields that make the answer, in order. Unreadable where they do not make one text.

    `answer`: the whole of it where it was kept; what a model thought is told by that alone on `/v1/responses`.
    """
    filled = [field for field, text in texts.items() if text]
    if any(SECOND.match(field) for field in filled):
        raise Unreadable("several_answers")
    fields = [f for f in filled if not THOUGHT.fullmatch(f) and not thought(f, answer)]
    if not all(SAID.fullmatch(field) for field in fields):
        raise Unreadable("tool_calls")
    if not fields:
        raise Unreadable("no_answer")
    if answer is None and len({found[1] for f in fields if (found := ITEM.match(f))}) > 1:
        raise Unreadable("ambiguous_answer")
    return sorted(fields, key=lambda field: [str(step).zfill(6) for step in steps(field)])


def thought(field: str, answer: Mapping[str, Any] | None) -> bool:
    """It stands in an item of the output that is no message."""
    found = ITEM.match(field)
    output = answer.get("output") if answer else None
    if not found or not isinstance(output, list) or int(found[1]) >= len(output):
        return False
    return isinstance(item := output[int(found[1])], dict) and item.get("type") == "reasoning"


def joined(texts: Mapping[str, str], fields: Iterable[str]) -> str:
    return "".join(texts[field] for field in fields)
