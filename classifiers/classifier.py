"""What a classifier is: texts in, calibrated probabilities out. It knows no threshold, action, tenant or policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Role = Literal["prompt", "response"]
Scores = Mapping[str, float]
"""Category -> calibrated probability, 0..1. A category that is missing is one that the classifier cannot judge here."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A text to judge."""

    text: str
    role: Role = "prompt"
    prompt: str = ""
    """What a response answers, where that is known."""


class Classifier(Protocol):
    """Scores texts. Raises `ClassifierError` where it cannot: what that means is for the caller's rules to say."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Changes whenever the same text could get another score."""

    @property
    def categories(self) -> frozenset[str]:
        """What it can judge."""

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Category -> probability from which on its makers would block; may be empty."""

    async def classify(self, samples: Sequence[Sample]) -> list[Scores]:
        """The scores of each sample, in order."""


class ClassifierError(Exception):
    """A classifier could not judge. `reason` is a stable word for metrics: `queue_full`, `parse`, `unavailable`, …"""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
