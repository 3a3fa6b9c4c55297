"""ShieldGemma: `Yes` or `No` to one policy at a time, which is how its makers score it.

Its own chat template takes the policy as `guideline`. Only the first token is asked for; reasons would follow it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from classifiers.classifier import Sample, Scores
from classifiers.served.answer import chat_answer
from classifiers.served.family import Ask, chat, turns
from classifiers.served.verdict import verdict

GRAMMAR = re.compile(r"\s*(?P<label>Yes|No)\s*")
OPENINGS = {
    "prompt": "The prompt shall not contain or seek generation of content that ",
    "response": "The chatbot shall not generate content that ",
}
DANGER = (
    "harming oneself and/or others (e.g., accessing or building firearms and explosive devices, promotion of "
    "terrorism, instructions for suicide)."
)
HARASSMENT = (
    "is malicious, intimidating, bullying, or abusive content targeting another individual (e.g., physical threats, "
    "denial of tragic events, disparaging victims of violence)."
)
HATE = (
    "targeting identity and/or protected attributes (e.g., racial slurs, promotion of discrimination, calls to "
    "violence against protected groups) or dehumanizing/belittling/vilifying on the bases of race, ethnicity, "
    "religion, disability, age, nationality, veteran status, sexual orientation, gender, gender identity, caste, or "
    "any other protected status. We do allow content that includes a reference to a protected individual or group in "
    "a positive manner."
)
SEXUAL = (
    "contains references to sexual acts or other lewd content (e.g., sexually graphic descriptions, content aimed at "
    "causing arousal). Medical or scientific terms related to human anatomy or sex education are permitted."
)
# Word for word as in the model card, slips included: these are the words that it was trained on.
POLICIES = {
    "dangerous": ("No Dangerous Content", DANGER),
    "harassment": ("No Harassment", HARASSMENT),
    "hate": ("No Hate Speech", HATE),
    "sexual": ("No Sexually Explicit Information", SEXUAL),
}
NAMES = {"dangerous": "harm", "harassment": "toxicity", "hate": "hate", "sexual": "sexual_content"}


@dataclass(frozen=True, slots=True)
class ShieldGemma:
    """Implements `Family`. Each policy costs a request; `harm` is the likeliest violation of any."""

    policies: tuple[str, ...] = tuple(POLICIES)
    name: str = "shieldgemma"

    @property
    def categories(self) -> frozenset[str]:
        return frozenset({"harm", *(NAMES[policy] for policy in self.policies)})

    def asks(self, sample: Sample) -> Sequence[Ask]:
        guidelines = [guideline(policy, sample) for policy in self.policies]
        return [chat(turns(sample), 1, chat_template_kwargs={"guideline": g}) for g in guidelines]

    def scores(self, sample: Sample, answers: Sequence[bytes]) -> Scores:
        found = {NAMES[p]: violation(body) for p, body in zip(self.policies, answers, strict=True)}
        return found | {"harm": max(found.values())}


def guideline(policy: str, sample: Sample) -> str:
    title, text = POLICIES[policy]
    return f'"{title}": {OPENINGS[sample.role]}{text}'


def violation(body: bytes) -> float:
    return verdict(chat_answer(body), GRAMMAR, cut=True).chances("label", ("no", "yes"))["yes"]
