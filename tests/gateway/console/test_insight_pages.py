from __future__ import annotations

from datetime import date

import pytest

from gateway.console.insight_pages import DAYS, days, drawn, figures
from gateway.review.desk import Stats


def test_days_without_a_decision_are_drawn_too() -> None:
    told = days(Stats(5, {"2026-03-01": 4, "2026-02-27": 1, "2025-01-01": 9}), date(2026, 3, 1))
    assert len(told) == DAYS
    assert [(d["day"], d["count"], d["share"]) for d in told[-3:]] == [
        ("2026-02-27", 1, 0.25),
        ("2026-02-28", 0, 0.0),
        ("2026-03-01", 4, 1.0),
    ]


def test_where_nothing_was_decided_there_is_no_chart() -> None:
    assert days(Stats(0), date(2026, 3, 1)) == []


def test_too_few_cases_are_said_to_be_so() -> None:
    assert [figure for _, figure, _ in figures(Stats(0))] == ["0", "none", "too few", "too few"]
    assert [f for _, f, _ in figures(Stats(9, {}, 41.5, 0.04, 0.9))] == ["9", "41 s", "4%", "90%"]


@pytest.mark.parametrize(
    ("row", "places"),
    [
        ({"alpha": 0.7, "interval": (0.5, 0.9)}, (50, 90, 70)),
        ({"alpha": -0.4, "interval": (-0.9, 0.2)}, (0, 20, 0)),
        ({"alpha": None, "interval": None}, (0, 0, 0)),
    ],
)
def test_agreement_is_drawn_on_a_scale_from_chance_to_full(row: dict[str, object], places: tuple[int, ...]) -> None:
    told = drawn(row)
    assert (told["from"], told["to"], told["point"]) == pytest.approx(places)
