"""What `/api` answers: the desk's words as JSON, and as the OpenAPI document has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi.responses import Response

from gateway.review.case import Case, Level, Matter, State
from gateway.review.decision import CHOICES, REASONS, Decision
from gateway.review.desk import Claim, Line, Page, Past
from guards.policy import Policy, Rule
from guards.verdict import CATEGORIES

TEXT = {"type": "string"}
TOKEN = {"type": "integer", "description": "Of the lease, as the claim gave it."}
DECISION: dict[str, Any] = {
    "choice": {"type": "string", "enum": list(CHOICES)},
    "token": TOKEN,
    "reason": {"type": "string", "enum": list(REASONS), "description": "Required with allow and block."},
    "severity": {"type": "integer", "minimum": 0, "maximum": 3},
    "categories": {"type": "array", "items": {"type": "string", "enum": sorted(CATEGORIES)}},
    "note": {"type": "string", "maxLength": 2000},
    "edits": {
        "type": "object",
        "additionalProperties": TEXT,
        "description": "Field -> new text, with allow_with_edit and refuse_rewrite.",
    },
    "seconds": {"type": "number", "minimum": 0, "description": "That the reviewer had it before him."},
}


@dataclass(frozen=True, slots=True)
class Claimed:
    claim: Claim | None
    """None: nothing waits for this key."""


@dataclass(frozen=True, slots=True)
class Cases:
    cases: list[Line]
    more: bool


@dataclass(frozen=True, slots=True)
class GuardShape:
    name: str
    kind: str
    stages: Sequence[str]
    category: str | None
    action: str | None
    thresholds: Mapping[str, float] | None
    mode: str


@dataclass(frozen=True, slots=True)
class PolicyShape:
    """The policy of this name which is in force now."""

    name: str
    hash: str
    current: bool
    """It is still the very policy that judged the exchange."""
    guards: list[GuardShape]


@dataclass(frozen=True, slots=True)
class CaseShape:
    """One case. `hidden`: verdicts and others' decisions are kept back until this reviewer has decided."""

    case: Case
    state: State
    level: Level
    reviewer: str
    mine: bool
    token: int
    """0: the caller does not hold it."""
    expires: float
    skips: int
    hidden: bool
    matter: Matter | None
    """None: the caller may not see the texts now, or they are gone."""
    verdicts: list[dict[str, Any]] | None
    reviews: Sequence[Decision]
    outcome: Decision | None
    effective_at: float | None
    closed_at: float | None
    policy: PolicyShape | None
    user_counts: Mapping[str, int]
    nearest: Sequence[Past]


@dataclass(frozen=True, slots=True)
class Renewed:
    expires: float
    """Unix time."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    verdicts: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Rows:
    rows: list[dict[str, Any]]
    more: bool = False


def page_shape(page: Page) -> CaseShape:
    view = page.view
    return CaseShape(
        case=view.case,
        state=view.state,
        level=view.level,
        reviewer=view.reviewer,
        mine=page.mine,
        token=view.token if page.mine else 0,
        expires=view.expires,
        skips=view.skips,
        hidden=page.verdicts is None,
        matter=page.matter,
        verdicts=page.verdicts,
        reviews=view.reviews,
        outcome=view.outcome,
        effective_at=view.effective_at,
        closed_at=view.closed_at,
        policy=policy_shape(page.policy, current=page.current) if page.policy else None,
        user_counts=page.user_counts,
        nearest=page.nearest,
    )


def policy_shape(policy: Policy, *, current: bool) -> PolicyShape:
    return PolicyShape(policy.name, policy.hash, current, [guard_shape(rule) for rule in policy.guards])


def guard_shape(rule: Rule) -> GuardShape:
    """What it looks for and does; never its terms or addresses."""
    thresholds = {str(action): at for action, at in rule.thresholds.items()} if rule.thresholds else None
    action = str(rule.action) if rule.action else None
    return GuardShape(rule.name, rule.kind, rule.stages, rule.category, action, thresholds, rule.mode)


def answer(value: Any) -> Response:
    """As JSON that no cache keeps: it may hold texts of users."""
    return Response(orjson.dumps(value), media_type="application/json", headers={"cache-control": "no-store"})
