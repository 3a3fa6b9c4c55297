"""What a person says of a case."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import orjson

Choice = Literal["allow", "block", "allow_with_edit", "refuse_rewrite", "escalate", "cannot_judge"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
FINAL: frozenset[Choice] = frozenset({"allow", "block", "allow_with_edit", "refuse_rewrite"})
"""Those that can end a case; `escalate` gives it to a senior, `cannot_judge` to somebody else."""
REWRITES: frozenset[Choice] = frozenset({"allow_with_edit", "refuse_rewrite"})
"""Those that bring a text."""
Reason = Literal[
    "benign_context",
    "quoted",
    "fiction",
    "policy_gap",
    "wrong_category",
    "harmful_actionable",
    "harmful_nonactionable",
    "injection",
    "pii",
    "other",
]
REASONS: tuple[Reason, ...] = get_args(Reason)
TIMEOUT = "timeout"
"""The actor where a deadline decided."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Never changed: a later one supersedes it."""

    case: str
    choice: Choice
    reviewer: str
    """Id of the key, or `timeout`."""
    at: float
    """Unix time."""
    reason: Reason | None = None
    """Required with `allow` and `block`."""
    severity: int | None = None
    """0 to 3."""
    categories: tuple[str, ...] = ()
    """What it is, should the guards have named it wrongly."""
    note: str = ""
    edits: dict[str, str] = field(default_factory=dict)
    """Field -> the text that takes its place, of the decisions that rewrite."""
    seconds: float = 0.0
    """For which the reviewer had it before him."""
    token: int = 0
    """Of the lease under which it was made."""
    bulk: bool = False
    """One of many at once: left out of calibration."""
    blind: bool = False
    """Made without sight of the guards' scores or of an earlier decision."""
    supersedes: bool = False
    sealed: str = ""
    """Note and edits as they are kept: sealed, in base64."""

    def dump(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def load(cls, data: bytes | str) -> Decision:
        raw: dict[str, Any] = orjson.loads(data)
        return cls(**{**raw, "categories": tuple(raw["categories"])})
