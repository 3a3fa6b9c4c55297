"""Which decided cases go into a training set."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.review.views import View


@dataclass(frozen=True, slots=True)
class Filters:
    """What is wanted; empty: whatever there is."""

    tenant: str = ""
    policy: str = ""
    """Name, or `name@hash`."""
    category: str = ""
    since: float | None = None
    """Unix time of the decision."""

    def fits(self, view: View) -> bool:
        case, decision = view.case, view.outcome
        named = {*case.categories, *(decision.categories if decision else ())}
        return (
            self.tenant in ("", case.tenant)
            and self.policy in ("", case.policy, case.policy.partition("@")[0])
            and (not self.category or self.category in named)
            and (self.since is None or (decision is not None and decision.at >= self.since))
        )
