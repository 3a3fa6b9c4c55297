"""Tokens are found in the text that they spell, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.spelling import LAG, Spelling, is_blank


def spelt(text: str, *tokens: str) -> list[str | None]:
    """What stands where each token was found."""
    spelling = Spelling()
    spelling.add(text)
    found = []
    for token in tokens:
        place = spelling.place(token)
        found.append(None if place is None else text[place.start : place.end])
        if place is None:
            spelling.lose(token)
    return found


@pytest.mark.parametrize(
    ("text", "tokens", "found"),
    [
        ("It is fine", ("It", " is", " fine"), ["It", "is", "fine"]),
        ("It is fine", ("It", "is", "fine"), ["It", "is", "fine"]),
        ("It is fine", ("▁It", "▁is", "▁fine"), ["It", "is", "fine"]),
        ("It is fine", ("<think>", "It", " was", " is"), [None, "It", None, "is"]),
        ("It ☺ is ☻", ("It", " \ufffd", "\ufffd", " is", "\ufffd"), ["It", None, None, "is", None]),
        ("你好吗", ("你", "\ufffd", "吗"), ["你", None, "吗"]),
        ("fine", ("", " ", "fine"), ["", "", "fine"]),
        ("fine", ("fi", "ne", "</s>"), ["fi", "ne", None]),
        ("a\ufffdb", ("a", "\ufffd", "b"), ["a", "\ufffd", "b"]),
        ("▁a", ("▁", "▁a"), ["", "a"]),
    ],
)
def test_each_token_is_found_where_the_last_one_ended(
    text: str, tokens: tuple[str, ...], found: list[str | None]
) -> None:
    assert spelt(text, *tokens) == found


def test_a_token_waits_for_the_text_that_it_begins() -> None:
    spelling = Spelling()
    spelling.add("fi")
    assert (spelling.place("fine"), spelling.short) == (None, True)
    spelling.add("ne")
    assert spelling.place("fine") == (0, 4)


def test_tokens_that_the_upstream_left_out_are_passed_over_with_the_next_chunk() -> None:
    spelling = Spelling()
    spelling.add("one ")
    spelling.turn()
    spelling.add("two")
    assert spelling.place("two") == (4, 7)


def test_text_that_no_token_spells_is_forgotten() -> None:
    spelling = Spelling()
    for _ in range(100):
        spelling.turn()
        spelling.add("x" * 1000)
        assert len(spelling.text) <= LAG + 1000
    spelling.turn()
    spelling.add("end")
    assert spelling.place("end") == (100_000, 100_003)


@given(st.lists(st.text(max_size=6), max_size=8), st.lists(st.text(max_size=3), max_size=12))
def test_whatever_is_found_says_what_the_token_says(pieces: list[str], tokens: list[str]) -> None:
    spelling, text = Spelling(), ""
    for piece in pieces:
        spelling.turn()
        spelling.add(piece)
        text += piece
        for token in tokens[:2]:
            if (place := spelling.place(token)) is not None:
                assert bare(text[place.start : place.end]) == bare(token)
            else:
                spelling.lose(token)
        tokens = tokens[2:]


def bare(text: str) -> str:
    return "".join(c for c in text if not is_blank(c))
