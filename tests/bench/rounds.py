"""Rounds: every target under every load, in rotating order, so that what else the machine does falls on all alike."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.bench.load import Figures, Load, LoadError
from tests.bench.processes import cpu, machine_busy, resident_mib
from tests.bench.target import Target

NAN = float("nan")


def middle(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return median(known) if known else NAN


@dataclass(slots=True)
class Results:
    """Load -> target -> the figures of each round."""

    rounds: dict[str, dict[str, list[Figures]]] = field(default_factory=dict)
    resident: dict[str, float] = field(default_factory=dict)

    def add(self, load: str, target: str, figures: Figures) -> None:
        self.rounds.setdefault(load, {}).setdefault(target, []).append(figures)

    def values(self, load: str, target: str, key: str) -> list[float]:
        return [f.get(key, NAN) for f in self.rounds.get(load, {}).get(target, [])]

    def median(self, load: str, target: str, key: str) -> float:
        return middle(self.values(load, target, key))

    def added(self, load: str, target: str, key: str, base: str = "direct") -> float:
        """Target minus base, within each round."""
        pairs = zip(self.values(load, target, key), self.values(load, base, key), strict=False)
        return middle([a - b for a, b in pairs])

    def ratio(self, load: str, target: str, key: str, base: str) -> float:
        """Target over base, within each round."""
        pairs = zip(self.values(load, target, key), self.values(load, base, key), strict=False)
        return middle([a / b if b else NAN for a, b in pairs])


def run_rounds(targets: Sequence[Target], loads: Mapping[str, Load], rounds: int) -> Results:
    results = Results()
    everyone = {pid for t in targets for pid in t.pids}
    for number in range(rounds):
        turn = number % len(targets)
        for name, load in loads.items():
            for target in [*targets[turn:], *targets[:turn]]:
                figures = _window(name, load, target, everyone)
                results.add(name, target.name, figures)
                shown = " ".join(f"{k}={v:.4g}" for k, v in figures.items())
                print(f"# round {number} {name:6} {target.name:18} {shown}", file=sys.stderr, flush=True)
        for target in targets:
            results.resident[target.name] = resident_mib(target.pids)
    return results


def _window(name: str, load: Load, target: Target, everyone: set[int]) -> Figures:
    """One load on one target, with the CPU it took and the cores that others used meanwhile."""
    before, all_before, busy, own, began = (
        cpu(target.pids),
        cpu(everyone),
        machine_busy(),
        _own_cpu(),
        time.monotonic(),
    )
    try:
        figures = load(target)
    except LoadError as error:
        print(f"# {name} {target.name}: {error}", file=sys.stderr, flush=True)
        return {}
    used, took = cpu(target.pids).since(before), time.monotonic() - began
    ours = cpu(everyone).since(all_before) + _own_cpu() - own
    figures["cpu_ms"] = used * 1e3 / max(1.0, figures["n"])
    figures["cores"] = used / took
    figures["foreign"] = max(0.0, machine_busy() - busy - ours) / took
    return figures


def _own_cpu() -> float:
    """Of this process and the loads it ran."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usages)
