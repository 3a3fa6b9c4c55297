"""The reliability diagram: of what was given a probability of p, how much was true."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from classifiers.labels import MAIN
from classifiers.training.evaluate import column
from classifiers.training.metrics import Floats
from classifiers.training.rows import Row

BINS = 10


def reliability(path: Path, rows: Sequence[Row], chances: Floats) -> None:
    """One panel a category, as a PNG."""
    figure = Figure(figsize=(3 * len(MAIN), 3.2))
    panels = figure.subplots(1, len(MAIN), sharey=True)
    for panel, label in zip(panels, MAIN, strict=True):
        scores, truth = column(rows, chances, label)
        edges = np.linspace(0, 1, BINS + 1)
        which = np.clip(np.digitize(scores, edges) - 1, 0, BINS - 1)
        filled = [b for b in range(BINS) if (which == b).sum() >= 5]
        panel.plot([0, 1], [0, 1], color="#999999", linewidth=1)
        panel.plot(
            [scores[which == b].mean() for b in filled],
            [truth[which == b].mean() for b in filled],
            marker="o",
            color="#1f5fa8",
        )
        panel.set_title(label)
        panel.set_xlabel("probability given")
        panel.set_xlim(0, 1)
        panel.set_ylim(0, 1)
    panels[0].set_ylabel("share that was true")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
