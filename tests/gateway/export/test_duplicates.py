from __future__ import annotations

import random

import pytest

from gateway.export.duplicates import SIMILAR, Seen, shingles, signature, similarity

WORDS = [f"word{i}" for i in range(400)]


def prose(seed: int, length: int = 200) -> list[str]:
    return random.Random(seed).choices(WORDS, k=length)


def jaccard(one: str, other: str) -> float:
    """The true one, of which MinHash is an estimate."""
    mine, theirs = set(shingles(one).tolist()), set(shingles(other).tolist())
    return len(mine & theirs) / len(mine | theirs)


@pytest.mark.parametrize("changed", [0, 5, 20, 60, 120])
def test_the_estimate_is_near_the_true_share(changed: int) -> None:
    words = prose(1)
    other = [*prose(2)[:changed], *words[changed:]]
    one, two = " ".join(words), " ".join(other)
    assert similarity(signature(one), signature(two)) == pytest.approx(jaccard(one, two), abs=0.12)


def test_a_text_with_a_word_changed_is_like_it_and_another_is_not() -> None:
    seen, words = Seen(), prose(3)
    assert seen.like(" ".join(words), "first") is None
    assert seen.like(" ".join(["Changed", *words[1:]]), "second") == "first"
    assert seen.like(" ".join(prose(4)), "third") is None


def test_case_and_spacing_make_no_difference() -> None:
    assert similarity(signature("How  Are\nYou today"), signature("how are you today")) == 1.0


@pytest.mark.parametrize("text", ["", "a", "你好", "\ud800", "👋" * 3])
def test_the_shortest_texts_are_like_themselves_alone(text: str) -> None:
    seen = Seen()
    assert seen.like(text, "first") is None
    assert seen.like(text, "second") == "first"
    assert seen.like("something else entirely", "third") is None


def test_of_many_near_duplicates_nearly_all_are_found() -> None:
    seen, found = Seen(), 0
    for seed in range(100):
        words = prose(seed)
        seen.like(" ".join(words), "first")
        other = " ".join([*words[:100], "new", *words[101:]])
        assert jaccard(" ".join(words), other) > SIMILAR
        found += seen.like(other, "again") is not None
    assert found >= 95
