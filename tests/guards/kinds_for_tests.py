"""Guard kinds as a catalog would name them, with one that scores."""

from __future__ import annotations

from guards.document import Complaint, KindSpec
from guards.policy import Rule


def bounded(rule: Rule) -> list[Complaint]:
    if rule.pattern and "*" in rule.pattern:
        return [Complaint("pattern", f"pattern has an unbounded repeat: {rule.pattern}", r"write \w{1,64}")]
    return []


KINDS = {
    "pattern": KindSpec(frozenset({"pattern", "ignore_case"}), frozenset({"pattern"}), bounded),
    "denylist": KindSpec(frozenset({"terms", "terms_file"})),
    "pii": KindSpec(frozenset({"entities", "region"})),
    "secrets": KindSpec(frozenset({"entities"})),
    "unicode": KindSpec(frozenset({"entities"})),
    "length": KindSpec(frozenset({"max_chars"}), frozenset({"max_chars"})),
    "prompt_leak": KindSpec(frozenset({"min_run"})),
    "scorer": KindSpec(frozenset({"thresholds"}), frozenset({"thresholds"})),
}
