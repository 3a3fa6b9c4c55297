"""The stream filter: text goes in as it comes, and only what has been judged comes out.

Invariant, whatever the cuts: the texts released, put together, are what one `feed` of the whole would release. It holds
because the output is a function of the final matches alone, and a match is taken only once no more text can change it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from guards.guard import Failure, Match, Window
from guards.lane import Lane, LaneTracker
from guards.text.fold import Folder
from guards.verdict import RANK, Action


class Decision(NamedTuple):
    """A final match and the index of the rule in the lane that it belongs to."""

    match: Match
    rule: int


@dataclass(slots=True)
class Release:
    """What one `feed` lets go."""

    text: str
    decisions: list[Decision] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    blocked: bool = False
    """Nothing more of this text may leave."""
    end: int = 0
    """Absolute raw index up to which the text has been decided."""
    redacted: bool = False


BLOCK_RANK = RANK[Action.BLOCK]
REDACT_RANK = RANK[Action.REDACT]


def in_order(row: tuple[Match, int]) -> tuple[int, int, int, str]:
    """By start, the longest first; then by rule and entity, so that no tie depends on how the text was cut."""
    match, rule = row
    return match.start, -match.end, rule, match.entity


@dataclass(slots=True)
class TextFilter:
    """Filters one text: one carrier of one choice, or one part of a prompt."""

    lane: Lane
    folder: Folder
    tracker: LaneTracker
    buffer: str = ""
    """Undecided text, with the last decided character before it."""
    low: int = 0
    origin: int = 0
    shown: str = ""
    cursor: int = 0
    """Absolute raw index up to which text has left, as itself or as a placeholder."""
    pending: list[tuple[Match, int]] = field(default_factory=list)
    blocked: bool = False

    @classmethod
    def new(cls, lane: Lane, folder: Folder) -> TextFilter:
        return cls(lane, folder, lane.track())

    @property
    def held(self) -> int:
        """Characters taken in and not yet let go."""
        return max(0, self.origin + len(self.buffer) - self.cursor)

    def feed(self, text: str, *, final: bool = False) -> Release:
        """Take `text` in; `final` says that none will follow."""
        if self.blocked:
            return Release("", blocked=True, end=self.cursor)
        self.buffer += text
        window = Window(self.buffer, self.low, self.origin, final, self.shown)
        scan = self.tracker.scan(window)
        failures = scan.failures
        if failures and any(self.lane.rules[f.guard].blocks_on_error for f in failures):
            self.blocked = True
            return Release("", failures=failures, blocked=True, end=self.cursor)
        if not scan.matches and not self.pending and not failures:
            return self._plain(scan.alive)
        if scan.matches:
            self.pending = sorted([*self.pending, *scan.matches], key=in_order)
        return self._decide(scan.alive, failures)

    def _plain(self, alive: int) -> Release:
        """The common case: nothing was found."""
        out = self.buffer[self.cursor - self.origin : alive - self.origin] if alive > self.cursor else ""
        self._advance(alive)
        return Release(out, end=alive)

    def _decide(self, alive: int, failures: list[Failure]) -> Release:
        release = Release("", failures=failures, end=alive)
        out: list[str] = []
        kept: list[tuple[Match, int]] = []
        last: tuple[int, int, int, str] | None = None
        for row in self.pending:
            match, rule = row
            if match.start >= alive:
                kept.append(row)
                continue
            key = (match.start, match.end, rule, match.entity)
            if key == last:
                continue
            last = key
            release.decisions.append(Decision(match, rule))
            self._apply(match, rule, out, release)
            if release.blocked:
                break
        else:
            self._emit(alive, out)
        self.pending = kept
        release.text = "".join(out)
        self._advance(alive)
        return release

    def _apply(self, match: Match, rule: int, out: list[str], release: Release) -> None:
        rank = self.lane.rules[rule].rank
        if rank < REDACT_RANK:
            return
        self._emit(match.start, out)
        if rank >= BLOCK_RANK:
            self.blocked = release.blocked = True
        elif match.end > self.cursor:
            out.append(match.placeholder)
            self.cursor = match.end
            release.redacted = True

    def _emit(self, upto: int, out: list[str]) -> None:
        if upto > self.cursor:
            out.append(self.buffer[self.cursor - self.origin : upto - self.origin])
            self.cursor = upto

    def _advance(self, alive: int) -> None:
        """Forget what is decided, but for one character of context."""
        self.cursor = max(self.cursor, alive)
        start = self.origin + self.low
        if alive > start:
            decided = self.buffer[self.low : alive - self.origin]
            self.shown = self._last_shown(decided) or self.shown
            self.buffer = decided[-1] + self.buffer[alive - self.origin :]
            self.origin, self.low = alive - 1, 1

    def _last_shown(self, decided: str) -> str:
        if decided[-1].isascii():
            return decided[-1]
        for c in reversed(decided):
            if self.folder.fold(c):
                return c
        return ""
