"""Whether each guard can do what it says: its kind's keys, its thresholds, and that it can act at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from guards.fields import Reading
from guards.policy import KindSpec, Rule
from guards.problem import Complaint, nearest, one_of
from guards.reading.names import once
from guards.reading.report import Report, members, shown
from guards.reading.source import Data, Place
from guards.reading.thresholds import check_thresholds
from guards.verdict import CATEGORIES

COMMON = frozenset({"name", "kind", "stages", "action", "mode", "mandatory", "on_error", "timeout", "category"})
EXACT_ACTIONS = ("allow", "flag", "redact", "escalate", "block")
LATER_ACTIONS = ("revise",)


@dataclass(slots=True)
class RuleCheck:
    """One guard as it is written, and where."""

    place: Place
    raw: dict[str, Data]
    policy: dict[str, Data]
    kinds: Mapping[str, KindSpec]
    reading: Reading
    report: Report

    def run(self) -> Rule | None:
        """Report what is wrong; the rule, where its values are readable."""
        self._stages()
        self._category()
        check_thresholds((*self.place, "thresholds"), self.raw.get("thresholds"), self.report)
        kind = self.raw.get("kind")
        if not isinstance(kind, str):
            return None
        if kind not in self.kinds:
            self._unknown_kind(kind)
            return None
        spec = self.kinds[kind]
        self._keys(kind, spec)
        self._action(kind, spec)
        self._material(kind, spec)
        return self._values(spec)

    def _add(self, key: str | int, message: str, remedy: str) -> None:
        self.report.add((*self.place, key), message, remedy)

    def _unknown_kind(self, kind: str) -> None:
        known = sorted(self.kinds)
        meant = nearest(kind, known)
        remedy = f"did you mean {meant}?" if meant else f"write one of {', '.join(known)}"
        message = f"there is no guard kind {self.report.quote((*self.place, 'kind'))}"
        self._add("kind", message, remedy)

    def _keys(self, kind: str, spec: KindSpec) -> None:
        for key in self.raw:
            if key in Rule.model_fields and key not in COMMON and key not in spec.keys:
                self._foreign(key, kind)
        for key in sorted(spec.required):
            if self.raw.get(key) is None:
                example = (Rule.model_fields[key].examples or ["…"])[0]
                self._add(key, f"kind {kind} needs `{key}`", f"add `{key}: {example}`")

    def _foreign(self, key: str, kind: str) -> None:
        owners = sorted(name for name, spec in self.kinds.items() if key in spec.keys)
        if key == "thresholds":
            message = f"`thresholds` belongs to kinds that score, and kind {kind} is exact: it matches or it does not"
            self._add(key, message, "remove it, and write `action: block` or another action")
        elif owners:
            noun = "kind" if len(owners) == 1 else "kinds"
            self._add(key, f"`{key}` belongs to {noun} {', '.join(owners)}, not {kind}", "remove it")
        else:
            self._add(key, f"`{key}` belongs to no kind of this release", "remove it")

    def _action(self, kind: str, spec: KindSpec) -> None:
        action = self.raw.get("action")
        if action in LATER_ACTIONS and "thresholds" not in spec.keys:
            message = f"`action: {action}` has no effect on kind {kind}: only {one_of(EXACT_ACTIONS)} act there"
            self._add("action", message, "write `action: block`, or flag to let it pass and keep it")
        idle = action == "allow" and self.raw.get("mode", "enforce") == "enforce"
        if idle and not self.raw.get("thresholds"):
            message = "this guard can never act: `action: allow` does nothing when enforced"
            self._add("action", message, "write flag, redact or block; `mode: monitor` only looks on")

    def _stages(self) -> None:
        stages = self.raw.get("stages")
        if stages == []:
            self._add("stages", "this guard can never act: `stages` is empty", "write `stages: [input, output]`")
        elif isinstance(stages, list):
            for i, stage in enumerate(stages):
                if stage in stages[:i]:
                    place = (*self.place, "stages", i)
                    self.report.add(place, f"stage {self.report.quote(place)} stands twice", "keep one of them")

    def _category(self) -> None:
        category = self.raw.get("category")
        if isinstance(category, str) and category not in CATEGORIES:
            meant = nearest(category, CATEGORIES)
            remedy = f"did you mean {meant}?" if meant else f"write one of {', '.join(sorted(CATEGORIES))}"
            self._add("category", f"there is no category {self.report.quote((*self.place, 'category'))}", remedy)

    def _material(self, kind: str, spec: KindSpec) -> None:
        """What a guard compares with must be there."""
        terms, file = self.raw.get("terms"), self.raw.get("terms_file")
        if "terms" in spec.keys and not terms and file is None:
            self._add(
                "terms",
                f"this guard can never act: kind {kind} has no terms",
                "add `terms: [...]` or `terms_file: FILE`",
            )
        if isinstance(file, str) and self.reading.terms.get(file) == [] and not terms:
            self._add("terms_file", "this guard can never act: the file holds no terms", "write one term a line in it")
        if kind == "prompt_leak" and self.policy.get("system_prompt") is None:
            message = "this guard can never act: the policy has no `system_prompt` that could leak"
            self._add("kind", message, "add `system_prompt: {text: ...}` to the policy, or remove the guard")

    def _values(self, spec: KindSpec) -> Rule | None:
        try:
            rule = Rule.model_validate(self.raw, context=self.reading)
        except ValidationError:
            return None
        # A required key that is missing has been told of; the kind's own check may rely on it.
        if spec.check is not None and all(self.raw.get(key) is not None for key in spec.required):
            for complaint in spec.check(rule):
                self._complain(complaint)
        return rule

    def _complain(self, complaint: Complaint) -> None:
        place = (*self.place, complaint.key)
        if not self.report.source.has_variables(place):
            self.report.add(place, complaint.message, complaint.remedy)
            return
        # A kind may quote what it objects to, and that came from the environment.
        message = f"{shown(place)} is not usable for this kind of guard once the environment is filled in"
        self.report.add(place, message, "check the variables in it, or write the value out to see what is wrong")


def check_rules(data: dict[str, Data], kinds: Mapping[str, KindSpec], reading: Reading, report: Report) -> None:
    for place, policy in members(data, ("policies",)):
        _check_prompt(place, policy, report)
        guards = list(members(policy, (*place, "guards")))
        once(guards, "guard of this policy", report)
        rules = [(at, RuleCheck(at, raw, policy, kinds, reading, report).run()) for at, raw in guards]
        known = [(at, rule) for at, rule in rules if rule is not None]
        _check_repeats(known, report)
        _check_bands(known, kinds, report)


def _check_prompt(place: Place, policy: dict[str, Data], report: Report) -> None:
    prompt = policy.get("system_prompt")
    if isinstance(prompt, dict) and prompt.get("mode", "prepend") == "prepend":
        text = prompt.get("text")
        if isinstance(text, str) and not text.strip():
            message = f"{shown((*place, 'system_prompt', 'text'))} is blank, so there is nothing to prepend"
            report.add((*place, "system_prompt", "text"), message, "write the prompt, or remove `system_prompt`")


def _check_bands(rules: list[tuple[Place, Rule]], kinds: Mapping[str, KindSpec], report: Report) -> None:
    """What `only_if` leans on must be there, have a score of its own, and look at the same stages."""
    named = {rule.name: rule for _, rule in rules}
    for place, rule in rules:
        if rule.only_if is None:
            continue
        at, first = (*place, "only_if"), named.get(rule.only_if.guard)
        if rule.only_if.between[0] > rule.only_if.between[1]:
            report.add(at, "`between` must rise", "write the lower probability first")
        if first is None or first is rule:
            report.add(
                at, "`only_if` names no other guard of this policy", "name one that scores, such as a `classifier`"
            )
        elif "thresholds" not in kinds[first.kind].keys or first.only_if is not None:
            message = "the guard that `only_if` names has no score of its own to go by"
            report.add(at, message, "name a guard that scores every text")
        elif not set(rule.stages) <= set(first.stages):
            message = "the guard that `only_if` names does not run at all stages of this one"
            report.add(at, message, f"write `stages: [{', '.join(first.stages)}]`, or add the stage there")


def _check_repeats(rules: list[tuple[Place, Rule]], report: Report) -> None:
    """A guard with the settings of an earlier one never finds anything that is not found already."""
    earlier: dict[str, list[tuple[Place, Rule]]] = {}
    for place, rule in rules:
        settings = rule.model_dump_json(exclude={"name", "stages", "terms_file"})
        for first, twin in earlier.get(settings, ()):
            if rule.stages and set(rule.stages) <= set(twin.stages):
                message = (
                    f"this guard can never act: {report.quote((*first, 'name'))} on line {report.source.line(first)} "
                    "has the same kind and settings"
                )
                report.add(place, message, "remove it, or change what it looks for")
                break
        earlier.setdefault(settings, []).append((place, rule))
