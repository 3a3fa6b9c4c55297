from __future__ import annotations

import pytest

from guards.kinds.classifier import Thresholds
from guards.verdict import Action

THREE = Thresholds.of({"flag": 0.4, "escalate": 0.7, "block": 0.95})


@pytest.mark.parametrize(
    ("score", "action", "threshold"),
    [
        (0.0, Action.ALLOW, 0.4),
        (0.399, Action.ALLOW, 0.4),
        (0.4, Action.FLAG, 0.4),
        (0.7, Action.ESCALATE, 0.7),
        (0.94, Action.ESCALATE, 0.7),
        (0.95, Action.BLOCK, 0.95),
        (1.0, Action.BLOCK, 0.95),
    ],
)
def test_the_strongest_action_whose_threshold_is_reached_holds(score: float, action: Action, threshold: float) -> None:
    assert THREE.judge(score) == (action, threshold)


def test_one_threshold_is_enough() -> None:
    assert Thresholds.of({"block": 0.5}).judge(0.5) == (Action.BLOCK, 0.5)
