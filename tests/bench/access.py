"""What keys, limits and the verdict cache add to a request: `python tests/bench/run.py --only access`.

Each target has what the one before it has and one thing more; the prompt, ten messages of a chat, is the same for all.
Their verdicts are known after the first request, so the classifier itself has nothing to do. The model's answer is
judged by nobody. CPU is that of the gateway and of its Redis together. `judged` counts texts that the cache did not
know within its 50 ms, and `flagged` the requests in which a guard found something; both must be 0: else the time of
the classifier, or of the flag log, is in the figure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.bench import wardgate
from tests.bench.load import Figures, Load, Loader
from tests.bench.rounds import Results
from tests.bench.tables import number
from tests.bench.target import Target

Tenant = Mapping[str, object]
KEY = "wg-app-bench"
MANY = 10**9
LIMITS = {"requests_per_minute": MANY, "tokens_per_minute": 10**6 * MANY, "concurrent": 10_000}
"""All three, and out of reach."""
TURNS = (
    "What does a gateway in front of a model do?",
    "It adds the owner's system prompt, and judges what goes in and what comes out.",
    "And if the model is slow to answer?",
    "Then the gateway waits, and tells the client should it take too long.",
    "How are its replicas chosen?",
    "The one with the fewest requests under way is asked first; one that fails is left alone for a while.",
    "Can you say how long that while is?",
    "Ten seconds, after which a single request finds out whether it works again.",
    "What becomes of a stream that breaks off?",
)
"""Of user and assistant; the load's own question is the tenth."""
HEAD = (
    "target",
    "CPU ms/request",
    "added",
    "in all",
    "at one connection",
    "added",
    "in all",
    "judged",
    "flagged",
    "failed",
)
AT_MOST = 0.3
"""Milliseconds that keys, limits and cache may add in all."""
FLAGS = "wardgate_flagged_exchanges_total"
LOOKUPS = "wardgate_verdict_cache_lookups_total"
BUSY, ALONE = "rps64", "lat1"


class Chat(Target):
    """Is asked as chats ask: with all that was said before."""

    __slots__ = ()

    def request(self, shape: str, *, stream: bool = False) -> dict[str, object]:
        body = super().request(shape, stream=stream)
        before = [{"role": ("user", "assistant")[i % 2], "content": said} for i, said in enumerate(TURNS)]
        last = body["messages"]
        return {**body, "messages": [*before, *(last if isinstance(last, list) else [])]}


def targets(upstream: str, folder: Path) -> list[Target]:
    """From the open gateway to the one with everything."""
    key = {"name": "bench", "keys": [f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"]}
    limited = {**key, "limits": LIMITS}
    judged = [{**rule, "stages": ["input"], "thresholds": {"block": 0.999}} for rule in wardgate.classifiers()]
    steps: tuple[tuple[str, Tenant | None, list[wardgate.Guard]], ...] = (
        ("open", None, []),
        ("+ key", key, []),
        ("+ limits", limited, []),
        ("+ verdict cache", limited, judged),
    )
    found: list[Target] = []
    for port, (name, tenant, rules) in enumerate(steps, 9331):
        made = wardgate.make(f"access-{port}", port, rules, upstream, folder)
        if tenant:
            admit(folder / f"access-{port}" / "wardgate.yaml", tenant)
        headers = {"Authorization": f"Bearer {KEY}"} if tenant else {}
        found.append(Chat(name, made.url, headers=headers, cmd=made.cmd, env=made.env, ready=made.ready))
    return found


def admit(config: Path, tenant: Tenant) -> None:
    """The gateway is this tenant's alone."""
    document = json.loads(config.read_text())
    models = [model["name"] for model in document["models"]]
    config.write_text(json.dumps({**document, "tenants": [{**tenant, "models": models}]}))


def loads(loader: Loader, seconds: float) -> Mapping[str, Load]:
    """Under load questions to Redis share round trips; one connection alone shares them with nobody."""

    def load(target: Target, connections: int) -> Figures:
        before, flagged = unknown(target), target.count(FLAGS)
        figures = loader.whole(target, connections, seconds)
        return {**figures, "unknown": unknown(target) - before, "flagged": target.count(FLAGS) - flagged}

    return {BUSY: lambda target: load(target, 64), ALONE: lambda target: load(target, 1)}


def unknown(target: Target) -> float:
    """Texts that the cache did not know in time: on a machine that is busy with something else."""
    return target.count(LOOKUPS, without='result="hit"')


def rows(results: Results, names: Sequence[str]) -> Iterator[Sequence[str]]:
    for before, name in zip([names[0], *names], names, strict=False):
        cells = [name]
        for load in (BUSY, ALONE):
            cells.append(number(results.median(load, name, "cpu_ms"), 3))
            cells += [number(results.added(load, name, "cpu_ms", base), 3) for base in (before, names[0])]
        for figure in ("unknown", "flagged", "failed"):
            cells.append(number(sum(sum(results.values(load, name, figure)) for load in (BUSY, ALONE)), 0))
        yield cells


def verdict(results: Results, names: Sequence[str]) -> str:
    added = results.added(BUSY, names[-1], "cpu_ms", names[0])
    met = "met" if added <= AT_MOST else "MISSED"
    return f"\nkeys, limits and cache in all: {added:.3f} ms, at most {AT_MOST}: {met}"
