"""What a decision must bring before it counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from gateway.errors import InvalidRequest
from gateway.review.case import SEVERE, Matter
from gateway.review.decision import CHOICES, FINAL, REASONS, Decision
from guards.verdict import CATEGORIES

NOTE = 2000
"""Characters."""
SKIP = 300
EDITS = 400_000
"""Characters of all rewritten texts together."""
REASONED = frozenset({"allow", "block"})
LONGEST = 86400.0
"""Seconds that a decision may claim to have taken."""


def checked(decision: Decision, matter: Matter | None, *, final: bool = False) -> Decision:
    """The decision without edits that change nothing; InvalidRequest says what is missing.

    `final`: only those will do that can end a case.
    """
    if decision.choice not in (FINAL if final else CHOICES):
        names = ", ".join(c for c in CHOICES if not final or c in FINAL)
        raise InvalidRequest(f"`choice` must be one of {names}.", param="choice")
    _check_reason(decision)
    _check_labels(decision)
    edits = _rewrites(decision, matter)
    seconds = min(max(decision.seconds, 0.0), LONGEST) if math.isfinite(decision.seconds) else 0.0
    return replace(decision, edits=edits, seconds=seconds)


def checked_skip(reason: str) -> str:
    """Why somebody skips a case; InvalidRequest without a word."""
    reason = " ".join(reason.split())
    if not 0 < len(reason) <= SKIP:
        raise InvalidRequest(f"Say why you skip the case, in {SKIP} characters at most.", param="reason")
    return reason


def _check_reason(decision: Decision) -> None:
    if decision.choice in REASONED and decision.reason is None:
        raise InvalidRequest("Allow and block need a reason: choose one.", param="reason")
    if decision.reason is not None and decision.reason not in REASONS:
        raise InvalidRequest(f"`reason` must be one of {', '.join(REASONS)}.", param="reason")


def _check_labels(decision: Decision) -> None:
    if decision.severity is not None and decision.severity not in range(SEVERE + 1):
        raise InvalidRequest(f"`severity` must be a whole number from 0 to {SEVERE}.", param="severity")
    if not set(decision.categories) <= CATEGORIES:
        known = ", ".join(sorted(CATEGORIES))
        raise InvalidRequest(f"There is a category that is not known here. Known ones: {known}.", param="categories")
    if len(decision.note) > NOTE:
        raise InvalidRequest(f"The note is longer than {NOTE} characters.", param="note")


def _rewrites(decision: Decision, matter: Matter | None) -> dict[str, str]:
    if sum(map(len, decision.edits.values())) > EDITS:
        raise InvalidRequest(f"The texts are longer than {EDITS:,} characters together.", param="edits")
    if decision.choice == "refuse_rewrite":
        return _refusal(decision.edits)
    return _edits(decision.edits, matter) if decision.choice == "allow_with_edit" else {}


def _refusal(edits: Mapping[str, str]) -> dict[str, str]:
    if not any(text.strip() for text in edits.values()):
        raise InvalidRequest("Write the text that the user gets in place of the answer.", param="edits")
    return dict(edits)


def _edits(edits: Mapping[str, str], matter: Matter | None) -> dict[str, str]:
    if matter is None or not matter.texts:
        raise InvalidRequest("There is no answer to edit here.", param="edits")
    if not edits.keys() <= matter.texts.keys():
        raise InvalidRequest("An edit names a text that the answer does not have.", param="edits")
    changed = {field: text for field, text in edits.items() if text != matter.texts[field]}
    if not changed:
        raise InvalidRequest("The edit changes nothing: change the text, or choose allow.", param="edits")
    if not any(text.strip() for text in {**matter.texts, **changed}.values()):
        raise InvalidRequest("Nothing would be left of the answer: choose block, or refuse with a text.", param="edits")
    return changed
