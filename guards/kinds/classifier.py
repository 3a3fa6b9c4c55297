"""Kind `classifier`: a category's probability against thresholds that rise with the action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from guards.verdict import RANK, Action

DEFAULT_FLAG = 0.5
"""Probability from which on a finding is kept, where a rule names no thresholds at all."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """(probability, action), the strongest first."""

    steps: tuple[tuple[float, Action], ...]

    @classmethod
    def of(cls, named: Mapping[str, float]) -> Thresholds:
        steps = [(value, Action(name)) for name, value in named.items()]
        return cls(tuple(sorted(steps, key=lambda s: -RANK[s[1]])))

    def judge(self, score: float) -> tuple[Action, float | None]:
        """The action for a score, and the threshold that it reached; below all of them `allow` and the lowest."""
        for value, action in self.steps:
            if score >= value:
                return action, value
        return Action.ALLOW, self.steps[-1][0] if self.steps else None
