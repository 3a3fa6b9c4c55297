"""What the queue says of its cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.review.case import Case, Level, State
from gateway.review.decision import Decision


@dataclass(frozen=True, slots=True)
class View:
    """A case as it stands."""

    case: Case
    state: State
    level: Level
    reviewer: str
    """Who has it, or had it last."""
    token: int
    """Of the live lease; 0: there is none."""
    expires: float
    """Unix time of the lease's end."""
    skips: int
    phase: str
    """`first`; `second`: decided, and judged again by somebody else; `dispute`: those two disagree."""
    reviews: tuple[Decision, ...]
    """All that was said, in order."""
    outcome: Decision | None
    """What is in force."""
    pending: Decision | None
    """What will be, unless it is undone."""
    effective_at: float | None
    """Unix time at which it will."""
    closed_at: float | None
    """Unix time at which a decision first took effect."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease of a case."""

    case: Case
    token: int
    expires: float
    """Unix time."""
    reviews: tuple[Decision, ...]
    """What others have said; nothing where it must not sway."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one tenant's cases that are not closed."""

    ready: int
    """For any reviewer."""
    senior: int
    """For seniors alone."""
    leased: int
    deciding: int
    closed: int
    oldest: float | None
    """Unix time at which the oldest was opened."""
    next_deadline: float | None
    """Unix time."""


def view(fields: Mapping[bytes, bytes], reviews: list[bytes]) -> View:
    """Of what Redis holds."""
    said = {k.decode(): v for k, v in fields.items()}
    text = {k: v.decode() for k, v in said.items() if k not in ("matter",)}
    return View(
        case=Case.load(text["case"]),
        state=known(text["state"]),
        level="senior" if text["level"] == "senior" else "reviewer",
        reviewer=text.get("reviewer", ""),
        token=int(text.get("token", 0)),
        expires=int(text.get("expires", 0)) / 1e3,
        skips=int(text.get("skips", 0)),
        phase=text["phase"],
        reviews=tuple(decision(entry) for entry in reviews),
        outcome=decision(said["outcome"]) if said.get("outcome") else None,
        pending=decision(said["pending"]) if said.get("pending") else None,
        effective_at=seconds(text.get("effective")),
        closed_at=seconds(text.get("closed")),
    )


def known(state: str) -> State:
    states: dict[str, State] = {"open": "open", "leased": "leased", "deciding": "deciding", "closed": "closed"}
    return states[state]


def decision(entry: bytes) -> Decision:
    """An entry is what must agree, a blank, and the decision."""
    return Decision.load(entry.partition(b" ")[2])


def seconds(value: Any) -> float | None:
    return int(value) / 1e3 if value else None
