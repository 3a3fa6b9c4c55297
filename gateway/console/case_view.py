"""What a case page shows, put together from what the desk tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.console.marked import UNSEEN
from gateway.console.turns import Marks, Reader, Shown
from gateway.console.words import words
from gateway.review import severity
from gateway.review.case import SEVERE, Case, Matter
from gateway.review.decision import Choice
from guards.policy import Policy, Rule

JOINERS = frozenset("\u200c\u200d\ufe0e\ufe0f")
"""Invisible, but scripts and emoji are written with them."""
LABELS: tuple[tuple[Choice, str, str], ...] = (
    ("allow", "1", "Allow"),
    ("block", "2", "Block"),
    ("allow_with_edit", "3", "Edit, allow"),
    ("refuse_rewrite", "4", "Refuse with text"),
    ("escalate", "5", "Escalate"),
    ("cannot_judge", "0", "Cannot judge"),
)


@dataclass(frozen=True, slots=True)
class Option:
    """A decision as a button."""

    name: Choice
    key: str
    label: str
    possible: bool


@dataclass(frozen=True, slots=True)
class Edit:
    """A text that may be rewritten."""

    field: str
    original: str
    text: str
    removed: int
    """Invisible characters of the original that the editor does not begin with."""


def options(case: Case, matter: Matter | None, *, superseding: bool) -> list[Option]:
    """Six, always in their places. Where no answer is in question there is nothing to edit."""
    barred: set[Choice] = set()
    if matter is None or not matter.texts or case.stage == "input":
        barred.add("allow_with_edit")
    if superseding:
        barred |= {"escalate", "cannot_judge"}
    return [Option(name, key, label, name not in barred) for name, key, label in LABELS]


def edits(matter: Matter, drafted: Mapping[str, str]) -> list[Edit]:
    out = []
    for field, original in matter.texts.items():
        clean = UNSEEN.sub(lambda m: m[0] if m[0] in JOINERS else "", original)
        out.append(Edit(field, original, drafted.get(field, clean), len(original) - len(clean)))
    return out


def answers(reader: Reader, matter: Matter, marks: Marks) -> list[Shown]:
    return [reader.shown(path, text, marks) for path, text in matter.texts.items() if text]


def severe(case: Case) -> bool:
    return case.severity >= SEVERE or any(severity.of(c) >= SEVERE for c in case.categories)


def strip(case: Case, verdicts: list[dict[str, Any]] | None) -> str:
    """What somebody is told before he reveals a severe text. Of a blind case: no more than that it may be one."""
    if verdicts is None:
        return "This text may be disturbing."
    worst = next(iter(case.categories), "severe")
    scores = [float(v.get("score") or 0) for v in verdicts if v.get("category") == worst]
    said = words(worst).capitalize()
    return f"{said}, score {max(scores):.2f}" if scores else said


def policy_lines(policy: Policy) -> list[tuple[str, str]]:
    """Each guard of the policy in a line."""
    return [(rule.name, _rule(rule)) for rule in policy.guards]


def _rule(rule: Rule) -> str:
    steps = [f"{action} from {at:.2f}" for action, at in (rule.thresholds or {}).items()]
    does = ", ".join(steps) or rule.action
    watched = " (monitored only)" if rule.mode == "monitor" else ""
    return f"{rule.category or words(rule.kind)}: {does}{watched}"


def facts(case: Case) -> list[tuple[str, str]]:
    """What else is known of it, for whoever looks closer."""
    told = [
        ("Case", case.id),
        ("Request", case.exchange),
        ("Model", case.model),
        ("Route", case.route),
        ("Source", words(case.source)),
        ("Delivery", words(case.deliver)),
        ("People who must agree", str(case.reviews)),
        ("At the deadline", case.on_deadline if case.deadline else "no deadline"),
    ]
    return [*told, ("End user", case.user[:12])] if case.user else told
