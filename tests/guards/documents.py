"""A good document to spoil, the guard kinds that it is read with, and what is then told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from guards.document import Complaint, DocumentError, KindSpec, Loaded, Problem, load
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
    "scorer": KindSpec(frozenset({"thresholds", "only_if"}), frozenset({"thresholds"})),
}

HASH = "sha256:" + "a" * 64
SECRET = "hunter2-s3cr3t"

GOOD = rf"""
version: 1
upstreams:
  - name: vllm
    base_urls: [http://127.0.0.1:8000/v1]
    api_key: ${{API_KEY}}
    timeouts: {{connect: 500ms, read: 5m, idle: 1h}}
models:
  - {{name: assistant, upstream: vllm, upstream_model: Qwen/Qwen3-8B, policy: support}}
policies:
  - name: support
    system_prompt: {{text: You help., mode: prepend}}
    on_block: refuse
    streaming: {{mode: bounded, slack: 100}}
    escalation: {{deliver: withhold, wait: 20s, deadline: 30m, on_deadline: block}}
    guards:
      - name: codename
        kind: pattern
        stages: [output]
        pattern: 'Project [A-Z]\w{{2,20}}'
        action: block
        timeout: 500ms
      - name: score
        kind: scorer
        category: jailbreak
        thresholds:
          flag: 0.4
          block: 0.9
tenants:
  - name: acme
    keys: ["{HASH}"]
    models: [assistant]
    limits: {{requests_per_minute: 600}}
    policy: support
server: {{max_body: 64kB}}
"""


def read(text: str, environ: dict[str, str] | None = None, base: Path = Path()) -> Loaded:
    return load(text, KINDS, {"API_KEY": SECRET} if environ is None else environ, base, "gate.yaml")


def problems(text: str, environ: dict[str, str] | None = None, base: Path = Path()) -> tuple[Problem, ...]:
    with pytest.raises(DocumentError) as failure:
        read(text, environ, base)
    return failure.value.problems


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def line_of(text: str, mark: str = "#!") -> int:
    return next(i for i, line in enumerate(text.splitlines(), 1) if mark in line)
