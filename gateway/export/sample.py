"""One judged exchange, ready to become rows of a training set."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.export.answers import joined, spoken
from gateway.export.turns import Message, Unreadable, tools_of, turns, with_owner
from gateway.review.case import Case, Matter
from gateway.review.decision import FINAL, REWRITES, TIMEOUT, Decision
from gateway.review.rescoring import asked
from gateway.review.views import View


@dataclass(frozen=True, slots=True)
class Sample:
    """What was asked, what the model said, and what a person said of it."""

    case: Case
    decision: Decision
    """The one in force."""
    conversation: str
    """The same for all exchanges of one conversation."""
    prompt: tuple[Message, ...]
    """All turns before the answer."""
    tools: tuple[Any, ...]
    original: str
    """As the model wrote it."""
    rewritten: str
    """As the person did; empty unless he rewrote it."""
    text: str
    """What the guards judged: the answer, or the last that the user said."""
    trouble: str = ""
    """Why no conversation could be made of it."""

    @property
    def audit(self) -> bool:
        """Held out of all training: it is what guards are measured by."""
        return self.case.source == "audit"


def verdict_on(view: View) -> Decision:
    """What a person has said for good; Unreadable where that is nothing to learn from."""
    outcome = view.outcome
    if view.state != "closed" or outcome is None or outcome.choice not in FINAL:
        raise Unreadable("unresolved")
    if outcome.reviewer == TIMEOUT:
        raise Unreadable("timeout")
    if outcome.bulk:
        raise Unreadable("bulk")
    return outcome


def sample(view: View, matter: Matter, *, replaces: bool = False) -> Sample:
    """Unreadable where it must not or cannot be exported. `replaces`: the owner's system prompt stands alone."""
    decision = verdict_on(view)
    prompt, fields, trouble = _read(view.case, matter)
    if trouble == "earlier_turns_unknown":  # it could not be kept in one split with its conversation
        raise Unreadable(trouble)
    original = joined(matter.texts, fields)
    question = asked(matter.request)
    whole = original or "\n\n".join(text for text in matter.texts.values() if text)
    return Sample(
        case=view.case,
        decision=decision,
        conversation=conversation(prompt, question),
        prompt=tuple(with_owner(prompt, matter.system_prompt, replaces=replaces)) if prompt else (),
        tools=tuple(tools_of(view.case.route, matter.request)),
        original=original,
        rewritten=rewritten(decision, matter, fields),
        text=question if view.case.stage == "input" else whole,
        trouble=trouble,
    )


def conversation_of(case: Case, matter: Matter) -> str:
    """That of a case that is no sample, too."""
    return conversation(_read(case, matter)[0], asked(matter.request))


def _read(case: Case, matter: Matter) -> tuple[list[Message], list[str], str]:
    """The turns, the answer's fields, and what is wrong with either."""
    said: list[Message] = []
    try:
        said = turns(case.route, matter.request)
        return said, spoken(matter.texts, matter.answer), ""
    except Unreadable as error:
        return said, [], error.reason


def rewritten(decision: Decision, matter: Matter, fields: Sequence[str]) -> str:
    """The text that takes the answer's place."""
    if decision.choice not in REWRITES:
        return ""
    if decision.choice == "refuse_rewrite":
        return next(iter(decision.edits.values()), "")
    return joined({**matter.texts, **decision.edits}, fields)


def conversation(prompt: Sequence[Message], question: str) -> str:
    """A digest of what the user said first: later turns share it, and so do strangers who begin alike.

    Case, spacing and punctuation do not count.
    """
    first = next((m["content"] for m in prompt if m["role"] == "user"), question)
    folded = unicodedata.normalize("NFKC", first).casefold()
    plain = "".join(c for c in folded if c.isalnum()) or folded
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()
