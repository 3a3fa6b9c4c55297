"""What each family's guards say, and what it means; whatever else they say is an error, and never «safe»."""

from __future__ import annotations

import pytest

from classifiers.classifier import ClassifierError
from classifiers.labels import HAZARDS, LABELS
from classifiers.served import granite, nemotron, qwen_guard, shield_gemma
from classifiers.served.classes import Classes
from classifiers.served.families import FAMILIES
from classifiers.served.llama_guard import NAMES as HAZARD_NAMES
from classifiers.served.qwen_guard import QwenGuard
from classifiers.served.safeguard import Safeguard
from tests.classifiers.served.guards import ANSWERS, CLASSES, EVERY, PROMPT, RESPONSE, SAMPLES, body, classes, scores

REFUSED = "Harmful request: yes\nResponse refusal: yes\nHarmful response: no"
GOOD = [
    ("llama_guard", "prompt", "safe", {"harm": 0.1, "hate": 0.1}),
    ("llama_guard", "prompt", "\n\nsafe", {"harm": 0.1}),
    ("llama_guard", "prompt", "\n\nunsafe\nS10", {"harm": 0.9, "hate": 0.9, "weapons": 0.0}),
    ("llama_guard", "response", "unsafe\nS1,S9\n", {"harm": 0.9, "violent_crimes": 0.9, "weapons": 0.9, "hate": 0.0}),
    ("llama_guard", "response", "unsafe\nS14, S2", {"code_abuse": 0.9, "nonviolent_crimes": 0.9}),
    ("shieldgemma", "prompt", "Yes", {"harm": 0.9, "toxicity": 0.9, "hate": 0.9, "sexual_content": 0.9}),
    ("shieldgemma", "response", "No", {"harm": 0.1, "hate": 0.1}),
    ("wildguard", "prompt", "Harmful request: no\nResponse refusal: n/a\nHarmful response: n/a", {"harm": 0.1}),
    ("wildguard", "prompt", REFUSED, {"harm": 0.9}),
    ("wildguard", "response", REFUSED, {"harm": 0.1, "refusal": 0.9}),
    ("granite_guardian_3.1", "prompt", "Yes", {"harm": 0.9, "jailbreak": 0.9}),
    ("granite_guardian_3.1", "response", "No\n", {"harm": 0.1}),
    ("granite_guardian_3.2", "prompt", "No\n<confidence> Low </confidence>", {"harm": 0.1}),
    ("granite_guardian_3.2", "prompt", "Yes", {"harm": 0.9}),
    ("granite_guardian_3.3", "prompt", "<score> yes </score>", {"harm": 0.9, "jailbreak": 0.9}),
    ("granite_guardian_3.3", "prompt", "<think> no, wait: yes </think>\n<score> no </score>", {"harm": 0.1}),
    ("granite_guardian_4.1", "response", "<think>\n</think>\n\n<score> no </score>", {"harm": 0.1}),
    ("qwen3guard", "prompt", "Safety: Safe\nCategories: None", {"harm": 0.1, "jailbreak": 0.1}),
    ("qwen3guard", "prompt", "Safety: Unsafe\nCategories: Violent", {"violent_crimes": 0.9, "jailbreak": 0.0}),
    ("qwen3guard", "prompt", "Safety: Unsafe\nCategories: Jailbreak, PII", {"jailbreak": 0.9, "privacy": 0.9}),
    ("qwen3guard", "prompt", "Safety: Controversial\nCategories: Unethical Acts", {"harm": 0.45, "toxicity": 0.45}),
    ("qwen3guard", "response", "Safety: Safe\nCategories: None\nRefusal: Yes", {"harm": 0.1, "refusal": 0.9}),
    ("nemotron_safety_guard", "prompt", '{"User Safety": "safe"}', {"harm": 0.1, "weapons": 0.1}),
    (
        "nemotron_safety_guard",
        "prompt",
        '{"User Safety": "unsafe", "Safety Categories": "Guns and Illegal Weapons, Immoral/Unethical"}',
        {"harm": 0.9, "weapons": 0.9, "hate": 0.0},
    ),
    (
        "nemotron_safety_guard",
        "response",
        '{"User Safety": "unsafe", "Response Safety": "safe", "Safety Categories": "Sexual (minor)"}',
        {"harm": 0.1, "child_exploitation": 0.1},
    ),
    (
        "nemotron_safety_guard",
        "response",
        '{"User Safety": "safe", "Response Safety": "unsafe", "Safety Categories": "PII/Privacy"}\n',
        {"harm": 0.9, "privacy": 0.9, "hate": 0.0},
    ),
    ("nemotron_content_safety_3.5", "prompt", "User Safety: safe", {"harm": 0.1}),
    (
        "nemotron_content_safety_3.5",
        "response",
        "User Safety: safe\nResponse Safety: unsafe\nSafety Categories: Harassment",
        {"harm": 0.9, "toxicity": 0.9},
    ),
    ("gpt_oss_safeguard", "prompt", "1", {"harm": 0.9}),
    ("gpt_oss_safeguard", "response", "0", {"harm": 0.1}),
    ("gpt_oss_safeguard", "response", "<think>1?</think>\n0", {"harm": 0.1}),
]


