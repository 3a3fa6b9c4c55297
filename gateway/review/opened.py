"""Cases as they are opened before a person: their texts, the policy that judges them, and what was decided before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.access import Plans
from gateway.errors import InvalidRequest
from gateway.plan import Guarded
from gateway.review.case import Case, Matter
from gateway.review.decision import Decision
from gateway.review.earlier import Earlier, policy_name
from gateway.review.page import Page, hidden, holds, sees_text, veiled
from gateway.review.person import Person
from gateway.review.queue import View
from gateway.review.rescoring import Rescorer
from gateway.review.submission import checked
from gateway.review.texts import Texts


@dataclass(frozen=True, slots=True)
class Opened:
    """Knows what belongs to a case. Who may see it is for the page to say, and for the caller to note."""

    texts: Texts
    earlier: Earlier
    plans: Plans

    async def page(self, view: View, person: Person, now: float) -> Page:
        """All that this person may know of it."""
        veil, shows = hidden(view, person, now), sees_text(view, person, now)
        matter, guarded = await self.texts.of(view.case), self.guarded(view.case)
        page = Page(
            view=veiled(view, person, now),
            matter=unspoilt(matter, veil) if matter and shows else None,
            verdicts=None if veil else matter.verdicts if matter else [],
            policy=guarded.policy if guarded else None,
            current=guarded is not None and guarded.label == view.case.policy,
            mine=holds(view, person, now),
        )
        if veil:
            return page
        counts = await self.earlier.of_user(view.case, now)
        return replace(page, user_counts=counts, nearest=await self.earlier.nearest(view.case, now))

    async def rescore(self, case: Case, edits: Mapping[str, str]) -> list[dict[str, Any]]:
        """What the output guards of the policy in force say of these texts."""
        guarded, matter = self.guarded(case), await self.texts.of(case)
        if guarded is None or matter is None:
            raise InvalidRequest("Nothing can judge this text: its policy or the case's text is gone.")
        if not edits.keys() <= matter.texts.keys():
            raise InvalidRequest("An edit names a text that the answer does not have.", param="edits")
        return await Rescorer(guarded).verdicts(edits, matter)

    async def checked(self, case: Case, decision: Decision, *, final: bool = False) -> Decision:
        """The decision as it counts; InvalidRequest says what is missing. Redactions hold for edits too."""
        edits = decision.choice == "allow_with_edit"
        decision = checked(decision, await self.texts.of(case) if edits else None, final=final)
        guarded = self.guarded(case)
        if not edits or guarded is None:
            return decision
        redacted = Rescorer(guarded).redacted
        return replace(decision, edits={field: redacted(text) for field, text in decision.edits.items()})

    def guarded(self, case: Case) -> Guarded | None:
        """The policy of the case's as it is now; None: there is none of this name any more."""
        return self.plans.plan.guarded.get(policy_name(case))


def unspoilt(matter: Matter, veil: bool) -> Matter:
    """The texts without what the guards said of them."""
    return replace(matter, verdicts=[]) if veil else matter
