"""Any model that vLLM serves on `/classify`: an encoder, or a guard turned into a classifier of its label tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from classifiers.classifier import Sample, Scores
from classifiers.served.answer import parse_error, probabilities
from classifiers.served.escape import escaped
from classifiers.served.family import CLASSIFY, Ask


@dataclass(frozen=True, slots=True)
class Classes:
    """Implements `Family`."""

    labels: tuple[tuple[str, str], ...]
    """(the model's own label, our category or "" where it is harmless), in the order of the model's outputs."""
    exclusive: bool = True
    """The classes exclude each other: their probabilities add up to one."""
    name: str = "classify"

    @property
    def categories(self) -> frozenset[str]:
        return frozenset(category for _, category in self.labels if category)

    def asks(self, sample: Sample) -> Sequence[Ask]:
        return [Ask(CLASSIFY, {"input": escaped(sample.text)})]

    def scores(self, sample: Sample, answers: Sequence[bytes]) -> Scores:
        (body,) = answers
        found = probabilities(body)
        self._check(found.probs, found.label)
        totals = dict.fromkeys(self.categories, 0.0)
        for (_, category), chance in zip(self.labels, found.probs, strict=True):
            if category:
                totals[category] = totals[category] + chance if self.exclusive else max(totals[category], chance)
        return {category: min(total, 1.0) for category, total in totals.items()}

    def _check(self, chances: Sequence[float], label: str | None) -> None:
        if len(chances) != len(self.labels) or (self.exclusive and abs(sum(chances) - 1) > 0.02):
            raise parse_error("the model's classes are not those of the config")
        # vLLM names the likeliest class only. Were the config's order another than the model's, safe would be unsafe.
        own = {name for (name, _), chance in zip(self.labels, chances, strict=True) if chance == max(chances)}
        if label is not None and label not in own:
            raise parse_error("the model's labels are not those of the config")
