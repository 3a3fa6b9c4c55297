"""How figures and names are said on a page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

MINUTE, HOUR, DAY = 60, 3600, 86400


def words(name: object) -> str:
    """A name of the API as people write it: `allow_with_edit` becomes `allow with edit`."""
    return "none" if name is None else str(name).replace("_", " ")


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def ago(at: float, now: float) -> str:
    return f"{span(now - at)} ago"


def span(seconds: float) -> str:
    """The largest unit is enough: `3 min`, `2 h`, `4 d`."""
    left = max(0, int(seconds))
    if left < MINUTE:
        return f"{left} s"
    if left < HOUR:
        return f"{left // MINUTE} min"
    return f"{left // HOUR} h" if left < 2 * DAY else f"{left // DAY} d"


def left(seconds: float, over: str = "over") -> str:
    """As the page's own clocks go on to show it."""
    if seconds <= 0:
        return over
    whole = round(seconds)
    if whole >= 2 * DAY:
        return f"{whole // DAY} d"
    hours, minutes, rest = whole // HOUR, whole // MINUTE % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def urgency(seconds: float, total: float) -> Literal["", "amber", "red"]:
    """Of what is left of a time: half of it, a tenth."""
    share = seconds / max(1.0, total)
    return "red" if share < 0.1 else "amber" if share <= 0.5 else ""
