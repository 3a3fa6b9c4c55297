"""Kind `length`: a text longer than `max_chars` characters."""

from __future__ import annotations

from dataclasses import dataclass

from guards.guard import Found, Match, Window


@dataclass(frozen=True, slots=True)
class Length:
    max_chars: int

    def track(self) -> LengthTracker:
        return LengthTracker(self.max_chars)


@dataclass(slots=True)
class LengthTracker:
    """The excess is one match that ends with the text: `redact` truncates, `block` stops at the limit."""

    limit: int
    told: bool = False

    def scan(self, window: Window) -> Found:
        end = window.origin + len(window.text)
        if end <= self.limit or self.told:
            return Found((), end)
        self.told = True
        return Found((Match(self.limit, 1 << 62, "length", "[TRUNCATED]"),), end)
