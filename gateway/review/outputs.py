"""What an application gets once a person has decided."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from gateway.review.case import Matter
from gateway.review.decision import Decision
from gateway.review.paths import above, put, swap
from gateway.review.queue import ReviewQueue, View
from gateway.vault import Destroyed, Vault

TOKENS = frozenset({"logprobs", "token_ids", "prompt_logprobs"})
"""Fields that spell a text once more."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Puts the answer together from what was kept and what was decided."""

    queue: ReviewQueue
    vault: Vault

    async def final(self, view: View) -> dict[str, Any] | None:
        """None: it is not decided, or nothing was held, or its text is gone."""
        if view.outcome is None or view.closed_at is None:
            return None
        matter = await self.matter(view)
        return None if matter is None else decided(matter, view.outcome)

    async def waiting(self, view: View) -> dict[str, Any] | None:
        """What stands in the place of an answer that is not decided; None where none is held."""
        matter = await self.matter(view)
        if matter is None or matter.refused is None:
            return None
        held: dict[str, Any] = swap(matter.refused, matter.refusal, matter.notice)
        return held

    async def matter(self, view: View) -> Matter | None:
        sealed = await self.queue.matter(view.case.id)
        if sealed is None:
            return None
        try:
            return Matter.load(await self.vault.unseal(view.case.tenant, sealed))
        except Destroyed:
            return None


def decided(matter: Matter, decision: Decision) -> dict[str, Any] | None:
    """The answer as this decision lets it leave."""
    if decision.choice == "allow":
        return matter.answer
    if decision.choice == "allow_with_edit":
        return edited(matter, decision.edits) or matter.refused
    if decision.choice == "refuse_rewrite" and matter.refused is not None:
        text = next(iter(decision.edits.values()), "")
        return swap(matter.refused, matter.refusal, text) if text else matter.refused
    return matter.refused


def edited(matter: Matter, edits: dict[str, str]) -> dict[str, Any] | None:
    """None where an edit has no place in the answer: then it may not leave as it was."""
    if matter.answer is None:
        return None
    answer = deepcopy(matter.answer)
    if not all(put(answer, path, text) for path, text in edits.items()):
        return None
    for path in edits:
        forget_tokens(answer, path)
    return answer


def forget_tokens(answer: dict[str, Any], path: str) -> None:
    """What spells the text as it was goes with it."""
    for node in above(answer, path):
        for name in TOKENS & node.keys():
            node[name] = [] if isinstance(node[name], list) else None