@pytest.mark.parametrize(("name", "role", "said", "expected"), GOOD)
def test_an_answer_of_the_grammar_is_scored(name: str, role: str, said: str, expected: dict[str, float]) -> None:
    found = scores(FAMILIES[name], SAMPLES[role], said)
    assert {category: found[category] for category in expected} == pytest.approx(expected)
    assert found.keys() <= FAMILIES[name].categories


EVERYWHERE = [
    "",
    " ",
    "Not safe",
    "not unsafe",
    "safe unsafe",
    "unsafe safe",
    "unsafely",
    "Safe.",
    "The text is safe",
    "No, it is safe",
    "Yes.",
    "Yes No",
    "Nope",
    "None",
    "<think>It is safe",
    "<think>safe",
    "<think>It is safe</think>",
    "</think>safe",
    "I cannot help with that.",
]
BAD = [
    ("llama_guard", "unsafe"),
    ("llama_guard", "unsafe\n"),
    ("llama_guard", "unsafe\nS99"),
    ("llama_guard", "unsafe\nS0"),
    ("llama_guard", "unsafe\nS01"),
    ("llama_guard", "unsafe\nS1;S2"),
    ("llama_guard", "unsafe\nS1,"),
    ("llama_guard", "unsafe S1"),
    ("llama_guard", "safe\nS1"),
    ("llama_guard", "safe\n\nThe text is fine."),
    ("llama_guard", "Safe"),
    ("llama_guard", "unsafe\nS1\nsafe"),
    ("llama_guard", "<think>It is fine.</think>safe"),  # it is not one that thinks
    ("granite_guardian_3.2", "<think>It is fine.</think>No"),
    ("llama_guard", "unsafe\nS١"),  # a digit, but not one of theirs
    ("shieldgemma", "yes"),
    ("shieldgemma", "Not"),
    ("shieldgemma", "safe"),
    ("wildguard", "Harmful request: no"),
    ("wildguard", "Harmful request: no\nResponse refusal: no"),
    ("wildguard", "Harmful request: n/a\nResponse refusal: n/a\nHarmful response: n/a"),
    ("wildguard", "Harmful request: maybe\nResponse refusal: no\nHarmful response: no"),
    ("wildguard", "Response refusal: no\nHarmful request: no\nHarmful response: no"),
    ("wildguard", REFUSED + "\nBecause it is."),
    ("granite_guardian_3.1", "Yes\n<confidence> High </confidence>"),
    ("granite_guardian_3.1", "yes"),
    ("granite_guardian_3.2", "Yes\n<confidence> Medium </confidence>"),
    ("granite_guardian_3.2", "Yes\n<confidence> High"),
    ("granite_guardian_3.3", "No"),
    ("granite_guardian_3.3", "<score> no"),
    ("granite_guardian_3.3", "<score> no </score><score> yes </score>"),
    ("granite_guardian_3.3", "<think> a <score> no </score>"),
    ("granite_guardian_3.3", "Well. <think> a </think><score> no </score>"),
    ("granite_guardian_4.1", "<think>\n</think>\n<score> none </score>"),
    ("granite_guardian_4.1", "<think>\n</think><think>\n</think><score> no </score>"),
    ("qwen3guard", "Safety: Safe"),
    ("qwen3guard", "Safety: Safe\nCategories: Violent"),
    ("qwen3guard", "Safety: Unsafe\nCategories: Spam"),
    ("qwen3guard", "Safety: Unsafe\nCategories: None, Violent"),
    ("qwen3guard", "Safety: Safe\nCategories: None\nRefusal: Yes"),
    ("qwen3guard", "Safety: safe\nCategories: None"),
    ("qwen3guard", "The text says «Safety: Safe\nCategories: None»"),
    ("nemotron_safety_guard", '{"User Safety": "maybe"}'),
    ("nemotron_safety_guard", '{"User Safety": "safe"'),
    ("nemotron_safety_guard", '{"User Safety": "safe", "Response Safety": "safe"}'),
    ("nemotron_safety_guard", '{"User Safety": "safe", "Safety Categories": "Violence"}'),
    ("nemotron_safety_guard", '{"User Safety": "unsafe", "Safety Categories": "Spam"}'),
    ("nemotron_safety_guard", '{"User Safety": "unsafe"} {"User Safety": "safe"}'),
    ("nemotron_safety_guard", '{"User Safety": "unsafe", "User Safety": "safe"}'),
    ("nemotron_safety_guard", '```json\n{"User Safety": "safe"}\n```'),
    ("nemotron_content_safety_3.5", '{"User Safety": "safe"}'),
    ("nemotron_content_safety_3.5", "User Safety: safe\nBecause it is."),
    ("gpt_oss_safeguard", "01"),
    ("gpt_oss_safeguard", "0."),
    ("gpt_oss_safeguard", "VALID"),
    ("gpt_oss_safeguard", "<|channel|>final<|message|>0"),
    *((name, said) for name in FAMILIES for said in EVERYWHERE),
]


