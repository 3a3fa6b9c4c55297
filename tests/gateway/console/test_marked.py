from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.console.marked import LONGEST, UNSEEN, Mark, Piece, left_out, pieces


def test_a_span_is_marked_and_the_rest_is_not() -> None:
    assert pieces("call 555 now", [Mark(5, 8, "phone")]) == [Piece("call "), Piece("555", "phone"), Piece(" now")]


def test_spans_that_overlap_are_cut_where_they_meet() -> None:
    told = [(p.text, p.why) for p in pieces("abcdef", [Mark(0, 4, "x"), Mark(2, 6, "y")])]
    assert told == [("ab", "x"), ("cd", "x; y"), ("ef", "y")]


def test_a_span_past_the_end_marks_what_there_is() -> None:
    assert pieces("abc", [Mark(1, 99, "x"), Mark(50, 60, "y")]) == [Piece("a"), Piece("bc", "x")]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("\u202e", "RLO"),
        ("\u200b\u200b\u200b", "ZWSP×3"),
        ("\x1b", "ESC"),
        ("\x00", "U+0000"),
        ("\u2066", "LRI"),
        ("\ufeff", "BOM"),
        ("\u3164", "U+3164"),
        ("\ufe0f", "U+FE0F"),
        ("\ue000", "U+E000"),
        ("\ud800", "U+D800"),
        ("\r", "CR"),
    ],
)
def test_what_no_eye_can_see_has_a_name(text: str, name: str) -> None:
    [piece] = pieces(text)
    assert piece.text == name
    assert piece.unseen.startswith(f"U+{ord(text[0]):04X} ")


def test_tag_characters_say_what_they_smuggle() -> None:
    hidden = "".join(chr(0xE0000 + ord(c)) for c in "ignore")
    assert [p.text for p in pieces(f"hi{hidden}")] == ["hi", "tags: ignore"]


def test_invisible_characters_inside_a_span_stay_marked() -> None:
    assert [p.why for p in pieces("a\u200bb", [Mark(0, 3, "x")])] == ["x", "x", "x"]


def test_a_very_long_text_says_how_much_is_left_out() -> None:
    text = "a" * (LONGEST + 7)
    assert sum(len(p.text) for p in pieces(text)) == LONGEST
    assert left_out(text) == 7


@given(st.text(max_size=200), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=5))
def test_whatever_the_text_and_the_spans_nothing_is_lost_and_nothing_invisible_is_left(
    text: str, spans: list[tuple[int, int]]
) -> None:
    told = pieces(text, [Mark(a, b, "x") for a, b in spans])
    seen = "".join(p.text for p in told if not p.unseen)
    assert seen == UNSEEN.sub("", text)
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs", "Co") for c in seen if c not in "\n\t")
