"""The texts of cases, unsealed for those who may see them."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.review.case import Case, Matter
from gateway.review.queue import ReviewQueue
from gateway.vault import Destroyed, Vault


@dataclass(frozen=True, slots=True)
class Texts:
    """Opens what the queue keeps sealed. Who may look is for the caller to know."""

    queue: ReviewQueue
    vault: Vault

    async def of(self, case: Case) -> Matter | None:
        """None: they are gone, or the tenant's key is."""
        sealed = await self.queue.matter(case.id)
        if sealed is None:
            return None
        try:
            return Matter.load(await self.vault.unseal(case.tenant, sealed))
        except Destroyed:
            return None