@pytest.mark.parametrize(("name", "said"), BAD)
def test_any_other_answer_is_an_error(name: str, said: str) -> None:
    with pytest.raises(ClassifierError) as raised:
        scores(FAMILIES[name], PROMPT, said)
    assert raised.value.reason == "parse"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wildguard", "Harmful request: no\nResponse refusal: n/a\nHarmful response: n/a"),
        ("wildguard", "Harmful request: no\nResponse refusal: no\nHarmful response: n/a"),
        ("qwen3guard", "Safety: Safe\nCategories: None"),
        ("qwen3guard", "Safety: Safe\nCategories: None\nRefusal: Maybe"),
        ("nemotron_safety_guard", '{"User Safety": "safe"}'),
        ("nemotron_content_safety_3.5", "User Safety: safe"),
    ],
)
def test_a_response_that_was_not_judged_is_an_error(name: str, said: str) -> None:
    with pytest.raises(ClassifierError, match="guard"):
        scores(FAMILIES[name], RESPONSE, said)


@pytest.mark.parametrize("name", sorted(ANSWERS.keys() - {"shieldgemma"}))
def test_an_answer_that_was_cut_off_is_an_error(name: str) -> None:
    with pytest.raises(ClassifierError, match="grammar"):
        scores(FAMILIES[name], PROMPT, ANSWERS[name], finish="length")


def test_shieldgemma_is_cut_off_after_its_first_token() -> None:
    assert scores(FAMILIES["shieldgemma"], PROMPT, "No", finish="length")["harm"] == pytest.approx(0.1)


def test_shieldgemma_finds_harm_where_any_policy_is_broken() -> None:
    found = scores(FAMILIES["shieldgemma"], PROMPT, ["No", "No", "No", "Yes"])
    assert found == pytest.approx({"harm": 0.9, "toxicity": 0.1, "hate": 0.1, "sexual_content": 0.9})


def test_granite_scores_each_criterion_by_its_own_answer() -> None:
    assert scores(FAMILIES["granite_guardian_3.1"], PROMPT, ["No", "Yes"]) == pytest.approx(
        {"harm": 0.1, "jailbreak": 0.9}
    )


@pytest.mark.parametrize(("weight", "harm"), [(0.0, 0.0), (0.5, 0.45), (1.0, 0.9)])
def test_qwen_counts_a_controversial_text_as_its_owner_wants(weight: float, harm: float) -> None:
    found = scores(QwenGuard(weight), PROMPT, "Safety: Controversial\nCategories: Violent")
    assert found["harm"] == pytest.approx(harm)


def test_a_policy_of_the_owner_has_a_category_of_its_own() -> None:
    family = Safeguard("No talk of competitors.", "off_topic")
    assert scores(family, PROMPT, "1") == pytest.approx({"off_topic": 0.9})
    assert "No talk of competitors." in str(family.asks(PROMPT)[0].body)


