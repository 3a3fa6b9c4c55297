from __future__ import annotations

import pytest

from gateway.console.words import ago, left, span, urgency, words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (47 * 3600, "47 h"), (172800, "2 d")],
)
def test_the_largest_unit_is_enough(seconds: float, said: str) -> None:
    assert span(seconds) == said
    assert ago(1e6 - seconds, 1e6) == f"{said} ago"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "over"), (0.4, "0:00"), (61, "1:01"), (3661, "1:01:01"), (172800, "2 d")],
)
def test_a_countdown_reads_like_a_clock(seconds: float, said: str) -> None:
    assert left(seconds) == said


@pytest.mark.parametrize(("seconds", "colour"), [(51, ""), (50, "amber"), (10, "amber"), (9, "red"), (-1, "red")])
def test_a_clock_turns_amber_at_half_and_red_at_a_tenth(seconds: float, colour: str) -> None:
    assert urgency(seconds, 100) == colour


def test_names_read_as_words() -> None:
    assert words("allow_with_edit") == "allow with edit"
    assert words(None) == "none"
