"""What is wrong with a rule whose values have the right types: one check a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from classifiers.labels import LABELS, ROLES
from classifiers.served.families import CLASSES, FAMILIES, HARMLESS, family_of
from classifiers.transformer import PRESETS
from guards.kinds import pattern
from guards.policy import Rule
from guards.problem import Complaint

DEFAULT_CATEGORY = {
    "pattern": "format",
    "denylist": "off_topic",
    "pii": "pii",
    "secrets": "secret",
    "unicode": "injection",
    "length": "format",
    "prompt_leak": "prompt_leak",
    "tool_call": "injection",
    "classifier": "harm",
    "guard_llm": "harm",
    "transformer": "harm",
}


def check_pattern(rule: Rule) -> list[Complaint]:
    found = pattern.problem(rule.pattern or "")
    return [Complaint("pattern", *found)] if found else []


def check_entities(known: Sequence[str]) -> Callable[[Rule], list[Complaint]]:
    def check(rule: Rule) -> list[Complaint]:
        return [
            Complaint("entities", f"unknown entity {name!r}", f"use some of: {', '.join(sorted(known))}")
            for name in rule.entities
            if name not in known
        ]

    return check


SCORE_ACTIONS = ("flag", "escalate", "block")


def check_classifier(rule: Rule) -> list[Complaint]:
    """The model must know the category at that stage."""
    found: list[Complaint] = []
    category = rule.category or DEFAULT_CATEGORY[rule.kind]
    role = {"prompt": "input", "response": "output"}.get(ROLES.get(category, ""), "")
    if category not in LABELS:
        known = ", ".join(sorted(LABELS))
        found.append(Complaint("category", f"the shipped model does not score {category!r}", f"use one of: {known}"))
    elif role and role not in rule.stages:
        message = f"this guard can never act: the shipped model scores {category!r} of the {role} alone"
        found.append(Complaint("stages", message, f"write `stages: [{role}]`"))
    return found + check_actions(rule)


def check_guard_llm(rule: Rule) -> list[Complaint]:
    labels = rule.labels or {}
    family = family_of(rule.family or "", labels)
    if family is None:
        known = ", ".join(sorted([*FAMILIES, CLASSES]))
        return [Complaint("family", f"there is no family {rule.family!r} of guard LLMs", f"use one of: {known}")]
    if bool(labels) != (rule.family == CLASSES):
        message = f"`labels` belong to the family {CLASSES}, which needs them"
        return [
            Complaint(
                "labels", message, f"write `labels: {{SAFE: {HARMLESS}, INJECTION: injection}}`, in the model's order"
            )
        ]
    category = rule.category or DEFAULT_CATEGORY[rule.kind]
    if category not in family.categories:
        known = ", ".join(sorted(family.categories))
        return [Complaint("category", f"{rule.family} does not judge {category!r}", f"use one of: {known}")]
    return check_actions(rule)


def check_transformer(rule: Rule) -> list[Complaint]:
    category = rule.category or DEFAULT_CATEGORY[rule.kind]
    labels = labels_of(rule)
    if not labels:
        message = f"nothing says what the labels of {rule.model!r} mean"
        return [Complaint("labels", message, "add `labels: {<its label>: <category>}`")]
    if category not in labels.values():
        known = ", ".join(sorted(set(labels.values())))
        return [Complaint("category", f"no label of {rule.model!r} stands for {category!r}", f"use one of: {known}")]
    return check_actions(rule)


def labels_of(rule: Rule) -> Mapping[str, str]:
    """The labels of a local model, as the rule says, or as they are known."""
    preset = PRESETS.get(rule.model or "")
    return rule.labels or (preset.labels if preset else {})


def check_actions(rule: Rule) -> list[Complaint]:
    """A score has no span that could be redacted."""
    key, named = ("thresholds", list(rule.thresholds)) if rule.thresholds else ("action", [rule.action])
    return [
        Complaint(
            key, f"a score of the whole text cannot {action}: there is no span to act on", "use flag, escalate or block"
        )
        for action in named
        if action not in SCORE_ACTIONS
    ]
