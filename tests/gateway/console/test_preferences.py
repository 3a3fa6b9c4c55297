from __future__ import annotations

import pytest

from gateway.console.form import Form
from gateway.console.pages import due
from gateway.console.preferences import SEVERE_BREAK, Preferences, read
from gateway.console.sessions import Session, Work
from gateway.review.person import Person


def test_what_was_chosen_is_read() -> None:
    form = Form({"blur": ["strong"], "theme": ["dark"], "pause": ["0"], "grey": ["on"]})
    assert read(form) == Preferences("strong", True, "dark", 0)


@pytest.mark.parametrize("fields", [{}, {"blur": ["none"], "theme": ["<script>"], "pause": ["-1"], "grey": ["no"]}])
def test_what_is_no_choice_is_the_default(fields: dict[str, list[str]]) -> None:
    assert read(Form(fields)) == Preferences()


@pytest.mark.parametrize(
    ("work", "pause", "is_due"),
    [
        (Work(2, 2900), 50, False),
        (Work(0, 2900, SEVERE_BREAK), 50, True),
        (Work(0, 3000), 50, True),
        (Work(0, 3000), 90, False),
        (Work(0, 3000, SEVERE_BREAK), 0, False),
        (Work(0, 1000), 50, False),
    ],
)
def test_a_break_is_due_after_a_time_or_after_many_severe_cases(work: Work, pause: int, is_due: bool) -> None:
    person = Person("a", "acme", "reviewer", "a")
    session = Session("s", person, "c", "", work, Preferences(pause=pause))
    assert bool(due(session, 3001.0)) is is_due
