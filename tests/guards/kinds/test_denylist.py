from __future__ import annotations

import pytest

from guards.catalog import build_lanes
from guards.lane import Lane
from guards.policy import Policy
from tests.guards.lanes import FOLDER, every_kind, rule, whole


def lane(*terms: str) -> Lane:
    guards = (rule("words", "denylist", terms=terms),)
    return build_lanes(Policy(name="p", guards=guards), "output", FOLDER).enforced


@pytest.mark.parametrize(
    ("term", "text", "out"),
    [
        ("damn", "Damn! DAMN dämn dаmn", "[WORDS]! [WORDS] [WORDS] [WORDS]"),
        ("damn", "damnation goddamn damn_it", "damnation goddamn damn_it"),
        ("red fox", "a red fox; red foxes", "a [WORDS]; red foxes"),
        ("c++", "I like c++ and c+++", "I like [WORDS] and [WORDS]+"),
        ("ярд", "один ярд", "один [WORDS]"),
        ("рак", "the pak army", "the pak army"),
        ("秘密", "这是秘密吗", "这是[WORDS]吗"),
        ("naïve", "NAIVE naïve", "[WORDS] [WORDS]"),
        ("ass", "assistant class pass", "assistant class pass"),
    ],
)
def test_terms_are_found_as_words(term: str, text: str, out: str) -> None:
    assert whole(lane(term), text).text == out


def test_ten_thousand_terms_are_all_found() -> None:
    terms = [f"term{i:05d}" for i in range(10_000)]
    many = lane(*terms)
    assert (
        whole(many, "a term00000 b term04321 c term09999 d term10000").text
        == "a [WORDS] b [WORDS] c [WORDS] d term10000"
    )


def test_the_longest_term_wins() -> None:
    assert whole(lane("red", "red fox"), "red fox red").text == "[WORDS] [WORDS]"


def test_a_lane_of_every_kind_has_them_all() -> None:
    assert len(every_kind(block=True).rules) == 10
