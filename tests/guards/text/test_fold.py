from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.text.fold import Folder, genuine


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("４１１１", "4111"),
        ("jоhn", "john"),
        ("a\u200bb", "ab"),
        ("\U000e0048\U000e0069", "Hi"),
        ("ﬁne", "fine"),
        ("e\u0301", "e"),
        ("𝒔𝒆𝒄𝒓𝒆𝒕", "secret"),
        ("plain", "plain"),
    ],
)
def test_folding_shows_what_a_reader_sees(text: str, folded: str) -> None:
    assert Folder.new().fold(text) == folded


@given(a=st.text(), b=st.text())
def test_folding_commutes_with_cutting(a: str, b: str) -> None:
    folder = Folder.new(lower=True)
    assert folder.fold(a + b) == folder.fold(a) + folder.fold(b)


@given(text=st.text())
def test_offsets_lead_back_to_the_raw_text(text: str) -> None:
    folder = Folder.new()
    offsets = folder.offsets(text)
    assert len(offsets) == len(folder.fold(text)) + 1
    assert all(c in folder.fold(text[i]) for c, i in zip(folder.fold(text), offsets, strict=False))


def test_a_text_of_another_script_only_resembles_latin() -> None:
    assert not genuine("рак")
    assert genuine("pаypal")
