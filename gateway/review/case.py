"""A case: what a person must judge, and why."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson

from guards.verdict import Stage

Source = Literal["guard", "audit", "drift", "redteam", "eval"]
"""Why it was opened: a guard was uncertain; the lot fell on it; a report asked for samples."""
Deliver = Literal["withhold", "wait", "release"]
State = Literal["open", "leased", "deciding", "closed"]
"""Nobody has it; somebody has it; decided, and to be undone for a while yet; decided for good."""
Level = Literal["reviewer", "senior"]
"""Who may take it."""
SEVERE = 3
"""Severity runs from 0 to 3."""


@dataclass(frozen=True, slots=True)
class Case:
    """What the queue knows of a case. No text of the exchange is in it."""

    id: str
    exchange: str
    """The `x-request-id` of the answer."""
    at: float
    """Unix time of the exchange's start."""
    opened: float
    """Unix time."""
    tenant: str
    model: str
    policy: str
    """`name@hash`."""
    route: str
    stage: Stage
    source: Source
    deliver: Deliver
    severity: int
    categories: tuple[str, ...]
    """What it was opened for, the most severe first."""
    deadline: float | None
    """Unix time at which `on_deadline` decides. None: nobody waits."""
    on_deadline: Literal["block", "allow"]
    reviews: int = 1
    """People who must agree."""
    undo: float = 30.0
    """Seconds between a decision and its effect."""
    second: bool = False
    """Once decided it goes to somebody else, who does not know of it."""
    probability: float | None = None
    """With which it came into the sample; None: it was no lot."""
    user: str = ""
    """The application's name for its end user, as a digest."""
    answer_ids: tuple[str, ...] = ()
    """Ids of the answer that the client got in place of the held one."""

    def dump(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def load(cls, data: bytes | str) -> Case:
        raw: dict[str, Any] = orjson.loads(data)
        return cls(**{**raw, "categories": tuple(raw["categories"]), "answer_ids": tuple(raw["answer_ids"])})

    @property
    def blind(self) -> bool:
        """What the guards said is not shown before somebody has decided: it would sway him."""
        return self.source == "audit"


@dataclass(frozen=True, slots=True)
class Matter:
    """The texts of a case: kept apart from it, sealed, and shown to those who hold the case."""

    request: dict[str, Any]
    """As the client sent it."""
    texts: dict[str, str]
    """Field -> what the model wrote there, before any redaction. Empty: only the prompt is in question."""
    verdicts: list[dict[str, Any]]
    """As `gateway.record.row` has them: guard, category, stage, field, score, threshold, version, spans, …"""
    answer: dict[str, Any] | None = None
    """The whole answer that waits, as it leaves on `allow`. None: nothing waits."""
    refused: dict[str, Any] | None = None
    """The same as it leaves on `block`."""
    system_prompt: str = ""
    """The owner's."""
    refusal: str = ""
    """What stands in it in the place of the text."""
    notice: str = ""
    """What stands there while it waits."""

    def dump(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def load(cls, data: bytes) -> Matter:
        return cls(**orjson.loads(data))


def new_id() -> str:
    return f"case_{secrets.token_hex(12)}"
