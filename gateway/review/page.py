"""What a person sees of a case, and what is kept from him lest it sway him."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.review.case import Case, Level, Matter, State
from gateway.review.decision import FINAL, Choice, Decision, Reason
from gateway.review.person import SENIOR, Person
from gateway.review.views import View
from guards.policy import Policy


@dataclass(frozen=True, slots=True)
class Line:
    """A case in a list."""

    case: Case
    state: State
    level: Level
    reviewer: str
    """Who has it, or had it last."""
    expires: float
    """Unix time of the lease's end."""
    skips: int
    outcome: Decision | None
    effective_at: float | None
    closed_at: float | None
    hidden: bool
    """What the guards said, and what somebody decided, is not shown to this person before he has decided."""


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier decision of a similar case."""

    case: str
    choice: Choice
    reason: Reason | None
    about: str
    """The categories that both share."""
    at: float
    note: str


@dataclass(frozen=True, slots=True)
class Page:
    """A case with all that this person may know of it."""

    view: View
    matter: Matter | None
    """None: the texts are not for him, or are gone. Its `verdicts` are empty where they are hidden."""
    verdicts: list[dict[str, Any]] | None
    """What the guards said. None: hidden until he has decided."""
    policy: Policy | None
    """That of this name which is in force now. None: there is none any more."""
    current: bool = False
    """It is still the very policy that judged the exchange."""
    user_counts: Mapping[str, int] = field(default_factory=dict)
    """The same end user's other cases of the last 7 days: `cases`, and how many ended with each choice."""
    nearest: Sequence[Past] = ()
    mine: bool = False
    """He holds the lease."""


def holds(view: View, person: Person, now: float) -> bool:
    return view.state == "leased" and view.reviewer == person.id and view.expires > now


def has_decided(view: View, person: Person, before: float | None = None) -> bool:
    """`before`: Unix time by which he could not take it back any more."""
    mine = [d for d in view.reviews if d.reviewer == person.id]
    return any(before is None or d.at + view.case.undo <= before for d in mine)


def hidden(view: View, person: Person, now: float) -> bool:
    """Whether the guards' verdicts are kept from him: of a blind case and of a second review, until he has decided and
    cannot take it back."""
    if person.role == "auditor" or has_decided(view, person, now):
        return False
    undecided = view.case.blind and view.closed_at is None and view.level == "reviewer"
    return undecided or view.phase == "second"


def independent(view: View, person: Person, now: float) -> bool:
    """Whether others' decisions are kept from him: several people are to judge, each for himself."""
    if person.role == "auditor" or view.level == "senior" or view.closed_at is not None:
        return False
    others = any(d.choice in FINAL and d.reviewer != person.id for d in view.reviews)
    return others and not has_decided(view, person, now)


def sees_text(view: View, person: Person, now: float) -> bool:
    """Reviewers see what they hold or have decided; the other roles all of their tenant's, and each look is kept."""
    return person.role in SENIOR or person.role == "auditor" or holds(view, person, now) or has_decided(view, person)


def veiled(view: View, person: Person, now: float) -> View:
    """The case as he may see it. Severity stays: severe texts are blurred before anybody looks."""
    if hidden(view, person, now):
        case = replace(view.case, categories=(), second=False)
        mine = tuple(d for d in view.reviews if d.reviewer == person.id)
        return replace(view, case=case, reviews=mine, outcome=None, phase="first", closed_at=None)
    if independent(view, person, now):
        mine = tuple(d for d in view.reviews if d.choice not in FINAL or d.reviewer == person.id)
        return replace(view, reviews=mine, outcome=None)
    return view


def line(view: View, person: Person, now: float) -> Line:
    shown = veiled(view, person, now)
    return Line(
        case=shown.case,
        state=shown.state,
        level=shown.level,
        reviewer=shown.reviewer,
        expires=shown.expires,
        skips=shown.skips,
        outcome=shown.outcome,
        effective_at=shown.effective_at,
        closed_at=shown.closed_at,
        hidden=hidden(view, person, now),
    )
