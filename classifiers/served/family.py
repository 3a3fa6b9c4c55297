"""What a family of guard models is: a sample to requests, and the answers to scores. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from classifiers.classifier import Sample, Scores
from classifiers.labels import ROLES
from classifiers.served.escape import escaped

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
CLASSIFY = "/classify"
TOP = 20
"""Likeliest tokens asked for at each place: the most that vLLM gives unless told otherwise."""
Message = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to vLLM, but for the model's name."""

    path: str
    body: Mapping[str, object]


class Family(Protocol):
    """Guards with one prompt and one grammar. Its settings are its fields, so that its `repr` tells all of them."""

    @property
    def name(self) -> str: ...

    @property
    def categories(self) -> frozenset[str]:
        """What it can judge."""

    def asks(self, sample: Sample) -> Sequence[Ask]:
        """What to ask of vLLM; nothing where it cannot judge a sample of this role."""

    def scores(self, sample: Sample, answers: Sequence[bytes]) -> Scores:
        """From the bodies of the answers, in order. ClassifierError `parse` where one is not what was asked for."""


def chat(messages: Sequence[Message], max_tokens: int, **extra: object) -> Ask:
    fixed = {"temperature": 0, "max_tokens": max_tokens, "logprobs": True, "top_logprobs": TOP}
    return Ask(CHAT, {"messages": list(messages), **fixed, **extra})


def completion(prompt: str, max_tokens: int) -> Ask:
    return Ask(COMPLETIONS, {"prompt": prompt, "temperature": 0, "max_tokens": max_tokens, "logprobs": TOP})


def turns(sample: Sample) -> list[Message]:
    """The exchange as a conversation, which ends with what is to be judged."""
    if sample.role == "prompt":
        return [user(escaped(sample.text))]
    return [user(escaped(sample.prompt)), {"role": "assistant", "content": escaped(sample.text)}]


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def judged(categories: frozenset[str], sample: Sample) -> frozenset[str]:
    """Those that exist for the sample's role."""
    return frozenset(c for c in categories if ROLES.get(c, sample.role) == sample.role)


def spread(harm: float, named: frozenset[str] | None, categories: frozenset[str]) -> dict[str, float]:
    """The probability of harm, given to the categories that the guard named.

    None: it called the text safe, so that it named none. Each category is then at most as likely as harm is, and
    counts as that likely.
    """
    return {c: harm if named is None or c in named or c == "harm" else 0.0 for c in categories}
