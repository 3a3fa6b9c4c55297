"""From a policy's rules to guards that run: the kinds there are, and the lanes they make."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from guards.guard import ExactGuard
from guards.kinds import denylist, length, pattern, pii, prompt_leak, secrets, unicode
from guards.lane import Duty, Lane
from guards.policy import KindSpec, Policy, Rule
from guards.problem import Complaint
from guards.shape import Shape
from guards.text.fold import Folder
from guards.text.matcher import Matcher, Probe, probe
from guards.verdict import Action, Stage

IMPLICIT_LEAK = "prompt_leak"
"""Name of the guard that protects an owner's system prompt where the policy names none."""

DEFAULT_CATEGORY = {
    "pattern": "format",
    "denylist": "off_topic",
    "pii": "pii",
    "secrets": "secret",
    "unicode": "injection",
    "length": "format",
    "prompt_leak": "prompt_leak",
}


@dataclass(slots=True)
class Parts:
    """A lane being built."""

    folder: Folder
    duties: list[Duty] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    exact: list[tuple[int, ExactGuard]] = field(default_factory=list)

    def lane(self) -> Lane:
        matcher = Matcher.build(self.probes, self.folder) if self.probes else None
        return Lane(tuple(self.duties), matcher, tuple(self.exact))


@dataclass(frozen=True, slots=True)
class Lanes:
    """A stage's guards: those that act hold text back, the monitored ones look on."""

    enforced: Lane
    monitored: Lane


Build = Callable[[Rule, Policy, Parts, int], None]


def build_lanes(policy: Policy, stage: Stage, folder: Folder) -> Lanes:
    """Make the policy's guards of one stage ready."""
    rules = [rule for rule in _with_leak_guard(policy) if stage in rule.stages]
    lanes = [_lane([r for r in rules if r.mode == mode], policy, folder) for mode in ("enforce", "monitor")]
    return Lanes(*lanes)


def _lane(rules: Sequence[Rule], policy: Policy, folder: Folder) -> Lane:
    parts = Parts(folder)
    for index, rule in enumerate(rules):
        parts.duties.append(_duty(rule))
        BUILDERS[rule.kind](rule, policy, parts, index)
    return parts.lane()


def _duty(rule: Rule) -> Duty:
    version = hashlib.sha256(rule.model_dump_json().encode()).hexdigest()[:8]
    category = rule.category or DEFAULT_CATEGORY[rule.kind]
    return Duty(rule.name, category, Action(rule.action), rule.mode, Action(rule.on_error), version, rule.timeout)


def _with_leak_guard(policy: Policy) -> list[Rule]:
    """The owner's prompt is guarded on the way out whether or not the policy says so."""
    rules = list(policy.guards)
    if policy.system_prompt and not any(r.kind == "prompt_leak" and r.mode == "enforce" for r in rules):
        rules.append(Rule(name=IMPLICIT_LEAK, kind="prompt_leak", stages=("output",), action="block"))
    return rules


def placeholder(name: str) -> str:
    """`order number` -> `[ORDER_NUMBER]`."""
    return f"[{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_').upper() or 'REDACTED'}]"


def _add_shapes(shapes: Sequence[Shape], parts: Parts, index: int) -> None:
    parts.probes += [probe(index, s, placeholder=placeholder(s.entity)) for s in shapes]


def _pattern(rule: Rule, policy: Policy, parts: Parts, index: int) -> None:
    shape = pattern.shape(rule.pattern or "", ignore_case=rule.ignore_case)
    parts.probes.append(probe(index, shape, placeholder=placeholder(rule.name), linear=True))


def _denylist(rule: Rule, policy: Policy, parts: Parts, index: int) -> None:
    parts.exact.append((index, denylist.Terms.build(rule.terms, placeholder(rule.name))))


def _pii(rule: Rule, policy: Policy, parts: Parts, index: int) -> None:
    _add_shapes(pii.shapes(rule.entities or pii.DEFAULT, rule.region or "US"), parts, index)


def _secrets(rule: Rule, policy: Policy, parts: Parts, index: int) -> None:
    _add_shapes(secrets.shapes(rule.entities or None), parts, index)


def _unicode(rule: Rule, policy: Policy, parts: Parts, index: int) -> None:
    for shape in unicode.shapes(rule.entities or unicode.DEFAULT):
        parts.probes.append(probe(index, shape, placeholder="", folded=False))


def _length(rule: Rule, policy: Policy, parts: Parts, index: int) -> None:
    parts.exact.append((index, length.Length(rule.max_chars or 0)))


def _prompt_leak(rule: Rule, policy: Policy, parts: Parts, index: int) -> None:
    prompt = policy.system_prompt.text if policy.system_prompt else ""
    parts.exact.append((index, prompt_leak.PromptLeak.build(prompt, rule.min_run or prompt_leak.RUN)))


BUILDERS: dict[str, Build] = {
    "pattern": _pattern,
    "denylist": _denylist,
    "pii": _pii,
    "secrets": _secrets,
    "unicode": _unicode,
    "length": _length,
    "prompt_leak": _prompt_leak,
}


def _check_pattern(rule: Rule) -> list[Complaint]:
    found = pattern.problem(rule.pattern or "")
    return [Complaint("pattern", *found)] if found else []


def _check_entities(known: Sequence[str]) -> Callable[[Rule], list[Complaint]]:
    def check(rule: Rule) -> list[Complaint]:
        return [
            Complaint("entities", f"unknown entity {name!r}", f"use some of: {', '.join(sorted(known))}")
            for name in rule.entities
            if name not in known
        ]

    return check


KINDS: dict[str, KindSpec] = {
    "pattern": KindSpec(frozenset({"pattern", "ignore_case"}), frozenset({"pattern"}), _check_pattern),
    "denylist": KindSpec(frozenset({"terms", "terms_file"})),
    "pii": KindSpec(frozenset({"entities", "region"}), check=_check_entities(tuple(pii.ENTITIES))),
    "secrets": KindSpec(frozenset({"entities"}), check=_check_entities(tuple(secrets.ENTITIES))),
    "unicode": KindSpec(frozenset({"entities"}), check=_check_entities(tuple(unicode.ENTITIES))),
    "length": KindSpec(frozenset({"max_chars"}), frozenset({"max_chars"})),
    "prompt_leak": KindSpec(frozenset({"min_run"})),
}
"""The guard kinds, and what a config may say of each."""
