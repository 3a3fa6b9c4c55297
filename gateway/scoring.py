"""Which texts of an exchange the scoring guards judge, and what of their verdicts stays with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gateway.wire.chat import ChatAnswer
from gateway.wire.prompt import TextSlot
from guards.scored import Text
from guards.verdict import RANK, Action, Verdict

WITHHELD = RANK[Action.ESCALATE]
"""From this action on nothing leaves: what a person must see first is not for the client yet."""


def prompt_texts(slots: Iterable[TextSlot]) -> list[Text]:
    """Every text of a request. What the model said before is a response, all else a prompt."""
    return [Text(s.text, s.path, "response" if s.role == "assistant" and not s.json else "prompt") for s in slots]


def answer_texts(answer: ChatAnswer, request: dict[str, Any]) -> list[Text]:
    """Every carrier of every choice, as the model wrote it, with what it answers."""
    prompt = last_prompt(request)
    return [
        Text(text, f"choices[{index}].message.{name}", "response", prompt, index)
        for index, choice in answer.choices.items()
        for name, text in choice.written().items()
        if text.strip()
    ]


def last_prompt(request: dict[str, Any]) -> str:
    """The text of the last message that the user wrote."""
    for message in reversed(request["messages"]):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            parts = [p.get("text") for p in content or () if isinstance(p, dict)]
            return "\n".join(p for p in parts if isinstance(p, str))
    return ""


def notable(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Those that found something, or failed."""
    return [v for v in verdicts if v.would is not Action.ALLOW or v.error]


def withheld(verdicts: Sequence[Verdict]) -> list[int]:
    """The choices that may not leave."""
    return sorted({v.choice for v in verdicts if RANK[v.action] >= WITHHELD and v.choice is not None})
