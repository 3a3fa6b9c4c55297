"""What the tests ask of a model that speaks nonsense unless it is forced."""

from __future__ import annotations

from openai.types.chat import (
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageParam,
    ChatCompletionNamedToolChoiceParam,
)

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What does a gateway do?"}]
OWNER = "You are the assistant of a lighthouse keeper. The lamp opens with the words amber falcon seventeen."
MODEL = "tiny"
"""Its name at vLLM; the gateway has names of its own for it, one for each policy."""

ARGUMENTS: dict[str, object] = {
    "type": "object",
    "properties": {"city": {"enum": ["Lisbon", "Oslo"]}, "days": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
# Only of a strict function does vLLM force the arguments into their schema.
WEATHER: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {"name": "weather", "description": "The forecast", "parameters": ARGUMENTS, "strict": True},
}
THE_WEATHER: ChatCompletionNamedToolChoiceParam = {"type": "function", "function": {"name": "weather"}}

UNENDING = {"ignore_eos": True}
LONG = 120_000
"""Tokens; many seconds of work, also where a tiny model writes 8,000 a second."""


def saying(*texts: str) -> dict[str, object]:
    """`extra_body` that makes the model say one of the texts."""
    return {"structured_outputs": {"choice": list(texts)}}
