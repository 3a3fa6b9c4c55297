"""Llama Guard 3 and 4: `safe`, or `unsafe` and below it the hazards of MLCommons.

Their own chat templates list the hazards, and judge the last turn of the conversation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from classifiers.classifier import Sample, Scores
from classifiers.labels import HAZARDS
from classifiers.served.answer import chat_answer, parse_error
from classifiers.served.family import Ask, chat, judged, spread, turns
from classifiers.served.verdict import names, verdict

NAMES = {f"S{number}": name for number, name in enumerate(HAZARDS, 1)}
GRAMMAR = re.compile(r"\s*(?P<label>safe|unsafe)(?:\n(?P<hazards>S[0-9]+(?:, ?S[0-9]+)*))?\s*")
# They begin with two line breaks; all fourteen hazards are some fifty tokens.
LENGTH = 80


@dataclass(frozen=True, slots=True)
class LlamaGuard:
    """Implements `Family`."""

    name: str = "llama_guard"

    @property
    def categories(self) -> frozenset[str]:
        return frozenset({"harm", *HAZARDS})

    def asks(self, sample: Sample) -> Sequence[Ask]:
        return [chat(turns(sample), LENGTH)]

    def scores(self, sample: Sample, answers: Sequence[bytes]) -> Scores:
        (body,) = answers
        found = verdict(chat_answer(body), GRAMMAR)
        hazards = found.said["hazards"]
        if (found.said["label"] == "unsafe") != (hazards is not None):
            raise parse_error("the guard's answer contradicts itself")
        harm = found.chances("label", ("safe", "unsafe"))["unsafe"]
        return spread(harm, names(hazards, NAMES) if hazards else None, judged(self.categories, sample))
