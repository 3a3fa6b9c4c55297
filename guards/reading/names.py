"""Whether the document's sections fit together: names that are given once, and names that lead somewhere."""

from __future__ import annotations

from collections.abc import Iterable

from guards.problem import nearest
from guards.reading.report import Report, members
from guards.reading.source import Data, Place

OWN = frozenset(
    f"/v1/{name}"
    for name in (
        "chat/completions",
        "completions",
        "embeddings",
        "guard",
        "messages",
        "messages/count_tokens",
        "models",
        "moderations",
        "responses",
        "reviews",
    )
)
OWN_ROOMS = frozenset({"api", "beta", "console", "health", "metrics"})
"""Paths that the gateway serves itself, and the first parts of others."""
SECTIONS = {"upstreams": "upstream", "models": "model", "policies": "policy", "tenants": "tenant"}


def check_names(data: dict[str, Data], report: Report) -> None:
    check_version(data, report)
    for section, noun in SECTIONS.items():
        once(members(data, (section,)), noun, report)
    check_upstreams(data, report)
    check_models(data, report)
    check_tenants(data, report)
    check_webhooks(data, report)
    check_use(data, report)
    check_passthrough(data, report)


def check_version(data: dict[str, Data], report: Report) -> None:
    version = data.get("version")
    if "version" in data and (version != 1 or isinstance(version, bool | float)):
        report.add(
            ("version",), f"this release reads version 1, not {report.quote(('version',))}", "write `version: 1`"
        )


def once(items: Iterable[tuple[Place, dict[str, Data]]], noun: str, report: Report) -> None:
    """Each name may be given once."""
    first: dict[Data, Place] = {}
    for place, item in items:
        name = item.get("name")
        if not isinstance(name, str) or report.spoiled((*place, "name")):
            continue
        if name in first:
            line = report.source.line((*first[name], "name"))
            message = f"a second {noun} is named {report.quote((*place, 'name'))}, first on line {line}"
            report.add((*place, "name"), message, "give it a name of its own, or remove one of them")
        first.setdefault(name, place)


def check_upstreams(data: dict[str, Data], report: Report) -> None:
    for place, upstream in members(data, ("upstreams",)):
        simulated = upstream.get("kind", "openai") == "simulated"
        if not simulated and upstream.get("kind", "openai") == "openai" and upstream.get("base_urls", []) == []:
            message = f"upstream {report.quote((*place, 'name'))} has no `base_urls`, and kind openai needs one"
            report.add(
                (*place, "base_urls"), message, "add `base_urls: [http://127.0.0.1:8000/v1]`, or write kind: simulated"
            )
        if simulated and upstream.get("base_urls"):
            report.warn((*place, "base_urls"), "a simulated upstream asks no URL", "remove `base_urls`")


def check_models(data: dict[str, Data], report: Report) -> None:
    overriding = any(tenant.get("policy") is not None for _, tenant in members(data, ("tenants",)))
    for place, model in members(data, ("models",)):
        _leads(data, (*place, "upstream"), model.get("upstream"), "upstreams", report)
        _leads(data, (*place, "policy"), model.get("policy"), "policies", report)
        if model.get("policy") is None and not overriding:
            message = f"nothing judges model {report.quote((*place, 'name'))}: it has no policy"
            report.warn(place, message, "add `policy:` and the name of one")


def check_tenants(data: dict[str, Data], report: Report) -> None:
    if data.get("tenants") == []:
        remedy = "name a tenant and its keys; without the section the gateway is open, on loopback addresses only"
        report.add(("tenants",), "`tenants` is empty, so nobody could ask anything", remedy)
    owners: dict[str, Place] = {}
    for place, tenant in members(data, ("tenants",)):
        models, keys = tenant.get("models"), tenant.get("keys")
        for i, model in enumerate(models if isinstance(models, list) else ()):
            _leads(data, (*place, "models", i), model, "models", report)
        _leads(data, (*place, "policy"), tenant.get("policy"), "policies", report)
        for i, key in enumerate(keys if isinstance(keys, list) else ()):
            if isinstance(key, str) and not report.spoiled((*place, "keys", i)):
                _one_owner((*place, "keys", i), key.lower(), owners, report)


def check_webhooks(data: dict[str, Data], report: Report) -> None:
    for place, webhook in members(data, ("webhooks",)):
        tenants = webhook.get("tenants")
        for i, tenant in enumerate(tenants if isinstance(tenants, list) else ()):
            _leads(data, (*place, "tenants", i), tenant, "tenants", report)


def _one_owner(place: Place, key: str, owners: dict[str, Place], report: Report) -> None:
    if key in owners:
        message = f"this key is given twice, first on line {report.source.line(owners[key])}"
        report.add(place, message, "make a key for each tenant: `wardgate keys new --tenant NAME`")
    owners.setdefault(key, place)


def _leads(data: dict[str, Data], place: Place, name: Data, section: str, report: Report) -> None:
    """A name must be that of a member of the section."""
    named = {
        str(item["name"]): (*at, "name") for at, item in members(data, (section,)) if isinstance(item.get("name"), str)
    }
    if not isinstance(name, str) or name in named or any(report.spoiled(at) for at in named.values()):
        return
    meant = nearest(name, named)
    if meant:
        remedy = f"did you mean {report.quote(named[meant])}?"
    elif named:
        remedy = f"name one of {', '.join(report.quote(at) for at in named.values())}, or add it under `{section}:`"
    else:
        remedy = f"add it under `{section}:`"
    report.add(place, f"there is no {SECTIONS[section]} {report.quote(place)}", remedy)


def check_use(data: dict[str, Data], report: Report) -> None:
    """Policies and upstreams that nothing leads to are allowed, and probably a slip."""
    models, tenants = ([item for _, item in members(data, (s,))] for s in ("models", "tenants"))
    used = {
        "upstreams": {str(m.get("upstream")) for m in models},
        "policies": {str(item.get("policy")) for item in (*models, *tenants)},
    }
    for section, names in used.items():
        for place, item in members(data, (section,)):
            if isinstance(item.get("name"), str) and item["name"] not in names:
                message = f"nothing uses {SECTIONS[section]} {report.quote((*place, 'name'))}"
                report.warn((*place, "name"), message, "name it in a model, or remove it")


def check_passthrough(data: dict[str, Data], report: Report) -> None:
    """What the gateway serves itself never passes through: saying so would promise a way around the guards."""
    paths = data.get("passthrough")
    for i, path in enumerate(paths if isinstance(paths, list) else ()):
        if isinstance(path, str) and (path in OWN or path.strip("/").split("/")[0] in OWN_ROOMS):
            message = f"the gateway serves {report.quote(('passthrough', i))} itself, so that it never passes through"
            report.add(("passthrough", i), message, "remove it")
    if paths:
        check_mandatory(data, report)


def check_mandatory(data: dict[str, Data], report: Report) -> None:
    """A guard that must judge everything cannot stand beside paths that no guard sees."""
    for place, policy in members(data, ("policies",)):
        rules = policy.get("guards")
        for i, rule in enumerate(rules if isinstance(rules, list) else ()):
            if isinstance(rule, dict) and rule.get("mandatory") is True:
                at = (*place, "guards", i)
                message = f"guard {report.quote((*at, 'name'))} is mandatory, and none judges the `passthrough` paths"
                report.add((*at, "mandatory"), message, "remove `passthrough`, or `mandatory`")
