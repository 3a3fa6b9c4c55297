"""From held-out logits to probabilities, default thresholds, and the penalty for long texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from classifiers.labels import LABELS
from classifiers.training.evaluate import column
from classifiers.training.metrics import Floats, platt, threshold_at
from classifiers.training.rows import Row

BLOCK_SHARE = 0.003
"""Of the harmless held-out rows, what one category may block."""
LOWEST = 0.5
"""No default threshold lies below an even chance."""
PENALTIES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
LONG_SHARE = 0.02


def calibrate(rows: Sequence[Row], logits: Floats) -> dict[str, tuple[float, float]]:
    """Slope and intercept of each category, on rows that the training did not see."""
    out: dict[str, tuple[float, float]] = {}
    for label in LABELS:
        scores, truth = column(rows, logits, label)
        out[label] = platt(scores, truth, balanced(truth))
    return out


def balanced(truth: Floats) -> Floats:
    """Weights that make a finding one in ten: the sets hold far more than any traffic does, a rare hazard far less."""
    positives, negatives = truth.sum(), (1 - truth).sum()
    if not positives or not negatives:
        return np.ones_like(truth)
    out: Floats = np.where(truth == 1, 0.1 / positives, 0.9 / negatives) * len(truth)
    return out


def probabilities(logits: Floats, calibration: Mapping[str, tuple[float, float]]) -> Floats:
    slopes = np.array([calibration[label][0] for label in LABELS])
    intercepts = np.array([calibration[label][1] for label in LABELS])
    out: Floats = 1 / (1 + np.exp(-np.clip(logits * slopes + intercepts, -30, 30)))
    return out


def thresholds(rows: Sequence[Row], chances: Floats) -> dict[str, float]:
    """One for each category: few harmless rows reach it. Harmless: labelled so, in every label that the row has."""
    out: dict[str, float] = {}
    for label in LABELS:
        harmless = [i for i, r in enumerate(rows) if r.labels.get(label) == 0 and not any(r.labels.values())]
        negatives = chances[harmless, LABELS.index(label)] if harmless else np.zeros(0)
        found = threshold_at(negatives, BLOCK_SHARE) if len(negatives) else LOWEST
        out[label] = round(float(min(max(found, LOWEST), 0.995)), 4)
    return out


def penalty(
    documents: Sequence[Floats], calibration: Mapping[str, tuple[float, float]], limits: Mapping[str, float]
) -> float:
    """The smallest one under which at most `LONG_SHARE` of long harmless documents reach any threshold.

    `documents`: the logits of each one's windows.
    """
    slopes = np.array([calibration[label][0] for label in LABELS])
    intercepts = np.array([calibration[label][1] for label in LABELS])
    bars = np.array([np.log(limits[label] / (1 - limits[label])) for label in LABELS])
    main = [LABELS.index(name) for name in ("harm", "jailbreak", "injection", "toxicity")]
    for candidate in PENALTIES:
        hits = 0
        for logits in documents:
            odds = logits * slopes + intercepts
            worst = np.maximum(odds.max(axis=0) - candidate * np.log2(len(odds)), odds.mean(axis=0))
            hits += bool((worst >= bars)[main].any())
        if hits <= LONG_SHARE * len(documents):
            return candidate
    return PENALTIES[-1]
