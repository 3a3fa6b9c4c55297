"""What a guard says about a text: actions, findings inside it, and the verdict that carries them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

Stage = Literal["input", "output"]
STAGES: tuple[Stage, ...] = ("input", "output")
Mode = Literal["enforce", "monitor"]


class Action(StrEnum):
    """What the gateway does, in rising order; several verdicts combine by the highest."""

    ALLOW = "allow"
    FLAG = "flag"
    REDACT = "redact"
    REVISE = "revise"
    ESCALATE = "escalate"
    BLOCK = "block"

    @property
    def rank(self) -> int:
        return RANK[self]


RANK: dict[str, int] = {action: rank for rank, action in enumerate(Action)}
WITHHELD = RANK[Action.ESCALATE]
"""From this action on nothing leaves: what a person must see first is not for the client yet."""

CATEGORIES = frozenset(
    {
        *("violent_crimes", "nonviolent_crimes", "sex_crimes", "child_exploitation", "defamation"),
        *("specialized_advice", "privacy", "intellectual_property", "weapons", "hate", "self_harm"),
        *("sexual_content", "elections", "code_abuse", "jailbreak", "injection", "toxicity", "pii", "secret"),
        *("prompt_leak", "off_topic", "sycophancy", "refusal", "format", "harm"),
    }
)
"""MLCommons hazards S1..S14 by name, and the gateway's own categories."""


class Span(NamedTuple):
    """Half-open range of characters (Python string indices) in the raw text of one field."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """One guard's word on one text. A guard that failed has `error` set; its action is then the rule's `on_error`."""

    guard: str
    stage: Stage
    field: str
    """Where the text stood, as a path: `messages[2].content`, `choices[0].message.content`."""
    category: str
    action: Action
    """What it asks of the gateway; a monitored guard always asks for `allow`."""
    score: float = 1.0
    """Calibrated probability for classifiers; 1.0 for an exact match."""
    threshold: float | None = None
    choice: int | None = None
    entity: str | None = None
    """What was found, more finely than the category: `email`, `aws_access_key`."""
    spans: tuple[Span, ...] = ()
    would: Action = Action.ALLOW
    """What it would have asked for, were the guard enforced; equals `action` for enforced guards."""
    version: str = ""
    error: str | None = None
    """Kind of failure (`timeout`, or an exception's class name); never any text of the exchange."""
    took: float = 0.0
    """Seconds."""

    def finding(self) -> dict[str, object]:
        """The verdict as it travels in an answer's `wardgate.findings`: never with the matched text."""
        out: dict[str, object] = {
            "guard": self.guard,
            "category": self.category,
            "stage": self.stage,
            "action": str(self.action),
            "score": self.score,
            "threshold": self.threshold,
            "field": self.field,
        }
        if self.choice is not None:
            out["choice"] = self.choice
        if self.entity is not None:
            out["entity"] = self.entity
        if self.spans:
            out["span"] = list(self.spans[0])
        if self.error is not None:
            out["error"] = self.error
        return out


def strongest(verdicts: list[Verdict]) -> Action:
    """The action that rules an exchange: the highest of its verdicts."""
    if not verdicts:
        return Action.ALLOW
    return max((v.action for v in verdicts), key=lambda a: RANK[a], default=Action.ALLOW)
