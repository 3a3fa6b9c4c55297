"""Who asks: the key of a request, its tenant, and whether it may.

Only the key says so. Headers in which a proxy or a client names somebody (`x-wardgate-*`, `x-forwarded-user`,
`openai-organization`, …) are not read, and no header of a request is handed on to the model server.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from gateway.admission import Visit
from gateway.api.asgi import Scope, header
from gateway.errors import RoleNotAllowed, UnknownKey, WardgateError
from gateway.idempotency import Once, sane
from gateway.live.answers import Answers
from gateway.live.keys import INDEXED, ROLES, KeyRing, Role, digest
from gateway.live.limits import Limiter
from gateway.metrics import Metrics
from gateway.plan import OPEN, Plan
from guards.policy import Document, Tenant

ASKING: Collection[Role] = frozenset({"app", "operator", "admin"})
"""Roles that may ask a model. Reviewers and auditors look at what others asked."""


class Plans(Protocol):
    """Whoever knows the plan in force."""

    @property
    def plan(self) -> Plan: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever holds the key."""

    tenant: Tenant | None
    """None: the gateway is open."""
    role: Role
    key: str = ""
    """Its id."""

    @property
    def name(self) -> str:
        return self.tenant.name if self.tenant else OPEN


ANYBODY = Caller(None, "app")


@dataclass(slots=True)
class Roster:
    """The tenants of one config, by name and by the keys that stand in it."""

    document: Document
    tenants: Mapping[str, Tenant] = field(init=False)
    keys: Mapping[str, tuple[str, Tenant]] = field(init=False)
    """First digits of a hash -> the hash, and whose it is."""

    def __post_init__(self) -> None:
        self.tenants = {t.name: t for t in self.document.tenants}
        pairs = [(k.removeprefix("sha256:").lower(), t) for t in self.document.tenants for k in t.keys]
        self.keys = {hash[:INDEXED]: (hash, tenant) for hash, tenant in pairs}

    def find(self, hash: str) -> Tenant | None:
        """Found by an index of 64 bits, compared in constant time."""
        known, tenant = self.keys.get(hash[:INDEXED], ("", None))
        return tenant if hmac.compare_digest(known, hash) else None


class Access:
    """Lets requests in. Asks Redis nothing to know a key, and once where the tenant has limits."""

    def __init__(self, plans: Plans, ring: KeyRing, limiter: Limiter, answers: Answers, metrics: Metrics) -> None:
        self._plans = plans
        self._ring = ring
        self._limiter = limiter
        self._answers = answers
        self._metrics = metrics
        self._roster: Roster | None = None

    def knows(self, tenant: str) -> bool:
        """Whether the config has the tenant; without tenants everybody is the open gateway's."""
        tenants = self._plans.plan.document.tenants
        return tenant in {t.name for t in tenants} if tenants else tenant == OPEN

    def caller(self, scope: Scope, roles: Collection[Role] = ROLES) -> Caller:
        """Whoever asks; UnknownKey, or RoleNotAllowed where the key is for something else."""
        return self._caller(self._plans.plan, scope, roles)

    def visit(self, scope: Scope) -> Visit:
        """For a route that asks a model, or costs as much: `over` its `send`, `admit`, and at last `leave`."""
        plan = self._plans.plan
        caller = self._caller(plan, scope, ASKING)
        visit = Visit(plan, caller.tenant, self._limiter, self._metrics)
        key = header(scope, b"idempotency-key")
        if key is not None and scope["method"] == "POST":
            name = self._answers.name(caller.name, sane(key))
            visit.once = Once(self._answers, self._metrics, plan.document.server, name, caller.name)
        return visit

    @asynccontextmanager
    async def admitted(self, scope: Scope) -> AsyncIterator[Mapping[str, str]]:
        """The same for a route of FastAPI's that asks no model: yields the headers for its answer."""
        plan = self._plans.plan
        visit = Visit(plan, self._caller(plan, scope, ASKING).tenant, self._limiter, self._metrics)
        try:
            await visit.admit(None)
            yield await visit.headers()
        except WardgateError as error:
            error.headers |= await visit.headers()
            raise
        finally:
            visit.leave()

    def _caller(self, plan: Plan, scope: Scope, roles: Collection[Role]) -> Caller:
        if not plan.document.tenants:
            return ANYBODY
        caller = self._find(plan, presented(scope))
        if caller.role not in roles:
            wanted = ", ".join(role for role in ROLES if role in roles)
            raise RoleNotAllowed(f"A key of the role {caller.role} may not do this; one of {wanted} may.")
        return caller

    def _find(self, plan: Plan, key: str) -> Caller:
        if self._roster is None or self._roster.document is not plan.document:
            self._roster = Roster(plan.document)
        hash = digest(key)
        live = self._ring.find(hash)
        if live is not None:  # a key that was revoked stays so, even if its hash stands in the config
            tenant, role = None if live.revoked else self._roster.tenants.get(live.tenant), live.role
        else:
            tenant, role = self._roster.find(hash), "app"
        if not key or tenant is None:
            raise UnknownKey(
                "Unknown API key. Send `Authorization: Bearer <key>` or `x-api-key: <key>` with a key of this gateway."
            )
        return Caller(tenant, role, hash[:12])


def presented(scope: Scope) -> str:
    """The key of a request as OpenAI's or Anthropic's clients send it; empty: none."""
    scheme, _, key = (header(scope, b"authorization") or "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return (header(scope, b"x-api-key") or "").strip()
