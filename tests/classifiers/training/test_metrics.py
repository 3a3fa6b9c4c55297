from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.training.metrics import auroc, ece, platt, recall_at, threshold_at


def floats(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(values, dtype=np.float64)


@pytest.mark.parametrize(
    ("scores", "labels", "area"),
    [
        ((0.1, 0.2, 0.8, 0.9), (0, 0, 1, 1), 1.0),
        ((0.9, 0.8, 0.2, 0.1), (0, 0, 1, 1), 0.0),
        ((0.5, 0.5, 0.5, 0.5), (0, 1, 0, 1), 0.5),
        ((0.1, 0.4, 0.35, 0.8), (0, 0, 1, 1), 0.75),
    ],
)
def test_the_area_is_that_of_the_textbook(scores: tuple[float, ...], labels: tuple[float, ...], area: float) -> None:
    assert auroc(floats(*scores), floats(*labels)) == area


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=60))
def test_the_area_counts_the_pairs_that_are_in_order(rows: list[tuple[int, bool]]) -> None:
    scores, labels = floats(*(r[0] for r in rows)), floats(*(r[1] for r in rows))
    good, bad = scores[labels == 1], scores[labels == 0]
    area = auroc(scores, labels)
    if not len(good) or not len(bad):
        assert np.isnan(area)
        return
    pairs = [(g > b) + 0.5 * (g == b) for g in good for b in bad]
    assert area == pytest.approx(sum(pairs) / len(pairs))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200), st.floats(0, 0.5))
def test_no_more_than_the_share_of_negatives_reach_the_threshold(scores: list[float], share: float) -> None:
    found = threshold_at(floats(*scores), share)
    assert sum(s >= found for s in scores) <= share * len(scores)


def test_recall_at_a_bound_counts_what_lies_above_it() -> None:
    scores = floats(*(n / 100 for n in range(100)), 0.995, 0.5)
    labels = floats(*[0] * 100, 1, 1)
    assert recall_at(scores, labels, 0.01) == 0.5


def test_calibration_error_is_the_distance_from_the_truth() -> None:
    assert ece(floats(*[0.9] * 10), floats(*[1] * 9, 0)) == pytest.approx(0.0)
    assert ece(floats(*[0.9] * 10), floats(*[0] * 10)) == pytest.approx(0.9)


def test_platt_scaling_makes_logits_probabilities() -> None:
    chance = np.random.default_rng(1)
    logits = chance.normal(size=4000) * 3
    labels = (chance.random(4000) < 1 / (1 + np.exp(-(0.5 * logits - 1)))).astype(np.float64)
    slope, intercept = platt(logits, labels)
    assert slope == pytest.approx(0.5, abs=0.05)
    assert intercept == pytest.approx(-1, abs=0.1)


def test_platt_scaling_never_turns_the_order_round() -> None:
    assert platt(floats(-2, -1, 1, 2), floats(1, 1, 0, 0)) == (1.0, 0.0)
