"""Who looked at what: rows of the ledger that the desk writes, and what of the ledger somebody may read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from gateway.errors import InvalidRequest
from gateway.review.ledger import Ledger
from gateway.review.person import Person

Kind = Literal["access", "reveal"]
ID = re.compile(r"\d{1,20}(-\d{1,20})?")


@dataclass(frozen=True, slots=True)
class Trail:
    """Rows are written before what they tell of happens."""

    ledger: Ledger
    clock: Callable[[], float]

    async def note(self, kind: Kind, person: Person, **what: str) -> None:
        """`what`: the `case` or the `flag`."""
        who = {"kind": kind, "reviewer": person.id, "role": person.role, "tenant": person.tenant}
        await self.ledger.append({**who, "at": self.clock(), **what})

    async def rows(self, tenant: str, after: str, count: int) -> list[dict[str, Any]]:
        """`{id, hash, row}`, the oldest first. The chain is one for all tenants: others' rows are None."""
        if after and not ID.fullmatch(after):
            raise InvalidRequest("`after` must be the id of a row.", param="after")
        found: list[dict[str, Any]] = []
        async for each in self.ledger.rows(f"({after}" if after else "-", count):
            row = each.body
            found.append({"id": each.id, "hash": each.hash, "row": row if row.get("tenant") == tenant else None})
        return found
