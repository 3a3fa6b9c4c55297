"""Which texts of an exchange the scoring guards judge, and what of their verdicts stays with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.wire.prompt import TextSlot
from gateway.wire.surface import AnswerFilter
from guards.scored import Text
from guards.verdict import RANK, WITHHELD, Action, Verdict


def prompt_texts(slots: Iterable[TextSlot]) -> list[Text]:
    """Every text of a request. What the model said before is a response, all else a prompt."""
    return [Text(s.text, s.path, "response" if s.role == "assistant" and not s.json else "prompt") for s in slots]


def answer_texts(answer: AnswerFilter, question: str) -> list[Text]:
    """Every carrier of every choice, as the model wrote it, with what it answers."""
    return [
        Text(text, track.field, "response", question, track.choice)
        for track in answer.tracks()
        if (text := track.written.text).strip()
    ]


def notable(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Those that found something, or failed."""
    return [v for v in verdicts if v.would is not Action.ALLOW or v.error]


def withheld(verdicts: Sequence[Verdict], floor: int = WITHHELD) -> list[int]:
    """The choices that may not leave. `floor`: rank of the first action that keeps them."""
    return sorted({v.choice for v in verdicts if RANK[v.action] >= floor and v.choice is not None})
