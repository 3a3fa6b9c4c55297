"""Qwen3Guard-Gen: safe, unsafe or controversial; its categories; and of a response, whether it refuses.

Its own chat template lists the categories, and judges the last turn of the conversation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from classifiers.classifier import Sample, Scores
from classifiers.served.answer import chat_answer, parse_error
from classifiers.served.family import Ask, chat, judged, spread, turns
from classifiers.served.verdict import names, verdict

NAMES = {
    "Violent": "violent_crimes",
    "Non-violent Illegal Acts": "nonviolent_crimes",
    "Sexual Content or Sexual Acts": "sexual_content",
    "PII": "privacy",
    "Suicide & Self-Harm": "self_harm",
    "Unethical Acts": "toxicity",
    "Politically Sensitive Topics": "elections",
    "Copyright Violation": "intellectual_property",
    "Jailbreak": "jailbreak",
}
GRAMMAR = re.compile(
    r"\s*Safety: (?P<safety>Safe|Unsafe|Controversial)\n"
    r"Categories: (?P<categories>[A-Z][A-Za-z&, -]*[A-Za-z])"
    r"(?:\nRefusal: (?P<refusal>Yes|No))?\s*"
)
LENGTH = 96
LABELS = ("safe", "unsafe", "controversial")


@dataclass(frozen=True, slots=True)
class QwenGuard:
    """Implements `Family`."""

    controversial: float = 0.5
    """How much of a controversial text counts as harm: 1 is what its makers call strict, 0 what they call loose."""
    name: str = "qwen3guard"

    @property
    def categories(self) -> frozenset[str]:
        return frozenset({"harm", "refusal", *NAMES.values()})

    def asks(self, sample: Sample) -> Sequence[Ask]:
        return [chat(turns(sample), LENGTH)]

    def scores(self, sample: Sample, answers: Sequence[bytes]) -> Scores:
        (body,) = answers
        found = verdict(chat_answer(body), GRAMMAR)
        listed, safe, refusal = found.said["categories"], found.said["safety"] == "Safe", found.said["refusal"]
        if (refusal is None) != (sample.role == "prompt") or (safe and listed != "None"):
            raise parse_error("the guard's answer contradicts itself, or the question")
        chances = found.chances("safety", LABELS)
        harm = chances["unsafe"] + self.controversial * chances["controversial"]
        named = names(listed, NAMES) if listed != "None" else frozenset[str]()
        scores = spread(harm, None if safe else named, judged(self.categories - {"refusal"}, sample))
        return scores | ({"refusal": found.chances("refusal", ("no", "yes"))["yes"]} if refusal else {})
