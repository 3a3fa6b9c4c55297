"""Who sits at the desk, and what his role lets him do."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gateway.errors import RoleNotAllowed
from gateway.live.keys import ROLES, Role
from gateway.review.case import Level

DECIDING: frozenset[Role] = frozenset({"reviewer", "senior", "operator", "admin"})
"""Those that take cases and decide."""
SENIOR: frozenset[Role] = frozenset({"senior", "operator", "admin"})
"""Those that also take what goes to a senior, and may supersede anybody's decision."""
LOOKING: frozenset[Role] = frozenset({"operator", "admin", "auditor"})
"""Those that see the history and the ledger."""
OPERATING: frozenset[Role] = frozenset({"operator", "admin"})
PRESENT: frozenset[Role] = DECIDING | LOOKING
"""Those that have any business here."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever is signed in; he sees the cases of his tenant alone."""

    id: str
    """Of the key; where the gateway is open, whatever names him."""
    tenant: str
    role: Role
    name: str
    """For pages."""

    @property
    def level(self) -> Level:
        return "senior" if self.role in SENIOR else "reviewer"

    def need(self, roles: Collection[Role]) -> None:
        """RoleNotAllowed unless his is among them."""
        if self.role not in roles:
            wanted = ", ".join(role for role in ROLES if role in roles)
            raise RoleNotAllowed(f"A key of the role {self.role} may not do this; one of {wanted} may.")
