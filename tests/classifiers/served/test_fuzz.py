"""However strange an answer is, it is scored only where it is of the grammar, and else a ClassifierError."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.classifier import ClassifierError, Scores
from classifiers.served.families import FAMILIES
from classifiers.served.family import Family
from tests.classifiers.served.guards import ANSWERS, EVERY, PIECE, PROMPT, RESPONSE, scores

# Written anew, and not with the families' own expressions: what they may accept at most.
YES_NO = r"\s*(Yes|No)\s*"
THOUGHTS = r"(\s*<think>.*</think>)?"
SCORE = THOUGHTS + r"\s*<score>\s*(yes|no)\s*</score>\s*"
LOOSE = {
    "llama_guard": r"\s*(safe|unsafe\n(S\d+)(, ?S\d+)*)\s*",
    "shieldgemma": YES_NO,
    "wildguard": r"\s*Harmful request: \S+\nResponse refusal: \S+\nHarmful response: \S+\s*",
    "granite_guardian_3.1": YES_NO,
    "granite_guardian_3.2": YES_NO + r"(<confidence>\s*(High|Low)\s*</confidence>\s*)?",
    "granite_guardian_3.3": SCORE,
    "granite_guardian_4.1": SCORE,
    "qwen3guard": r"\s*Safety: (Safe|Unsafe|Controversial)\nCategories: [^\n]+(\nRefusal: (Yes|No))?\s*",
    "nemotron_safety_guard": r'\s*\{\s*"User Safety".*\}\s*',
    "nemotron_content_safety_3.5": r"\s*User Safety: (safe|unsafe).*",
    "gpt_oss_safeguard": THOUGHTS + r"\s*[01]\s*",
}
WORDS = sorted({piece for said in ANSWERS.values() for piece in PIECE.findall(said)})
pieces = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(
        [*ANSWERS.values(), "safe", "unsafe", "No", "no", "0", "\n", " ", "S1", "S99", "<think>", "</think>"]
    ),
    st.text(max_size=4),
)
answers = st.lists(pieces, max_size=6).map("".join)


def attempt(family: Family, said: str, sample: str = "prompt") -> Scores | None:
    try:
        return scores(family, PROMPT if sample == "prompt" else RESPONSE, said)
    except ClassifierError:
        return None


@pytest.mark.parametrize("name", FAMILIES)
@given(said=answers, sample=st.sampled_from(["prompt", "response"]))
@settings(max_examples=150, deadline=None)
def test_only_answers_of_the_grammar_are_scored(name: str, said: str, sample: str) -> None:
    found = attempt(FAMILIES[name], said, sample)
    if found is not None:
        assert re.fullmatch(LOOSE[name], said, re.DOTALL)
        assert all(0 <= chance <= 1 for chance in found.values())


@pytest.mark.parametrize("name", FAMILIES)
@given(more=st.text(min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_nothing_but_blanks_may_stand_before_an_answer(name: str, more: str) -> None:
    assert attempt(FAMILIES[name], more + ANSWERS[name]) is None or more.isspace()


@pytest.mark.parametrize("name", EVERY)
@given(answer=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
@settings(max_examples=60, deadline=None)
def test_no_body_at_all_makes_a_family_crash(name: str, answer: bytes) -> None:
    family = EVERY[name]
    with pytest.raises(ClassifierError):
        family.scores(PROMPT, [answer] * len(family.asks(PROMPT)))
