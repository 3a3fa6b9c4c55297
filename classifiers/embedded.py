"""The shipped model as a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from classifiers.batching import HEAD, Batching, Limits, Row
from classifiers.classifier import Sample, Scores
from classifiers.labels import ROLES
from classifiers.model import Model
from classifiers.tokens import Window

__all__ = ["Embedded", "Limits"]
LIMITS = Limits(batch=4)
"""The network takes its windows one by one anyway."""


@dataclass(frozen=True, slots=True)
class Network:
    """The shipped model behind `Batching`; a `Scorer`."""

    model: Model

    def cut(self, samples: Sequence[Sample]) -> list[list[Window]]:
        layout = self.model.layout
        texts = layout.encode([s.text for s in samples])
        contexts = layout.encode([s.prompt[:HEAD] if s.role == "response" else "" for s in samples])
        return [list(layout.windows(*each)) for each in zip(samples, texts, contexts, strict=True)]

    def rows(self, windows: Sequence[Window]) -> Row:
        return self.model.logits(windows)

    def scores(self, sample: Sample, rows: Sequence[Row]) -> Scores:
        scores = self.model.scores(rows)
        return {k: v for k, v in scores.items() if ROLES.get(k, sample.role) in (sample.role, "any")}


class Embedded:
    """Implements `Classifier`. `start()` before use; one for a process is enough, it may serve all guards."""

    def __init__(self, model: Model, limits: Limits | None = None) -> None:
        self.name = model.facts.name
        self.version = model.facts.version
        self.categories = frozenset(model.facts.labels)
        self.thresholds = model.facts.thresholds
        self._batching = Batching(Network(model), limits or LIMITS)

    @property
    def waiting(self) -> int:
        """Windows that wait for a worker."""
        return self._batching.waiting

    async def start(self) -> None:
        await self._batching.start()

    async def close(self) -> None:
        await self._batching.close()

    async def classify(self, samples: Sequence[Sample]) -> list[Scores]:
        """ClassifierError `queue_full` where too much waits, `unavailable` where it was not started."""
        return await self._batching.classify(samples)
