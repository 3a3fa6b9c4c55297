"""A validated config made ready to serve: policies with their guards built, models with their servers. Immutable."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.errors import ModelNotAllowed, UnknownKey, UnknownModel
from gateway.upstream.protocol import ModelServer
from guards.catalog import NONE, Classifiers, Lanes, build_lanes
from guards.policy import Document, Model, Policy, Tenant
from guards.text.fold import Folder
from guards.verdict import STAGES

OPEN = "open"
"""Name of the tenant where the config has no tenants."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """A policy with its guards ready."""

    policy: Policy
    label: str
    """`name@hash`."""
    input: Lanes
    output: Lanes
    folder: Folder
    header: bytes = field(init=False)
    """The label as a header's value."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "header", self.label.encode("latin-1", "replace"))


@dataclass(frozen=True, slots=True)
class Served:
    """What answers a model's name for one tenant."""

    upstream_model: str
    server: ModelServer
    guarded: Guarded


@dataclass(frozen=True, slots=True)
class Plan:
    """All of a config that requests need. A reload makes a new one; exchanges keep the one that they began with."""

    document: Document
    hash: str
    models: Mapping[str, Model]
    guarded: Mapping[str, Guarded]
    servers: Mapping[str, ModelServer]
    tenants: Mapping[str, Tenant]
    """SHA-256 of a key, in hex -> the tenant it belongs to."""

    @classmethod
    def build(cls, document: Document, servers: Mapping[str, ModelServer], classifiers: Classifiers = NONE) -> Plan:
        folder = Folder.new()
        policies = [*document.policies, Policy(name=NO_POLICY)]
        guarded = {p.name: _guarded(p, folder, classifiers) for p in policies}
        tenants = {k.removeprefix("sha256:").lower(): t for t in document.tenants for k in t.keys}
        whole = hashlib.sha256("".join(g.label for g in guarded.values()).encode()).hexdigest()[:12]
        return cls(document, whole, {m.name: m for m in document.models}, guarded, servers, tenants)

    def tenant(self, authorization: str | None) -> Tenant | None:
        """The tenant of an `Authorization` header; None where the gateway is open."""
        if not self.tenants:
            return None
        key = (authorization or "").removeprefix("Bearer ").strip()
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        found = [t for known, t in self.tenants.items() if hmac.compare_digest(known, digest)]
        if not key or not found:
            raise UnknownKey("Unknown API key. Send `Authorization: Bearer <key>` with a key of this gateway.")
        return found[0]

    def serve(self, name: object, tenant: Tenant | None) -> Served:
        """Who answers `name` for this tenant."""
        model = self.models.get(name) if isinstance(name, str) else None
        if model is None:
            known = ", ".join(self.models_of(tenant))
            raise UnknownModel(f"The model does not exist here. Models you may ask for: {known}.", param="model")
        if tenant is not None and model.name not in tenant.models:
            raise ModelNotAllowed("Your key may not use this model.", param="model")
        policy = (tenant.policy if tenant else None) or model.policy or NO_POLICY
        return Served(model.upstream_model or model.name, self.servers[model.upstream], self.guarded[policy])

    def models_of(self, tenant: Tenant | None) -> list[str]:
        return [name for name in self.models if tenant is None or name in tenant.models]


NO_POLICY = "none"
"""Judges a model to which the config gives no policy: no guards."""


def _guarded(policy: Policy, folder: Folder, classifiers: Classifiers) -> Guarded:
    label = f"{policy.name}@{policy.hash}"
    before, after = (build_lanes(policy, stage, folder, classifiers) for stage in STAGES)
    return Guarded(policy, label, before, after, folder)
