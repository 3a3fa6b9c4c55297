"""How good scores are: ranking, recall at a bounded false-positive rate, calibration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Quality(NamedTuple):
    """Of one category on one set. NaN where a figure has no meaning (one class only)."""

    positives: int
    negatives: int
    auroc: float
    recall_at_1: float
    """Recall at the threshold that 1 % of the negatives pass."""
    ece: float


def auroc(scores: Floats, labels: Floats) -> float:
    """Area under the ROC curve: the probability that a positive outscores a negative, ties half (Mann-Whitney)."""
    positives, negatives = int(labels.sum()), int((1 - labels).sum())
    if not positives or not negatives:
        return float("nan")
    order = np.argsort(scores, kind="mergesort")
    ranked = scores[order]
    ranks = np.empty(len(scores))
    _, first, counts = np.unique(ranked, return_index=True, return_counts=True)
    for start, count in zip(first, counts, strict=True):
        ranks[order[start : start + count]] = start + (count + 1) / 2
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def threshold_at(negatives: Floats, share: float) -> float:
    """The smallest threshold that at most `share` of the negatives reach."""
    if not len(negatives):
        return float("nan")
    ordered = np.sort(negatives)[::-1]
    allowed = int(np.floor(share * len(ordered)))
    return float(np.nextafter(ordered[allowed], np.inf)) if allowed < len(ordered) else float(ordered[-1])


def recall_at(scores: Floats, labels: Floats, share: float) -> float:
    positives = scores[labels == 1]
    if not len(positives) or not (labels == 0).any():
        return float("nan")
    return float((positives >= threshold_at(scores[labels == 0], share)).mean())


def ece(probabilities: Floats, labels: Floats, bins: int = 15) -> float:
    """Expected calibration error over bins of equal width (Guo et al., 2017)."""
    if not len(labels):
        return float("nan")
    which = np.minimum((probabilities * bins).astype(int), bins - 1)
    total = 0.0
    for b in range(bins):
        inside = which == b
        if inside.any():
            total += inside.mean() * abs(probabilities[inside].mean() - labels[inside].mean())
    return float(total)


def quality(probabilities: Floats, labels: Floats) -> Quality:
    return Quality(
        int(labels.sum()),
        int((1 - labels).sum()),
        auroc(probabilities, labels),
        recall_at(probabilities, labels, 0.01),
        ece(probabilities, labels),
    )


def platt(logits: Floats, labels: Floats, weights: Floats | None = None) -> tuple[float, float]:
    """Slope and intercept that make `sigmoid(slope * logit + intercept)` a probability (Platt, 1999); slope > 0."""
    if len(np.unique(labels)) < 2:
        return 1.0, 0.0
    w = np.ones_like(logits) if weights is None else weights
    at, best = np.array([1.0, 0.0]), np.inf
    for _ in range(100):  # Newton's method with steps that are halved until they help: the loss is convex
        p = _sigmoid(at[0] * logits + at[1])
        gradient = np.array([np.sum(w * (p - labels) * logits), np.sum(w * (p - labels))])
        s = w * p * (1 - p)
        cross = np.sum(s * logits)
        curvature = np.array([[np.sum(s * logits**2) + 1e-6, cross], [cross, np.sum(s) + 1e-6]])
        step = np.linalg.solve(curvature, gradient)
        while np.abs(step).max() > 1e-7 and _loss(at - step, logits, labels, w) > best:
            step = step / 2
        at = at - step
        best = _loss(at, logits, labels, w)
        if np.abs(step).max() < 1e-7:
            break
    return (float(at[0]), float(at[1])) if at[0] > 0.05 else (1.0, 0.0)


def _sigmoid(values: Floats) -> Floats:
    out: Floats = 1 / (1 + np.exp(-np.clip(values, -30, 30)))
    return out


def _loss(at: Floats, logits: Floats, labels: Floats, weights: Floats) -> float:
    odds = np.clip(at[0] * logits + at[1], -30, 30)
    return float(np.sum(weights * (np.logaddexp(0, odds) - labels * odds)))
