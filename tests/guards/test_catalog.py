from __future__ import annotations

from pathlib import Path

import pytest

from classifiers.classifier import Classifier
from classifiers.embedded import Embedded
from classifiers.model import SHIPPED, Model
from guards.catalog import KINDS, build_lanes, scores, source
from guards.document import DocumentError, load
from guards.policy import Policy, Rule
from guards.text.fold import Folder

SERVED = "kind: guard_llm, base_url: 'http://127.0.0.1:1/v1', model: m"
DOCUMENT = """
version: 1
upstreams: [{name: s, kind: simulated}]
models: [{name: m, upstream: s, policy: p}]
policies:
  - name: p
    guards:
      - {name: first, kind: classifier, stages: [input], category: harm, action: flag}
      - GUARD
"""


@pytest.mark.parametrize(
    ("guard", "message", "remedy"),
    [
        ("{name: g, kind: classifier, category: pii}", "does not score 'pii'", "use one of: child_exploitation"),
        ("{name: g, kind: classifier, category: jailbreak, stages: [output]}", "of the input alone", "stages: [input]"),
        ("{name: g, kind: classifier, category: refusal, stages: [input]}", "of the output alone", "stages: [output]"),
        ("{name: g, kind: classifier, thresholds: {redact: 0.5}}", "cannot redact", "flag, escalate or block"),
        ("{name: g, kind: classifier, action: redact}", "cannot redact", "flag, escalate or block"),
        (f"{{name: g, {SERVED}, family: llama}}", "no family 'llama'", "llama_guard"),
        ("{name: g, kind: transformer, model: ./mine}", "what the labels of './mine' mean", "labels: {"),
        (
            "{name: g, kind: transformer, model: ./mine, labels: {BAD: injection}, category: jailbreak}",
            "no label of './mine' stands for 'jailbreak'",
            "injection",
        ),
        (f"{{name: g, {SERVED}}}", "needs `family`", "family: llama_guard"),
        (f"{{name: g, {SERVED}, family: classify}}", "`labels` belong to the family classify", "SAFE: safe"),
        (f"{{name: g, {SERVED}, family: qwen3guard, labels: {{A: harm}}}}", "`labels` belong to", "SAFE: safe"),
        (
            f"{{name: g, {SERVED}, family: classify, labels: {{A: safe, B: toxicity}}}}",
            "does not judge 'harm'",
            "toxicity",
        ),
        (f"{{name: g, {SERVED}, family: llama_guard, category: refusal}}", "does not judge 'refusal'", "harm"),
        (
            f"{{name: g, {SERVED}, family: llama_guard, only_if: {{guard: first, between: [0.2, 0.8]}}}}",
            "does not run at all stages",
            "stages: [input]",
        ),
    ],
)
def test_a_scoring_guard_that_cannot_work_is_told_why(guard: str, message: str, remedy: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load(DOCUMENT.replace("GUARD", guard), KINDS, {}, Path())
    assert any(message in p.message and remedy in p.remedy for p in caught.value.problems)


@pytest.mark.parametrize(
    "guard",
    [
        "{name: g, kind: classifier, category: jailbreak}",
        "{name: g, kind: transformer, model: unitary/toxic-bert, category: toxicity, device: 'cuda:0'}",
        "{name: g, kind: transformer, model: ./mine, labels: {BAD: injection}, category: injection}",
        "{name: g, kind: classifier, category: weapons, thresholds: {flag: 0.2, escalate: 0.5, block: 0.9}}",
        f"{{name: g, {SERVED}, family: qwen3guard, thresholds: {{block: 0.7}}, stages: [input],"
        " only_if: {guard: first, between: [0.2, 0.8]}}",
    ],
)
def test_a_scoring_guard_that_can_work_is_taken(guard: str) -> None:
    load(DOCUMENT.replace("GUARD", guard), KINDS, {}, Path())


def rule(**values: object) -> Rule:
    return Rule.model_validate({"name": "g", "kind": "guard_llm", "base_url": "http://h/v1", "model": "m"} | values)


def test_rules_share_a_classifier_where_they_would_ask_the_same() -> None:
    assert source(rule(family="wildguard", category="harm")) == source(rule(family="wildguard", category="refusal"))
    assert source(rule(family="wildguard")) != source(rule(family="qwen3guard"))
    assert source(rule(family="wildguard", api_key="one")) != source(rule(family="wildguard", api_key="two"))
    assert "one" not in source(rule(family="wildguard", api_key="one"))


def test_kinds_that_score_are_those_with_thresholds() -> None:
    assert sorted(kind for kind in KINDS if scores(kind)) == ["classifier", "guard_llm", "transformer"]


def test_a_guard_without_thresholds_acts_from_the_models_own_one_on() -> None:
    model = Model.load()
    shipped: Classifier = Embedded(model)
    guard = Rule(name="h", kind="classifier", category="harm", action="flag")
    (scored,) = build_lanes(
        Policy(name="p", guards=(guard,)), "input", Folder.new(), {"classifier": shipped}
    ).scored.rules
    assert scored.thresholds.steps == ((model.facts.thresholds["harm"], "flag"),)


def test_the_shipped_model_is_small() -> None:
    assert (SHIPPED / "model.onnx").stat().st_size <= 25_000_000
