"""The results as Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.bench.rounds import Results


class Column(NamedTuple):
    title: str
    load: str
    key: str
    scale: float
    digits: int


COLUMNS = (
    Column("CPU ms/request", "rps64", "cpu_ms", 1, 3),
    Column("RPS", "rps64", "rps", 1, 0),
    Column("p50 ms, 1 conn.", "lat1", "p50_us", 1e-3, 2),
    Column("p99 ms, 1 conn.", "lat1", "p99_us", 1e-3, 2),
    Column("p99 ms, 64 conn.", "rps64", "p99_us", 1e-3, 1),
    Column("CPU ms / 300-chunk stream", "s4", "cpu_ms", 1, 1),
    Column("TTFT ms, 32 streams", "s32", "ttft_p50_us", 1e-3, 2),
    Column("chunk delay p50 ms", "s32", "chunk_p50_us", 1e-3, 2),
    Column("chunk delay p50 ms, nothing held", "open32", "chunk_p50_us", 1e-3, 2),
)


class Goal(NamedTuple):
    """A promise: the figure of a target, absolute, added to direct, or as a share of a peer's, stays below `most`."""

    target: str
    what: str
    load: str
    key: str
    scale: float
    base: str
    """`` for the figure itself, `direct` for what is added to it, else the peer that it is divided by."""
    most: float


PLAIN, GUARDED = "wardgate", "wardgate-guarded"
GOALS = (
    Goal(PLAIN, "CPU ms/request", "rps64", "cpu_ms", 1, "", 0.4),
    Goal(PLAIN, "CPU ms / 300-chunk stream", "s4", "cpu_ms", 1, "", 45),
    Goal(PLAIN, "CPU/request, share of LiteLLM's", "rps64", "cpu_ms", 1, "litellm", 1 / 30),
    Goal(PLAIN, "CPU/stream, share of LiteLLM's", "s4", "cpu_ms", 1, "litellm", 1 / 6),
    Goal(PLAIN, "CPU/request, share of Portkey's", "rps64", "cpu_ms", 1, "portkey", 1 / 8),
    Goal(PLAIN, "CPU/stream, share of Portkey's", "s4", "cpu_ms", 1, "portkey", 1 / 2),
    Goal(GUARDED, "CPU ms/request", "rps64", "cpu_ms", 1, "", 1.2),
    Goal(GUARDED, "CPU ms / 300-chunk stream", "s4", "cpu_ms", 1, "", 80),
    Goal(GUARDED, "TTFT added, ms p50, 32 streams", "s32", "ttft_p50_us", 1e-3, "direct", 3),
    Goal(GUARDED, "chunk delay added, ms p50, nothing held", "open32", "chunk_p50_us", 1e-3, "direct", 0.5),
)


def number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"\n### {title}\n"
    yield "| " + " | ".join(head) + " |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def report(results: Results, names: Sequence[str]) -> Iterator[str]:
    columns = [c for c in COLUMNS if c.load in results.rounds]
    head = ["target", *(c.title for c in columns)]
    medians = [[n, *(number(results.median(c.load, n, c.key) * c.scale, c.digits) for c in columns)] for n in names]
    rss = [number(results.resident.get(n, math.nan), 0) for n in names]
    yield from table("Medians", [*head, "RSS MiB"], [[*row, m] for row, m in zip(medians, rss, strict=True)])
    timed = [c for c in columns if c.key.endswith("_us")]
    yield from table(
        "Added to direct (same round)",
        ["target", *(c.title for c in timed)],
        [[n, *(number(results.added(c.load, n, c.key) * c.scale, c.digits) for c in timed)] for n in names[1:]],
    )
    for base in (n for n in ("litellm", "portkey") if n in names):
        ratios = [[n, *(number(results.ratio(c.load, n, c.key, base), 3) for c in columns)] for n in names]
        yield from table(f"Ratio to {base} (same round)", head, ratios)
    yield from table("Failures and noise", ["target", "failed", "cores used by others"], _noise(results, names))
    yield from table("Goals", ["target", "figure", "measured", "at most", ""], _goals(results, names))


def _noise(results: Results, names: Sequence[str]) -> list[list[str]]:
    rows = []
    for name in names:
        failed = sum(v for load in results.rounds for v in results.values(load, name, "failed") if not math.isnan(v))
        foreign = max(results.median(load, name, "foreign") for load in results.rounds)
        rows.append([name, number(failed, 0), number(foreign, 2)])
    return rows


def _goals(results: Results, names: Sequence[str]) -> list[list[str]]:
    rows = []
    for goal in GOALS:
        value = _measured(results, goal)
        if goal.target in names and not math.isnan(value):
            verdict = "met" if value <= goal.most else "MISSED"
            rows.append([goal.target, goal.what, f"{value:.3g}", f"{goal.most:.3g}", verdict])
    return rows


def _measured(results: Results, goal: Goal) -> float:
    if goal.base == "":
        return results.median(goal.load, goal.target, goal.key) * goal.scale
    if goal.base == "direct":
        return results.added(goal.load, goal.target, goal.key) * goal.scale
    return results.ratio(goal.load, goal.target, goal.key, goal.base)
