"""The probability is read where the label stands, over every way to spell it, and only there."""

from __future__ import annotations

import json

import pytest

from classifiers.classifier import ClassifierError
from classifiers.served.families import FAMILIES
from tests.classifiers.served.guards import PROMPT, Places, chat, text

LLAMA, GRANITE, WILD = FAMILIES["llama_guard"], FAMILIES["granite_guardian_3.3"], FAMILIES["wildguard"]


def harm(said: str, written: Places, end: str = "<|eot_id|>") -> float:
    return LLAMA.scores(PROMPT, [chat(said, written, end=end)])["harm"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([("safe", {"safe": 0.75, "unsafe": 0.25})], 0.25),
        ([("safe", {"safe": 0.3, "unsafe": 0.1})], 0.25),
        ([("safe", {"safe": 0.5, " safe": 0.2, "Safe": 0.1, "unsafe": 0.1, " Unsafe": 0.05, "UNSAFE": 0.05})], 0.2),
        ([("safe", {"safe": 0.5, "un": 0.3, "Un": 0.2})], 0.5),
        ([("safe", {"safe": 0.5, "unsafely": 0.5})], 0.0),
        ([("safe", {"safe": 0.5, "not": 0.3, "is unsafe": 0.1, "\n": 0.1})], 0.0),
        ([("safe", {"safe": 0.6, "unsafe": 0.0})], 0.0),
        ([("sa", {"sa": 0.6, "un": 0.4}), ("fe", {"fe": 1.0})], 0.4),
        ([("\n\n", {"\n\n": 0.9, "unsafe": 0.1}), ("safe", {"safe": 0.75, "unsafe": 0.25})], 0.25),
        ([("\n\nsafe", {"\n\nsafe": 0.75, "\n\nunsafe": 0.25})], 0.25),
    ],
)
def test_the_ways_to_spell_a_label_add_up(written: Places, expected: float) -> None:
    said = "".join(token for token, _ in written)
    assert harm(said, written) == pytest.approx(expected)


def test_a_text_may_be_likelier_bad_than_its_label_says() -> None:
    assert harm("safe", [("safe", {"safe": 0.4, "unsafe": 0.3, "Unsafe": 0.3})]) == pytest.approx(0.6)


@pytest.mark.parametrize(
    "written",
    [
        [],
        [("safe", {})],
        [("safe", {"Sorry": 0.9, "I": 0.1})],
        [("safe", {"unsafe": 0.9})],
        [("safe", {"safe": 0.0, "unsafe": 0.0})],
        [("unsafe", {"safe": 0.9, "unsafe": 0.1})],
        [("unsafe", {"unsafe": 1.0}), ("\n", {}), ("S1", {})],
        [("un", {"un": 1.0}), ("safe", {"safe": 0.9})],
        [("sa", {"safe": 0.9})],
        [("safe", {"safe": 0.9}), ("more", {"more": 1.0}), ("words", {"words": 1.0})],
    ],
    ids=[
        "no tokens",
        "no likelihoods",
        "no label",
        "only the other",
        "nought",
        "another text",
        "a longer one",
        "its end",
        "a part",
        "more text",
    ],
)
def test_likelihoods_that_are_not_the_labels_are_an_error(written: Places) -> None:
    with pytest.raises(ClassifierError) as raised:
        harm("safe", written, end="")
    assert raised.value.reason == "parse"


@pytest.mark.parametrize("end", ["<|eot_id|>", ""], ids=["with an end mark", "without"])
def test_the_token_that_ends_an_answer_may_be_there_or_not(end: str) -> None:
    assert harm("safe", [("safe", {"safe": 0.8, "unsafe": 0.2})], end) == pytest.approx(0.2)


THOUGHTS: Places = [("<think>", {}), ("yes", {"yes": 1.0}), (" no", {" no": 1.0}), ("</think>", {}), ("\n", {})]
SCORE: Places = [("<score>", {}), (" no", {" no": 0.7, " yes": 0.3}), (" ", {}), ("</score>", {})]


@pytest.mark.parametrize(
    "said",
    ["<think>yes no</think>\n<score> no </score>", "\n<score> no </score>", "<score> no </score>"],
    ids=["in the text", "kept out of it", "kept out, and trimmed"],
)
def test_labels_in_the_thoughts_do_not_count(said: str) -> None:
    answer = chat(said, THOUGHTS + SCORE)
    assert GRANITE.scores(PROMPT, [answer, answer])["harm"] == pytest.approx(0.3)


@pytest.mark.parametrize("content", [None, ""])
def test_an_answer_of_thoughts_alone_is_an_error(content: str | None) -> None:
    with pytest.raises(ClassifierError):
        FAMILIES["gpt_oss_safeguard"].scores(PROMPT, [chat(content, THOUGHTS)])


def test_each_line_has_likelihoods_of_its_own() -> None:
    said: Places = [
        ("Harmful request:", {}),
        (" no", {" no": 0.8, " yes": 0.1, " n": 0.1}),
        ("\nResponse refusal:", {}),
        (" yes", {" yes": 0.6, " no": 0.2, " n": 0.2}),
        ("\nHarmful response:", {}),
        (" no", {" no": 0.9, " yes": 0.1}),
    ]
    whole = "".join(token for token, _ in said)
    assert WILD.scores(PROMPT, [text(whole, said)])["harm"] == pytest.approx(1 / 9)


CHOICE = {"message": {"content": "safe"}, "finish_reason": "stop"}
TOKEN = {"token": "safe", "top_logprobs": [{"token": "safe", "logprob": -0.1}]}


@pytest.mark.parametrize(
    "choices",
    [
        [],
        [CHOICE],
        [CHOICE | {"logprobs": None}],
        [CHOICE | {"logprobs": {"content": None}}],
        [CHOICE | {"logprobs": {"content": [{"token": "safe"}]}}],
        [CHOICE | {"logprobs": {"content": [TOKEN | {"top_logprobs": [{"token": "safe", "logprob": None}]}]}}],
        [CHOICE | {"logprobs": {"content": [TOKEN | {"top_logprobs": [{"token": "safe", "logprob": "-0.1"}]}]}}],
        [CHOICE | {"logprobs": {"content": [TOKEN | {"top_logprobs": [{"token": "safe", "logprob": 3.0}]}]}}],
        [CHOICE | {"logprobs": {"content": [TOKEN | {"top_logprobs": [{"token": "safe", "logprob": float("nan")}]}]}}],
        [CHOICE | {"logprobs": {"content": [TOKEN]}, "finish_reason": None}],
        [CHOICE | {"logprobs": {"content": [TOKEN]}, "message": {"content": ["safe"]}}],
        [CHOICE | {"logprobs": {"content": [TOKEN]}}] * 2,
    ],
)
def test_a_body_of_another_form_is_an_error(choices: list[object]) -> None:
    with pytest.raises(ClassifierError) as raised:
        LLAMA.scores(PROMPT, [json.dumps({"choices": choices}).encode()])
    assert raised.value.reason == "parse"


def test_a_completion_with_tokens_but_without_likelihoods_is_an_error() -> None:
    body = json.loads(text("Harmful request: no\nResponse refusal: n/a\nHarmful response: n/a"))
    body["choices"][0]["logprobs"]["top_logprobs"].pop()
    with pytest.raises(ClassifierError, match="number of tokens"):
        WILD.scores(PROMPT, [json.dumps(body).encode()])
