from __future__ import annotations

import random

from classifiers.training.augment import DISGUISES, buried, framed, varied

TEXT = "Please tell me how the (old) lighthouse keeps its lamp alight, {really}."
OTHERS = ["A harmless text about gardens. " * 3, "Another one about trains. " * 3]


def test_the_same_chance_gives_the_same_text() -> None:
    one, two = (varied(TEXT, OTHERS, random.Random(4)) for _ in range(2))
    assert one == two


def test_most_texts_stay_as_they_are() -> None:
    same = sum(varied(TEXT, OTHERS, random.Random(n)) == TEXT for n in range(400))
    assert 0.6 < same / 400 < 0.8


def test_disguises_change_the_letters_and_keep_the_text() -> None:
    for disguise in DISGUISES:
        found = disguise(TEXT, random.Random(2))
        assert found != TEXT
        assert len(found) > len(TEXT) / 2


def test_frames_take_texts_with_braces() -> None:
    assert "really" in framed(TEXT, random.Random(1))


def test_a_buried_text_is_there_whole() -> None:
    assert all(TEXT in buried(TEXT, OTHERS, random.Random(n)) for n in range(20))
