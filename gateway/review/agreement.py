"""How far people agree beyond chance: Krippendorff's alpha for nominal data, with a bootstrap interval.

Krippendorff, *Computing Krippendorff's Alpha-Reliability* (2011): 1 is full agreement, 0 what chance gives, and less is
worse than chance. Units may have any number of judgements; those with fewer than two say nothing and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEAST = 2
"""Units, and judgements of a unit, below which nothing can be said."""
CONFIDENCE = (2.5, 97.5)
"""Percentiles."""
CHUNK = 250
"""Rounds computed at once: with 2000 units, 4 MB."""

Floats = NDArray[np.float64]


def alpha(units: Sequence[Sequence[str]]) -> float | None:
    """`units`: of each, what was said of it. None below two units, and where everybody always says the same."""
    counts = tally(units)
    if len(counts) < LEAST:
        return None
    found = float(coefficients(counts, np.ones((1, len(counts))))[0])
    return None if np.isnan(found) else found


def interval(units: Sequence[Sequence[str]], seed: int, rounds: int = 1000) -> tuple[float, float] | None:
    """The 95% percentile interval over units drawn with replacement; the same for the same units and seed.

    Rounds in which nothing varies have no coefficient and are left out. None where `alpha` is None.
    """
    counts = tally(units)
    if alpha(units) is None:
        return None
    draw = np.random.default_rng(seed)
    even = np.full(len(counts), 1 / len(counts))
    sizes = [min(CHUNK, rounds - start) for start in range(0, rounds, CHUNK)]
    drawn = (draw.multinomial(len(counts), even, size=size).astype(np.float64) for size in sizes)
    found = np.concatenate([coefficients(counts, weights) for weights in drawn])
    found = found[~np.isnan(found)]
    if not len(found):
        return None
    low, high = np.percentile(found, CONFIDENCE)
    return float(low), float(high)


def tally(units: Sequence[Sequence[str]]) -> Floats:
    """How often each value was said of each unit that can be compared: a row a unit, a column a value."""
    paired = [unit for unit in units if len(unit) >= LEAST]
    columns = {value: i for i, value in enumerate(sorted({value for unit in paired for value in unit}))}
    counts = np.zeros((len(paired), len(columns)))
    for row, unit in enumerate(paired):
        for value in unit:
            counts[row, columns[value]] += 1
    return counts


def coefficients(counts: Floats, weights: Floats) -> Floats:
    """Alpha for each row of `weights`, how often each unit is in; NaN where nothing varies."""
    said = counts.sum(axis=1)
    differing = (said**2 - (counts**2).sum(axis=1)) / (said - 1)
    values = weights @ counts
    total = values.sum(axis=1)
    expected = total**2 - (values**2).sum(axis=1)
    observed = (total - 1) * (weights @ differing)
    return np.where(expected > 0, 1 - observed / np.where(expected > 0, expected, 1), np.nan)
