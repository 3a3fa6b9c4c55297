from __future__ import annotations

import itertools
import re

import pytest

from guards.text.prefixes import BoundsError, Prefixes, parse

ALPHABET = "abcd"


@pytest.mark.parametrize(
    "pattern",
    ["ab{0,2}c", "a(?:bc){1,2}d?", "(?:a|bc){2,3}", "a?b?c", "(?:ab?){0,3}c", "a{2}(?:b|c{1,2})a", "a[^b]c", "ab|abc"],
)
def test_the_first_alive_index_is_that_of_the_longest_strict_prefix(pattern: str) -> None:
    """Against the definition, over all short words."""
    prefixes = Prefixes()
    prefixes.add(pattern)
    words = ["".join(w) for n in range(1, 9) for w in itertools.product(ALPHABET, repeat=n)]
    strict = {w[:i] for w in words if re.fullmatch(pattern, w) for i in range(1, len(w))}
    for word in (w for w in words if len(w) <= 5):
        expected = next((k for k in range(len(word)) if word[k:] in strict), len(word))
        assert prefixes.first_alive(word, 0).start == expected


def test_a_match_that_a_boundary_still_decides_is_alive() -> None:
    prefixes = Prefixes()
    prefixes.add(r"\bcat\b")
    assert prefixes.first_alive("a cat", 0).start == 2
    assert prefixes.first_alive("concat", 0).start == 6


def test_a_fixed_word_is_final_with_its_last_letter() -> None:
    prefixes = Prefixes()
    prefixes.add("FORBIDDEN")
    assert prefixes.first_alive("x FORBIDDEN", 0).start == len("x FORBIDDEN")


@pytest.mark.parametrize("pattern", ["a+", r"\w{2,}", "(ab)+c", "a?", "", "x{1,9000}", r"\p{L}", "(?:a{1,4000}){1,9}"])
def test_unbounded_or_foreign_expressions_are_refused(pattern: str) -> None:
    with pytest.raises(BoundsError):
        parse(pattern)


def test_an_expression_that_grows_too_large_is_refused() -> None:
    branches = "|".join(f"{c}{{1,8000}}" for c in "bcdefghijklmno")
    with pytest.raises(BoundsError, match="too large"):
        Prefixes().add(f"a(?:{branches})")
