from __future__ import annotations

import re

import pytest

from guards.kinds.pattern import problem


@pytest.mark.parametrize(
    "pattern",
    ["foo", r"Project [A-Z]\w{2,20}", r"(?i)secret \d{1,9}", r"\bcat\b", "[^$]x", r"a|b{2}", r"SKLONGx{20,400}END"],
)
def test_bounded_patterns_are_fine(pattern: str) -> None:
    assert problem(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("a+", "more than"),
        (r"\w*x", "more than"),
        ("(a|b", "not valid RE2"),
        ("(?=a)b", "not valid RE2"),
        (r"(a)\1", "not valid RE2"),
        ("^x", r"\^"),
        ("x$", r"\$"),
        ("a?", "empty"),
        (r"\pL{2}", "not understood"),
        ("[[:alpha:]]{2}", "not understood"),
    ],
)
def test_others_are_explained(pattern: str, says: str) -> None:
    found = problem(pattern)
    assert found is not None
    assert re.search(says, found[0])
    assert found[1]
