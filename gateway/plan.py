"""A validated config made ready to serve: policies with their guards built, models with their servers. Immutable."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.errors import ModelNotAllowed, UnknownModel
from gateway.upstream.protocol import ModelServer
from guards.cache import VerdictCache
from guards.catalog import NONE, Classifiers, Lanes, build_lanes
from guards.policy import Document, Model, Policy, Rule, Tenant
from guards.text.fold import Folder
from guards.verdict import RANK, STAGES, WITHHELD, Action

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
    floor: int = field(init=False)
    """Rank of the first action under which nothing leaves."""
    passing: Lanes = field(init=False)
    """The guards of prompts that are answered even if a person must see them: he judges what all of them say."""
    escalates: bool = field(init=False)
    """Some guard can ask for a person."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "header", self.label.encode("latin-1", "replace"))
        released = self.policy.escalation.deliver == "release"
        object.__setattr__(self, "floor", RANK[Action.BLOCK] if released else WITHHELD)
        object.__setattr__(self, "passing", self.input.passing())
        object.__setattr__(self, "escalates", any(map(escalates, self.policy.guards)))


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

    @classmethod
    def build(
        cls,
        document: Document,
        servers: Mapping[str, ModelServer],
        classifiers: Classifiers = NONE,
        cache: VerdictCache | None = None,
    ) -> Plan:
        folder = Folder.new()
        policies = [*document.policies, Policy(name=NO_POLICY)]
        guarded = {p.name: _guarded(p, folder, classifiers, cache) for p in policies}
        whole = hashlib.sha256("".join(g.label for g in guarded.values()).encode()).hexdigest()[:12]
        return cls(document, whole, {m.name: m for m in document.models}, guarded, servers)

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


def escalates(rule: Rule) -> bool:
    """Whether the guard can ask for a person."""
    return rule.mode == "enforce" and Action.ESCALATE in (rule.action, rule.on_error, *(rule.thresholds or ()))


def _guarded(policy: Policy, folder: Folder, classifiers: Classifiers, cache: VerdictCache | None) -> Guarded:
    label = f"{policy.name}@{policy.hash}"
    before, after = (build_lanes(policy, stage, folder, classifiers, cache) for stage in STAGES)
    return Guarded(policy, label, before, after, folder)
