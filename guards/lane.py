"""The exact lane: every exact guard of one policy and stage, made ready once and used for every text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from guards.guard import ExactGuard, Failure, Found, Match, Window, check_all
from guards.text.matcher import Matcher
from guards.verdict import RANK, Action, Mode

SHAPES = -1
"""Stands for the matcher, which serves several guards at once, among the checks of a lane."""


@dataclass(frozen=True, slots=True)
class Duty:
    """What a lane needs to know of a rule: who it is and what its finding means."""

    name: str
    category: str
    action: Action
    mode: Mode
    on_error: Action
    version: str
    timeout: float = 2.0
    """Seconds that a text may take."""
    releases: bool = False
    """What it escalates leaves all the same: `deliver: release`."""

    @property
    def enforced(self) -> Action:
        return self.action if self.mode == "enforce" else Action.ALLOW

    @property
    def failing(self) -> Action:
        """What it asks for where it could not judge."""
        return self.on_error if self.mode == "enforce" else Action.ALLOW

    @property
    def rank(self) -> int:
        """Of what becomes of a text in which it finds something: one that a person must see is held, or leaves."""
        return RANK[self._effect(self.enforced)]

    @property
    def blocks_on_error(self) -> bool:
        return self._effect(self.failing) is Action.BLOCK

    def released(self) -> Duty:
        return replace(self, releases=True)

    def _effect(self, action: Action) -> Action:
        if action is Action.ESCALATE:
            return Action.FLAG if self.releases else Action.BLOCK
        return action


@dataclass(frozen=True, slots=True)
class Lane:
    """The rules of a stage, the matcher for those told by shape, and the guards that track texts their own way."""

    rules: tuple[Duty, ...]
    matcher: Matcher | None
    exact: tuple[tuple[int, ExactGuard], ...]
    """(index of the rule, guard)."""

    @property
    def idle(self) -> bool:
        return not self.rules

    def passing(self) -> Lane:
        """The same, but that nothing is held for a person: for a text that he may let pass."""
        return replace(self, rules=tuple(d.released() for d in self.rules))

    def track(self) -> LaneTracker:
        checks: list[tuple[int, Callable[[Window], Found]]] = [(i, guard.track().scan) for i, guard in self.exact]
        return LaneTracker(self, checks)


@dataclass(slots=True)
class LaneScan:
    """What a lane says of a window."""

    matches: list[tuple[Match, int]]
    """In order of start, longest first; with the index of the rule."""
    alive: int
    failures: list[Failure]


@dataclass(slots=True)
class LaneTracker:
    """Follows one text with all guards of a lane. A guard that failed once is left out for the rest of the text."""

    lane: Lane
    checks: list[tuple[int, Callable[[Window], Found]]]
    owners: list[int] = field(default_factory=list)
    shapes: Callable[[Window], Found] | None = None

    def __post_init__(self) -> None:
        if self.lane.matcher is not None:
            tracker = self.lane.matcher.track()

            def shapes(window: Window) -> Found:
                found, self.owners = tracker.scan(window)
                return found

            self.checks.append((SHAPES, shapes))

    def scan(self, window: Window) -> LaneScan:
        results, failures = check_all(self.checks, window)
        alive = window.origin + len(window.text)
        rows: list[tuple[Match, int]] = []
        for index, found in results:
            alive = min(alive, found.alive)
            if found.matches:
                owners = self.owners if index == SHAPES else [index] * len(found.matches)
                rows += zip(found.matches, owners, strict=True)
        if failures:
            gone = {f.guard for f in failures}
            self.checks = [c for c in self.checks if c[0] not in gone]
            failures = [g for f in failures for g in self._spread(f)]
        if len(rows) > 1:
            rows.sort(key=lambda row: (row[0].start, -row[0].end))
        return LaneScan(rows, alive, failures)

    def _spread(self, failure: Failure) -> list[Failure]:
        """A failure of the matcher is one of every guard that it serves."""
        if failure.guard != SHAPES or self.lane.matcher is None:
            return [failure]
        return [Failure(guard, failure.error) for guard in sorted({p.guard for p in self.lane.matcher.probes})]
