"""What KTO's two weights should be."""

from __future__ import annotations

from typing import Any

MIDDLE = 1.15
"""TRL warns unless wanted rows weigh between 1 and 1.33 times as much as unwanted ones (eq. 8 of arXiv:2402.01306)."""


def weights(wanted: int, unwanted: int) -> dict[str, Any]:
    """`KTOConfig`'s arguments for so many rows; one of them stays 1."""
    note = "KTO needs a per-device batch size above 1."
    if not wanted or not unwanted:
        return {"note": f"{note} It needs rows of both labels; here is only one."}
    if wanted > unwanted:
        return {"desirable_weight": 1.0, "undesirable_weight": round(wanted / unwanted / MIDDLE, 2), "note": note}
    return {"desirable_weight": round(unwanted / wanted * MIDDLE, 2), "undesirable_weight": 1.0, "note": note}
