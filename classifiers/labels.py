"""The categories that the shipped model scores, in the order of its outputs."""

from __future__ import annotations

from typing import Literal

Kind = Literal["any", "prompt", "response"]

MAIN: tuple[str, ...] = ("harm", "jailbreak", "injection", "toxicity", "refusal")
HAZARDS: tuple[str, ...] = (
    "violent_crimes",
    "nonviolent_crimes",
    "sex_crimes",
    "child_exploitation",
    "defamation",
    "specialized_advice",
    "privacy",
    "intellectual_property",
    "weapons",
    "hate",
    "self_harm",
    "sexual_content",
    "elections",
    "code_abuse",
)
"""MLCommons' hazards S1..S14 by name."""
LABELS: tuple[str, ...] = MAIN + HAZARDS
ROLES: dict[str, Kind] = {"jailbreak": "prompt", "injection": "prompt", "refusal": "response"}
"""Categories that only one role has; all others have both."""
