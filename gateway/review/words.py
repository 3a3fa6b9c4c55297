"""What a reviewer wrote, as it is kept: his notes and edits are texts like any other."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace

import orjson

from gateway.review.decision import Decision
from gateway.vault import Destroyed, Vault


@dataclass(frozen=True, slots=True)
class Words:
    vault: Vault

    async def seal(self, tenant: str, decision: Decision) -> Decision:
        """Without its texts, unless there is no key to seal them with."""
        if not (decision.note or decision.edits):
            return decision
        plain = orjson.dumps([decision.note, decision.edits])
        sealed = await self.vault.seal(tenant, plain)
        if sealed is plain:
            return decision
        return replace(decision, note="", edits={}, sealed=base64.b64encode(sealed).decode())

    async def open(self, tenant: str, decision: Decision) -> Decision:
        """As it was said; without its texts where their key is gone."""
        if not decision.sealed:
            return decision
        try:
            note, edits = orjson.loads(await self.vault.unseal(tenant, base64.b64decode(decision.sealed)))
        except (Destroyed, ValueError):
            return replace(decision, sealed="")
        return replace(decision, note=note, edits=edits, sealed="")

    async def text(self, tenant: str, said: str) -> str:
        """A reason, as it is kept."""
        plain = said.encode("utf-8", "surrogatepass")
        sealed = await self.vault.seal(tenant, plain)
        return said if sealed is plain else base64.b64encode(sealed).decode()
