from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.review.sampling import drawn

MANY = 20_000


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("form", ["{}", "req-{:08d}", "{:x}-suffix"])
def test_the_share_is_kept_whatever_the_ids_look_like(share: float, form: str) -> None:
    hit = sum(drawn("audit", form.format(i), share) for i in range(MANY))
    spread = (MANY * share * (1 - share)) ** 0.5
    assert abs(hit - MANY * share) < 5 * spread


def test_a_lot_says_nothing_of_the_next_id() -> None:
    lots = [drawn("audit", str(i), 0.5) for i in range(MANY)]
    both = sum(a and b for a, b in pairwise(lots))
    assert abs(both - MANY / 4) < 5 * (MANY * 3 / 16) ** 0.5


def test_seeds_draw_independently() -> None:
    both = sum(drawn("audit", str(i), 0.5) and drawn("second", str(i), 0.5) for i in range(MANY))
    assert abs(both - MANY / 4) < 5 * (MANY * 3 / 16) ** 0.5


@given(st.text(st.characters()), st.text(st.characters()), st.floats(0, 1), st.floats(0, 1))
def test_a_lot_is_repeatable_and_a_larger_share_only_adds(seed: str, id: str, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert drawn(seed, id, low) == drawn(seed, id, low)
    assert drawn(seed, id, low) <= drawn(seed, id, high)


@given(st.text(), st.text())
def test_none_and_all_are_exact(seed: str, id: str) -> None:
    assert not drawn(seed, id, 0.0)
    assert drawn(seed, id, 1.0)
