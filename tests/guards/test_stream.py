"""The invariant: whatever the cuts, the released pieces are what the whole text would release."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards.guard import Found, Window
from guards.lane import Duty, Lane
from guards.stream import TextFilter
from guards.verdict import Action
from tests.guards.lanes import FINDS, FOLDER, PROMPT, WORDS, cut, document, every_kind, feed_all, found, whole

REDACTING = every_kind(block=False)
BLOCKING = every_kind(block=True)

pieces = st.one_of(
    st.sampled_from(FINDS),
    st.sampled_from(WORDS),
    st.sampled_from([PROMPT[:50], PROMPT[20:90], " ", "\n", "-", ".", "@", "SKLONGxxxEND"]),
    st.text(st.characters(codec="utf-8"), max_size=8),
)


@st.composite
def cut_texts(draw: st.DrawFn) -> list[str]:
    text = "".join(draw(st.lists(pieces, max_size=12)))
    edges = sorted(draw(st.sets(st.integers(0, len(text)), max_size=24)))
    return [text[a:b] for a, b in zip([0, *edges], [*edges, len(text)], strict=True)]


@pytest.mark.parametrize("lane", [REDACTING, BLOCKING], ids=["redact", "block"])
@given(parts=cut_texts())
@settings(max_examples=600, deadline=None)
def test_every_way_to_cut_a_text_releases_the_same(lane: Lane, parts: list[str]) -> None:
    expected = whole(lane, "".join(parts))
    releases = feed_all(lane, parts)
    assert "".join(r.text for r in releases) == expected.text
    assert any(r.blocked for r in releases) == expected.blocked
    assert found(releases) == found([expected])


@given(text=st.lists(pieces, max_size=8).map("".join))
@settings(max_examples=150, deadline=None)
def test_one_character_at_a_time_releases_the_same(text: str) -> None:
    assert "".join(r.text for r in feed_all(REDACTING, list(text))) == whole(REDACTING, text).text


@pytest.mark.parametrize("block", range(8))
def test_twenty_thousand_random_documents_leak_nothing(block: int) -> None:
    r = random.Random(block)
    for _ in range(2500):
        text = document(r)
        lane = BLOCKING if r.random() < 0.3 else REDACTING
        expected = whole(lane, text)
        releases = feed_all(lane, cut(text, r))
        assert "".join(x.text for x in releases) == expected.text
        assert found(releases) == found([expected])


def test_nothing_that_must_be_hidden_is_in_the_output() -> None:
    hidden = [f for f in FINDS if f not in ("a\u200db", "paypаl", "ｊｏｅ@x.org", "the quick brown")]
    out = whole(REDACTING, " , ".join(hidden)).text
    assert not [f for f in hidden if f in out]


def test_text_without_a_partial_match_leaves_at_once() -> None:
    lane = Lane((BLOCKING.rules[0],), None, ())
    filter_ = TextFilter.new(lane, FOLDER)
    assert [filter_.feed(p).text for p in ("Hello", " world", "!")] == ["Hello", " world", "!"]


def test_a_stream_with_nothing_to_hide_keeps_its_chunks() -> None:
    filter_ = TextFilter.new(BLOCKING, FOLDER)
    chunks = ["In short, ", "it is ", "simple: ", "write it ", "down. "]
    assert [filter_.feed(c).text for c in chunks] == chunks


def test_held_text_is_never_longer_than_the_longest_partial_match() -> None:
    filter_ = TextFilter.new(BLOCKING, FOLDER)
    filter_.feed("say SKLONG")
    for _ in range(60):
        filter_.feed("x")
        assert filter_.held <= len("SKLONG") + 60 + len("END")
    filter_.feed("x")
    assert filter_.held <= 64  # what an e-mail address may still begin with


def test_after_a_block_nothing_leaves() -> None:
    releases = feed_all(BLOCKING, ["safe text. SKLONGxx", "xEND and ", "more"])
    assert "".join(r.text for r in releases) == "safe text. "
    assert releases[-1].blocked


def test_the_stronger_guard_does_not_reveal_what_the_weaker_overlaps() -> None:
    assert whole(REDACTING, "card 4111 1111 1111 1111 done").text == "card [CARD] done"


class Broken:
    """A guard that crashes on a word."""

    def track(self) -> Broken:
        return self

    def scan(self, window: Window) -> Found:
        if "crash" in window.text:
            raise ZeroDivisionError
        return Found((), window.origin + len(window.text))


@pytest.mark.parametrize(("on_error", "out"), [(Action.BLOCK, "all well "), (Action.ALLOW, "all well then crash, on")])
def test_a_crash_is_a_failure_and_means_what_the_rule_says(on_error: Action, out: str) -> None:
    duty = Duty("b", "harm", Action.BLOCK, "enforce", on_error, "1")
    releases = feed_all(Lane((duty,), None, ((0, Broken()),)), ["all well ", "then crash", ", on"])
    assert "".join(r.text for r in releases) == out
    assert [f.error for r in releases for f in r.failures] == ["ZeroDivisionError"]
