"""The curve over the modes of streaming as a PNG: `python -m tests.bench.plot FILE`, after `--only lane`.

Needs matplotlib, which is no dependency of Wardgate's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from tests.bench.model_lane import HARM, POINTS, Point

PANELS = (
    ("rate", "answers of 100 tokens a second", "#1f5fa8"),
    ("ttft", "time to first text, ms", "#1f5fa8"),
    ("delay", "delay of a chunk, p99, ms", "#1f5fa8"),
    ("harm", f"harmful characters that left (of {len(HARM)})", "#b3261e"),
)


def plot(points: Sequence[Point], path: Path) -> None:
    """One panel a figure."""
    figure = Figure(figsize=(3.4 * len(PANELS), 3.2))
    for panel, (name, title, colour) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        values = [getattr(p, name) for p in points]
        bars = panel.bar(range(len(points)), values, color=colour)
        panel.bar_label(bars, [f"{v:.0f}" for v in values], padding=2)
        panel.set_xticks(range(len(points)), [p.mode.replace("slack ", "slack\n") for p in points])
        panel.set_title(title, fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    plot([Point(**point) for point in json.loads(POINTS.read_text())], Path(sys.argv[1]))
