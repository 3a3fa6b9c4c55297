"""Figures of a model on rows: by category, by source, and how often harmless rows would be blocked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from classifiers.labels import LABELS
from classifiers.training.metrics import Floats, Quality, quality
from classifiers.training.rows import Row

Table = dict[str, Quality]


def column(rows: Sequence[Row], probabilities: Floats, label: str) -> tuple[Floats, Floats]:
    """Scores and labels of the rows that have the label."""
    index = LABELS.index(label)
    known = [i for i, row in enumerate(rows) if label in row.labels]
    scores = probabilities[known, index] if known else np.zeros(0)
    return scores, np.array([rows[i].labels[label] for i in known], dtype=np.float64)


def by_label(rows: Sequence[Row], probabilities: Floats, labels: Sequence[str] = LABELS) -> Table:
    return {label: quality(*column(rows, probabilities, label)) for label in labels}


def by_part(rows: Sequence[Row], probabilities: Floats, label: str, parts: Mapping[str, Sequence[int]]) -> Table:
    """The same category on parts of the rows, by name: sources, languages, roles."""
    out: Table = {}
    for name, indices in parts.items():
        own = [rows[i] for i in indices]
        scores, truth = column(own, probabilities[list(indices)], label)
        if len(scores):
            out[name] = quality(scores, truth)
    return out


def blocked_share(rows: Sequence[Row], probabilities: Floats, thresholds: Mapping[str, float]) -> float:
    """Of rows labelled harmless in every respect that they are labelled in, the share that some threshold blocks."""
    harmless = [i for i, r in enumerate(rows) if r.labels.get("harm") == 0 and not any(r.labels.values())]
    if not harmless:
        return float("nan")
    hits = np.zeros(len(harmless), dtype=bool)
    for label, threshold in thresholds.items():
        applies = np.array([label in rows[i].labels for i in harmless])
        hits |= applies & (probabilities[harmless, LABELS.index(label)] >= threshold)
    return float(hits.mean())


def parts_of(rows: Sequence[Row], key: str) -> dict[str, list[int]]:
    out: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        out.setdefault(str(getattr(row, key)), []).append(i)
    return out
