"""Verdicts as they were kept, made whole for a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from guards.verdict import RANK

EMPTY: Mapping[str, Any] = {
    "guard": "",
    "category": "",
    "entity": None,
    "field": "",
    "action": "allow",
    "would": "",
    "score": 0.0,
    "threshold": None,
    "version": "",
    "error": None,
}
"""Older records, and those of guards that failed, lack some."""


def rows(verdicts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What asks for most comes first; what a guard found several times stands there once."""
    whole = [{**EMPTY, **verdict} for verdict in verdicts]
    told = [{**row, "would": row["would"] or row["action"]} for row in whole]
    once = {(r["guard"], r["category"], r["entity"], r["field"]): r for r in sorted(told, key=_weight)}
    return sorted(once.values(), key=_weight, reverse=True)


def _weight(row: Mapping[str, Any]) -> tuple[int, float]:
    return RANK.get(str(row["would"]), 0), float(row["score"] or 0)
