"""How far reviewers agree, as Krippendorff defines it."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.review.agreement import alpha, interval

WORDS = ("allow", "block", "edit", "refuse")
PUBLISHED = ["111", "2232", "3333", "3333", "2222", "1234", "4444", "1121", "2222", "555", "11", "3"]
"""The units of Krippendorff (2011), example C: four observers, twelve units, values missing."""


def mixed(seed: int, count: int = 60) -> list[list[str]]:
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 3, count)
    return [[WORDS[t if draw.random() < 0.7 else draw.integers(0, 3)] for _ in range(2)] for t in truth]


def oracle(units: list[list[str]]) -> float:
    """By the definition, pair by pair: 1 less the disagreement within units over that of all values by chance."""
    said = [unit for unit in units if len(unit) > 1]
    values = [word for unit in said for word in unit]
    within = sum(sum(a != b for a, b in permutations(unit, 2)) / (len(unit) - 1) for unit in said)
    chance = sum(a != b for a, b in permutations(values, 2)) / (len(values) - 1)
    return 1.0 - within / chance


def test_the_published_example_has_its_published_coefficient() -> None:
    assert alpha(PUBLISHED) == pytest.approx(0.743, abs=0.0005)


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=5), min_size=2, max_size=30))
def test_any_units_have_the_coefficient_of_the_reference(units: list[list[str]]) -> None:
    paired = [unit for unit in units if len(unit) > 1]
    found = alpha(units)
    if len(paired) < 2 or len({word for unit in paired for word in unit}) < 2:
        assert found is None
    else:
        assert found == pytest.approx(oracle(units))


@pytest.mark.parametrize("units", [[], [["allow", "block"]], [["allow", "block"], ["allow"]]])
def test_below_two_units_nothing_is_said(units: list[list[str]]) -> None:
    assert alpha(units) is None
    assert interval(units, 0) is None


def test_nothing_is_said_where_nothing_varies() -> None:
    assert alpha([["block", "block"]] * 50) is None
    assert interval([["block", "block"]] * 50, 0) is None


def test_full_agreement_is_one_with_no_doubt() -> None:
    units = [["allow", "allow"]] * 20 + [["block", "block"]] * 20
    assert alpha(units) == 1.0
    assert interval(units, 0) == (1.0, 1.0)


def test_the_interval_is_that_of_units_drawn_one_by_one() -> None:
    units = mixed(1)
    draw = np.random.default_rng(5)
    slow = [oracle([units[i] for i in draw.integers(0, len(units), len(units))]) for _ in range(400)]
    found = interval(units, 0, rounds=4000)
    assert found is not None
    assert found == pytest.approx(tuple(np.percentile(slow, (2.5, 97.5))), abs=0.06)


def test_the_interval_is_repeatable_and_holds_the_coefficient() -> None:
    units = mixed(2)
    found, whole = interval(units, 7), alpha(units)
    assert found is not None
    assert whole is not None
    assert found == interval(units, 7) != interval(units, 8)
    assert found[0] < whole < found[1]


def test_more_units_leave_less_doubt() -> None:
    few, many = interval(mixed(3, 40), 0), interval(mixed(3, 1000), 0)
    assert few is not None
    assert many is not None
    assert many[1] - many[0] < (few[1] - few[0]) / 2
