"""From a policy's rules to guards that run: the kinds there are, and the lanes they make."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from classifiers.classifier import Classifier
from classifiers.served.families import CLASSES
from guards import checks
from guards.cache import Memo, VerdictCache
from guards.calls import CallLane
from guards.checks import DEFAULT_CATEGORY, labels_of
from guards.guard import ExactGuard
from guards.kinds import denylist, length, pattern, pii, prompt_leak, secrets, tool_call, unicode
from guards.kinds.classifier import Thresholds
from guards.lane import Duty, Lane
from guards.policy import KindSpec, Policy, Rule
from guards.scored import Scored, ScoredLane
from guards.shape import Shape
from guards.text.fold import Folder
from guards.text.matcher import Matcher, Probe, probe
from guards.verdict import Action, Mode, Stage

NONE: Mapping[str, Classifier] = {}
DEFAULT_THRESHOLD = 0.5
MODES: tuple[Mode, ...] = ("enforce", "monitor")
IMPLICIT_LEAK = "prompt_leak"
"""Name of the guard that protects an owner's system prompt where the policy names none."""


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
    """A stage's guards: exact ones that act hold text back, the monitored ones look on; those that score come after."""

    enforced: Lane
    monitored: Lane
    scored: ScoredLane
    calls: CallLane = field(default_factory=CallLane)

    def passing(self) -> Lanes:
        """The same, but that the exact guards hold nothing for a person."""
        return replace(self, enforced=self.enforced.passing())

    @property
    def exact_idle(self) -> bool:
        return self.enforced.idle and self.monitored.idle and self.calls.idle


Build = Callable[[Rule, Policy, Parts, int], None]
Classifiers = Mapping[str, Classifier]
"""`source(rule)` -> the classifier behind it."""


def build_lanes(
    policy: Policy, stage: Stage, folder: Folder, classifiers: Classifiers = NONE, cache: VerdictCache | None = None
) -> Lanes:
    """Make the policy's guards of one stage ready. A kind that scores must be among the classifiers.

    Answers are new each time, and windows of them more so: only prompts, tool results among them, use the cache.
    """
    rules = [rule for rule in _with_leak_guard(policy) if stage in rule.stages]
    exact = [r for r in rules if not scores(r.kind) and not KINDS[r.kind].calls]
    enforced, monitored = (_lane([r for r in exact if r.mode == m], policy, folder) for m in MODES)
    scored = tuple(_scored(r, policy, classifiers) for r in rules if scores(r.kind))
    remembering = ScoredLane(scored, stage, Folder.new(), cache if stage == "input" else None)
    calls = [r for r in rules if KINDS[r.kind].calls]
    lane = CallLane(tuple(_duty(r, policy) for r in calls), tuple(map(tool_call.ToolCalls.of, calls)))
    return Lanes(enforced, monitored, remembering, lane)


def scores(kind: str) -> bool:
    """Whether guards of the kind score texts, rather than find spans in them."""
    return "thresholds" in KINDS[kind].keys


def _scored(rule: Rule, policy: Policy, classifiers: Classifiers) -> Scored:
    classifier = classifiers[source(rule)]
    duty = _duty(rule, policy)
    known = classifier.thresholds.get(duty.category, DEFAULT_THRESHOLD)
    band = (rule.only_if.guard, *rule.only_if.between) if rule.only_if else None
    memo = None
    if rule.cache and KINDS[rule.kind].cached:
        whose = f"{source(rule)} {classifier.name}"
        memo = Memo.of(policy.name, whose, classifier.version, classifier.categories)
    return Scored(duty, Thresholds.of(rule.thresholds or {rule.action: known}), classifier, band, memo)


def source(rule: Rule) -> str:
    """What stands for the classifier behind a rule: rules with the same one share it."""
    if rule.kind == "classifier":
        return rule.kind
    if rule.kind == "transformer":
        return f"{rule.kind} {rule.model} {sorted(labels_of(rule).items())} {rule.device} {rule.remote_code}"
    secret = rule.api_key.get_secret_value() if rule.api_key else ""
    key = hashlib.sha256(secret.encode()).hexdigest()[:16]
    labels = f"{list((rule.labels or {}).items())} {rule.multi_label}" if rule.family == CLASSES else ""
    return f"{rule.kind} {rule.family}{labels} {rule.base_url} {rule.model} {key} {rule.timeout}"


def _lane(rules: Sequence[Rule], policy: Policy, folder: Folder) -> Lane:
    parts = Parts(folder)
    for index, rule in enumerate(rules):
        parts.duties.append(_duty(rule, policy))
        BUILDERS[rule.kind](rule, policy, parts, index)
    return parts.lane()


def _duty(rule: Rule, policy: Policy) -> Duty:
    version = hashlib.sha256(rule.model_dump_json().encode()).hexdigest()[:8]
    category = rule.category or DEFAULT_CATEGORY[rule.kind]
    acts = Action(rule.action), rule.mode, Action(rule.on_error)
    return Duty(rule.name, category, *acts, version, rule.timeout, policy.escalation.deliver == "release")


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


KINDS: dict[str, KindSpec] = {
    "classifier": KindSpec(frozenset({"thresholds", "only_if", "cache"}), check=checks.check_classifier, cached=True),
    "transformer": KindSpec(
        frozenset({"model", "labels", "device", "remote_code", "thresholds", "only_if", "cache"}),
        frozenset({"model"}),
        checks.check_transformer,
        cached=True,
    ),
    "guard_llm": KindSpec(  # every family asks at temperature 0
        frozenset(
            {"family", "base_url", "model", "api_key", "labels", "multi_label", "thresholds", "only_if", "cache"}
        ),
        frozenset({"family", "base_url", "model"}),
        checks.check_guard_llm,
        cached=True,
    ),
    "pattern": KindSpec(frozenset({"pattern", "ignore_case"}), frozenset({"pattern"}), checks.check_pattern),
    "denylist": KindSpec(frozenset({"terms", "terms_file"})),
    "pii": KindSpec(frozenset({"entities", "region"}), check=checks.check_entities(tuple(pii.ENTITIES))),
    "secrets": KindSpec(frozenset({"entities"}), check=checks.check_entities(tuple(secrets.ENTITIES))),
    "unicode": KindSpec(frozenset({"entities"}), check=checks.check_entities(tuple(unicode.ENTITIES))),
    "tool_call": KindSpec(frozenset({"allowed_tools", "arguments", "schemas"}), check=tool_call.complaints, calls=True),
    "length": KindSpec(frozenset({"max_chars"}), frozenset({"max_chars"})),
    "prompt_leak": KindSpec(frozenset({"min_run"})),
}
"""The guard kinds, and what a config may say of each."""
