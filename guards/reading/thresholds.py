"""Thresholds of a guard that scores: known actions, probabilities, and a higher score for a stronger action."""

from __future__ import annotations

from itertools import pairwise

from guards.problem import nearest, one_of
from guards.reading.report import Report
from guards.reading.source import Data, Place
from guards.verdict import Action

NAMED = [str(action) for action in Action if action is not Action.ALLOW]


def check_thresholds(place: Place, thresholds: Data, report: Report) -> None:
    if not isinstance(thresholds, dict):
        return
    if not thresholds:
        report.add(place, "this guard can never act: `thresholds` is empty", "write e.g. `{flag: 0.4, block: 0.95}`")
    for name in thresholds:
        if name not in NAMED:
            _unknown((*place, name), name, report)
    levels = [(name, number) for name in NAMED if (number := _number(thresholds.get(name))) is not None]
    for (low, below), (high, above) in pairwise(levels):
        if above <= below:
            message = (
                f"thresholds must rise with the action: `{high}` at {_bare((*place, high), report)} "
                f"is not above `{low}` at {_bare((*place, low), report)}"
            )
            report.add((*place, high), message, f"give `{high}` a higher number than `{low}`, or remove one")


def _unknown(place: Place, name: str, report: Report) -> None:
    if name == "allow":
        report.add(place, "`allow` needs no threshold: it is what happens below the lowest", "remove it")
        return
    meant = nearest(name, NAMED)
    remedy = f"did you mean `{meant}`?" if meant else f"name {one_of(NAMED)}"
    report.add(place, f"`thresholds` names an unknown action, `{name}`", remedy)


def _number(value: Data) -> float | None:
    """The value, where it is a probability; what is none is told of elsewhere."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number <= 1 else None


def _bare(place: Place, report: Report) -> str:
    return report.quote(place).strip("`")
