"""Wardgate as targets: the configs are written into a folder and served by this environment's own command."""

from __future__ import annotations

import json
import random
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.carriers.plan import DENIED, SECRET, WORD
from tests.bench.tables import GUARDED, PLAIN
from tests.bench.target import Target

TERMS = 10_000
LEAK, MASK, LIST = "wardgate-deny", "wardgate-redact", "wardgate-denylist"
Guard = dict[str, object]


def terms() -> list[str]:
    """The same made-up words every time."""
    chance = random.Random(7)
    syllables = [a + b for a in "bdgklmnrstz" for b in "aeiou"]
    found: set[str] = set()
    while len(found) < TERMS:
        found.add("".join(chance.choices(syllables, k=chance.randint(4, 6))))
    return sorted(found)


def guards() -> list[Guard]:
    """The guards of the goals, on input and output."""
    both = {"stages": ["input", "output"]}
    return [
        {"name": "pii", "kind": "pii", "action": "redact", **both},
        {"name": "secrets", "kind": "secrets", "action": "redact", **both},
        {"name": "deny", "kind": "pattern", "pattern": DENIED, "action": "block", **both},
        {"name": "terms", "kind": "denylist", "terms": terms(), "action": "block", **both},
        {"name": "unicode", "kind": "unicode", "action": "block", **both},
    ]


def make(
    name: str,
    port: int,
    rules: Sequence[Guard],
    upstream: str,
    folder: Path,
    *,
    streaming: object = "strict",
    carriers: str = "",
) -> Target:
    """`carriers`: the second mock, which the model of that name asks."""
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    config = home / "wardgate.yaml"
    mocks = {"bench": upstream, "carriers": carriers or upstream}
    document = {
        "version": 1,
        "upstreams": [{"name": name, "base_urls": [f"{url}/v1"]} for name, url in mocks.items()],
        "models": [{"name": name, "upstream": name, "policy": "bench"} for name in mocks],
        "policies": [{"name": "bench", "guards": list(rules), "streaming": streaming}],
    }
    config.write_text(json.dumps(document))  # JSON is YAML
    command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config), "--port", str(port)]
    binary = Path(sys.executable).parent / "wardgate"
    if binary.exists():
        command[:3] = [str(binary)]
    return Target(
        name,
        f"http://127.0.0.1:{port}",
        cmd=shlex.join(command),
        env={"WARDGATE_DATA": str(home / "data"), "WARDGATE_LOG_LEVEL": "ERROR"},
        ready="/health/live",
    )


def classifiers() -> list[Guard]:
    """The shipped classifier on input and output."""
    found: list[Guard] = []
    for category, stages in (
        ("harm", ["input", "output"]),
        ("toxicity", ["input", "output"]),
        ("jailbreak", ["input"]),
    ):
        base: Guard = {"name": category, "kind": "classifier", "category": category, "stages": stages}
        found.append({**base, "timeout": "30s"})
    return found


def scoring(name: str, port: int, streaming: object, upstream: str, folder: Path) -> Target:
    return make(name, port, classifiers(), upstream, folder, streaming=streaming)


def plain(upstream: str, folder: Path) -> Target:
    return make(PLAIN, 9301, [], upstream, folder)


def guarded(upstream: str, folder: Path) -> Target:
    target = make(GUARDED, 9302, guards(), upstream, folder)
    target.prompt_chars = 4096
    return target


def denying(upstream: str, carriers: str, folder: Path) -> list[Target]:
    """What the leak tables plant is blocked by a pattern, redacted by it, and blocked by a list of terms."""
    base: Guard = {"name": "deny", "stages": ["input", "output"], "action": "block"}
    pattern: Guard = {**base, "kind": "pattern", "pattern": DENIED}
    rules: dict[str, Guard] = {
        LEAK: pattern,
        MASK: {**pattern, "action": "redact"},
        LIST: {**base, "kind": "denylist", "terms": [WORD, SECRET]},
    }
    ports = (9303, 9321, 9322)
    return [
        make(name, port, [rule], upstream, folder, carriers=carriers)
        for (name, rule), port in zip(rules.items(), ports, strict=True)
    ]
