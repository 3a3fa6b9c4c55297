"""One request's life: what was asked, by whom, under which policy, and what the guards said of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from guards.verdict import Action, Verdict, strongest


@dataclass(slots=True)
class Exchange:
    """Everything that is known of one request while it is served."""

    id: str
    """The `x-request-id` of the answer."""
    tenant: str
    model: str
    """The name the application asked for."""
    policy: str
    """`name@hash` of the policy that judges this exchange from first to last byte."""
    route: str
    request: dict[str, Any]
    started: float = field(default_factory=time.time)
    """Unix time, seconds."""
    verdicts: list[Verdict] = field(default_factory=list)
    exposure: dict[str, int] = field(default_factory=dict)
    """Guard -> characters that left before a verdict that would have stopped them."""
    guard_seconds: float = 0.0
    case: str = ""
    """Id of the case that was opened of it."""

    @property
    def action(self) -> Action:
        return strongest(self.verdicts)


@dataclass(frozen=True, slots=True)
class FlagPart:
    """A piece of a flagged exchange, written before the bytes it judges leave.

    The parts of one flag share `id` and `at` and count up in `seq` from 0; part 0 carries the head (who, model, policy,
    request). Writing the same `(id, seq)` twice changes nothing.
    """

    id: str
    seq: int
    at: float
    """Unix time, seconds, of the exchange's start: the flag's place in time, the same in every part."""
    body: dict[str, Any]
    """JSON-ready. Keys: `head` (part 0), `verdicts` (list, appended in order), `answer` (field -> text, appended),
    `end` (last part: outcome, exposure, took)."""
    tenant: str = ""
    """Whose key seals its texts."""