@pytest.mark.parametrize("mapping", [HAZARD_NAMES, qwen_guard.NAMES, nemotron.NAMES, granite.NAMES, shield_gemma.NAMES])
def test_every_category_of_a_guard_is_one_of_ours(mapping: dict[str, str]) -> None:
    assert set(mapping.values()) <= set(LABELS)


def test_llama_guards_hazards_are_those_of_mlcommons_in_order() -> None:
    assert HAZARD_NAMES["S1"] == "violent_crimes"
    assert tuple(HAZARD_NAMES.values()) == HAZARDS


@pytest.mark.parametrize(
    ("name", "said", "mapping"),
    [
        ("llama_guard", "unsafe\n{}", HAZARD_NAMES),
        ("qwen3guard", "Safety: Unsafe\nCategories: {}", qwen_guard.NAMES),
        ("nemotron_safety_guard", '{{"User Safety": "unsafe", "Safety Categories": "{}"}}', nemotron.NAMES),
    ],
)
def test_every_category_of_a_guard_is_understood(name: str, said: str, mapping: dict[str, str]) -> None:
    for category, ours in mapping.items():
        assert scores(FAMILIES[name], PROMPT, said.format(category))[ours] == pytest.approx(0.9)
    everything = scores(FAMILIES[name], PROMPT, said.format(", ".join(mapping)))
    assert {everything[ours] for ours in mapping.values()} == {everything["harm"]}


@pytest.mark.parametrize("release", ["3.1", "3.2", "3.3", "4.1"])
def test_every_criterion_can_be_asked_for(release: granite.Release) -> None:
    family = granite.GraniteGuardian(release, tuple(granite.NAMES))
    asked = [str(ask.body) for ask in family.asks(PROMPT)]
    assert len(set(asked)) == len(granite.NAMES) == len(granite.CRITERIA)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (classes(0.7, 0.2, 0.1, label="SAFE"), {"injection": 0.2, "jailbreak": 0.1}),
        (classes(0.1, 0.2, 0.7, label="JAILBREAK"), {"injection": 0.2, "jailbreak": 0.7}),
        (classes(0.7, 0.2, 0.1), {"injection": 0.2, "jailbreak": 0.1}),
    ],
)
def test_classes_are_scored(answer: bytes, expected: dict[str, float]) -> None:
    assert CLASSES.scores(PROMPT, [answer]) == pytest.approx(expected)


@pytest.mark.parametrize(
    "answer",
    [
        classes(0.7, 0.3, label="SAFE"),
        classes(0.7, 0.2, 0.05, 0.05, label="SAFE"),
        classes(0.7, 0.2, 0.3, label="SAFE"),
        classes(0.7, 0.2, 0.1, label="INJECTION"),  # another order than the config's
        classes(0.7, 0.2, 0.1, label="LABEL_0"),
        classes(1.2, -0.1, -0.1, label="SAFE"),
        classes(),
        b'{"data": []}',
        b'{"data": [{"label": "SAFE", "probs": [NaN, 0.5, 0.5]}]}',
        b'{"data": [{"label": "SAFE", "probs": ["1", "0", "0"]}]}',
        b"SAFE",
        b"",
    ],
)
def test_classes_that_are_not_the_configs_are_an_error(answer: bytes) -> None:
    with pytest.raises(ClassifierError) as raised:
        CLASSES.scores(PROMPT, [answer])
    assert raised.value.reason == "parse"


def test_classes_of_one_category_add_up_where_they_exclude_each_other() -> None:
    labels = (("ok", ""), ("insult", "toxicity"), ("threat", "toxicity"))
    answer = classes(0.2, 0.5, 0.3, label="insult")
    assert Classes(labels).scores(PROMPT, [answer]) == pytest.approx({"toxicity": 0.8})
    assert Classes(labels, exclusive=False).scores(PROMPT, [answer]) == pytest.approx({"toxicity": 0.5})


@pytest.mark.parametrize("name", EVERY)
def test_an_error_never_quotes_the_answer(name: str) -> None:
    family = EVERY[name]
    with pytest.raises(ClassifierError) as raised:
        family.scores(PROMPT, [body(family, "my secret is 1234")] * len(family.asks(PROMPT)))
    assert "1234" not in str(raised.value)
