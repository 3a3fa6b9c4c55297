"""Personal data and secrets, taken out of everything that leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.export.sample import Sample
from gateway.export.turns import Message, Unreadable
from guards.catalog import build_lanes
from guards.lane import Lane
from guards.policy import Document, Policy, Rule
from guards.stream import TextFilter
from guards.text.fold import Folder

PERSONAL = frozenset({"pii", "secrets"})
"""Kinds that redact here whatever they do in the policy, and at whichever stage."""
MASKING = frozenset({"pattern", "denylist", "unicode"})
"""Kinds that redact here where they do in the policy: no model shall learn what never leaves it."""
NAMES = frozenset({"role", "type", "id", "tool_call_id"})
"""Keys of a turn whose strings are no text."""


@dataclass(slots=True)
class Redactor:
    """The redactions of one policy."""

    lane: Lane
    folder: Folder
    done: int = 0
    """Redactions so far."""

    @classmethod
    def of(cls, policy: Policy | None) -> Redactor:
        """Without a policy, or where it has no guard for personal data: the default one."""
        folder = Folder.new()
        return cls(build_lanes(redacting(policy), "output", folder).enforced, folder)

    def clean(self, sample: Sample) -> Sample:
        """Unreadable where a redaction fails: then the text stays here."""
        prompt: list[Message] = [self.value(turn) for turn in sample.prompt]
        tools = self.value(list(sample.tools))
        original, rewritten, text = map(self.text, (sample.original, sample.rewritten, sample.text))
        return replace(
            sample, prompt=tuple(prompt), tools=tuple(tools), original=original, rewritten=rewritten, text=text
        )

    def value(self, node: Any) -> Any:
        """The same with every text in it redacted."""
        if isinstance(node, dict):
            return {key: value if key in NAMES else self.value(value) for key, value in node.items()}
        if isinstance(node, list):
            return [self.value(each) for each in node]
        return self.text(node) if isinstance(node, str) else node

    def text(self, text: str) -> str:
        release = TextFilter.new(self.lane, self.folder).feed(text, final=True)
        if release.blocked or release.failures:
            raise Unreadable("redaction_failed")
        self.done += len(release.decisions)
        return release.text


def redacting(policy: Policy | None) -> Policy:
    """A policy of redactions alone."""
    given = policy.guards if policy else ()
    kept = [r for r in given if r.kind in PERSONAL or (r.kind in MASKING and r.action == "redact")]
    if not any(rule.kind == "pii" for rule in kept):
        kept.append(Rule(name="pii", kind="pii", action="redact"))
    acting = {"stages": ("output",), "action": "redact", "mode": "enforce", "on_error": "block"}
    return Policy(name="export", guards=tuple(rule.model_copy(update=acting) for rule in kept))


@dataclass(frozen=True, slots=True)
class Redactors:
    """One for each policy of a document."""

    policies: Mapping[str, Policy]
    made: dict[str, Redactor] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Document) -> Redactors:
        return cls({policy.name: policy for policy in document.policies})

    def policy(self, label: str) -> Policy | None:
        """That of the name in `name@hash` which is in force; None: there is none any more."""
        return self.policies.get(label.partition("@")[0])

    def behind(self, label: str) -> Redactor:
        name = label.partition("@")[0]
        if name not in self.made:
            self.made[name] = Redactor.of(self.policies.get(name))
        return self.made[name]

    def told(self) -> dict[str, Any]:
        """For the manifest: what redacted, by policy, and how often."""
        return {
            name: {"guards": [duty.name for duty in each.lane.rules], "redactions": each.done}
            for name, each in sorted(self.made.items())
        }
