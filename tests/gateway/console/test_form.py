from __future__ import annotations

import pytest

from gateway.console.draft import Draft
from gateway.console.form import Form
from gateway.errors import InvalidRequest


@pytest.mark.parametrize("said", ["", "nan", "inf", "-1", "1e9", "٣", "1" * 30, "x"])
def test_what_is_no_number_of_the_pages_is_nothing(said: str) -> None:
    form = Form({"token": [said], "seconds": [said]})
    assert (form.whole("token"), form.seconds("seconds")) == (0, 0.0)


def test_a_draft_is_what_the_form_says() -> None:
    form = Form(
        {
            "choice": ["allow_with_edit"],
            "reason": ["quoted"],
            "severity": ["2"],
            "category": ["hate", "pii"],
            "note": [" why \r\n"],
            "edit:choices[0].message.content": ["one\r\ntwo"],
            "seconds": ["12.5"],
            "token": ["7"],
        }
    )
    decision = Draft.of(form).decision("case_1", "ann", 9.0)
    assert (decision.choice, decision.reason, decision.severity) == ("allow_with_edit", "quoted", 2)
    assert (decision.categories, decision.note, decision.token, decision.seconds) == (("hate", "pii"), "why", 7, 12.5)
    assert decision.edits == {"choices[0].message.content": "one\ntwo"}


def test_a_refusal_takes_the_place_that_the_page_named() -> None:
    form = Form({"choice": ["refuse_rewrite"], "refusal": ["No."], "place": ["x"], "edit:x": ["ignored"]})
    assert Draft.of(form).decision("case_1", "ann", 9.0).edits == {"x": "No."}


@pytest.mark.parametrize("choice", ["", "ALLOW", "timeout"])
def test_a_draft_without_a_choice_is_no_decision(choice: str) -> None:
    with pytest.raises(InvalidRequest):
        Draft.of(Form({"choice": [choice]})).decision("case_1", "ann", 9.0)
