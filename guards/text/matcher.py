"""Finds shapes in raw and folded text, window by window: gates first, expressions behind them, partial matches last."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import re2

from guards.guard import Found, Match, Window
from guards.shape import Shape
from guards.text.fold import Folder, genuine
from guards.text.prefixes import Alive, Prefixes
from guards.text.view import View, folded_view, raw_view


class Hit(Protocol):
    """What `re` and RE2 matches have in common."""

    def span(self, group: int | str = 0, /) -> tuple[int, int]: ...
    def group(self, group: int | str, /) -> str: ...


Search = Callable[[str, int], Hit | None]
"""How a compiled expression of `re` or RE2 searches: (text, first index)."""


class Probe(NamedTuple):
    """A shape made ready: which guard of the lane it serves, and how it is searched for."""

    guard: int
    shape: Shape
    search: Search
    group: int | str
    placeholder: str
    folded: bool
    """Whether the folded view is searched too."""


class Candidate(NamedTuple):
    start: int
    end: int
    hidden: tuple[int, int]
    """The span to act on: the `secret` group, or the whole match."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """All shapes of a lane in one: one gate search and one walk over partial matches serve them together."""

    probes: tuple[Probe, ...]
    gates: re2.Set | None
    prefixes: Prefixes
    folder: Folder

    @classmethod
    def build(cls, probes: Sequence[Probe], folder: Folder) -> Matcher:
        prefixes = Prefixes()
        for probe in probes:
            prefixes.add(probe.shape.pattern, probe.shape.flags)
        return cls(tuple(probes), _gates(probes), prefixes, folder)

    def track(self) -> MatchTracker:
        return MatchTracker(self)


def probe(guard: int, shape: Shape, *, placeholder: str, linear: bool = False, folded: bool = True) -> Probe:
    """Compile a shape; `linear` puts an operator's expression on RE2, whose time does not depend on the expression."""
    if linear:
        search: Search = re2.compile(_with_flags(shape)).search
        group: int | str = 0
    else:
        compiled = re.compile(shape.pattern, shape.flags | re.ASCII)
        search, group = compiled.search, "secret" if "secret" in compiled.groupindex else 0
    return Probe(guard, shape, search, group, placeholder, folded)


def _with_flags(shape: Shape) -> str:
    return f"(?i){shape.pattern}" if shape.flags & re.IGNORECASE else shape.pattern


def _gates(probes: Sequence[Probe]) -> re2.Set | None:
    if not probes:
        return None
    options = re2.Options()
    options.max_mem = 64 << 20
    gates = re2.Set.SearchSet(options)
    for p in probes:
        gates.Add(f"(?i){p.shape.gate}" if p.shape.flags & re.IGNORECASE else p.shape.gate)
    gates.Compile()
    return gates


@dataclass(slots=True)
class MatchTracker:
    """Follows one text. Matches of one probe do not overlap: `done` remembers where its last one ended."""

    matcher: Matcher
    done: dict[int, int] = field(default_factory=dict)
    told: int = 0
    """Absolute index before which every match has been reported."""
    open: Alive | None = None
    """The undecided tail of the raw text, by absolute index; read on from there, not from its beginning."""
    read: int = 0
    """Absolute index up to which `open` has been read."""

    def scan(self, window: Window) -> tuple[Found, list[int]]:
        """The matches, and beside them the guard that each belongs to."""
        views = [raw_view(window)]
        if not (window.text.isascii() and window.shown.isascii()):
            views.append(folded_view(window, self.matcher.folder))
        alive = self._alive(window, views)
        rows: list[tuple[Match, int]] = []
        for index in self._awake(views):
            rows += self._matches(index, window, views, alive)
        self.told = alive
        return Found([m for m, _ in rows], alive), [g for _, g in rows]

    def _alive(self, window: Window, views: list[View]) -> int:
        end = window.origin + len(window.text)
        if window.final:
            return end
        first = self._raw_alive(window)
        if len(views) > 1:
            k = self.matcher.prefixes.first_alive(views[1].text, views[1].low).start
            if k < len(views[1].text):
                first = min(first, views[1].raw(k) + window.origin)
        return first

    def _raw_alive(self, window: Window) -> int:
        prefixes, low = self.matcher.prefixes, window.low
        if self.open is not None and self.open.start >= window.origin + low:
            state = prefixes.read(self.open.state, window.text[self.read - window.origin :])
            if state is not None and state.live:
                self.read = window.origin + len(window.text)
                self.open = Alive(self.open.start, state)
                return self.open.start
            low = self.open.start + 1 - window.origin
        elif self.read > window.origin + low:
            low = self.read - window.origin
        found = prefixes.first_alive(window.text, low)
        self.read = window.origin + len(window.text)
        index = found.start + window.origin
        self.open = Alive(index, found.state) if found.state is not None else None
        return index

    def _awake(self, views: list[View]) -> list[int]:
        """The probes whose gate is open in some view."""
        gates = self.matcher.gates
        if gates is None:
            return []
        awake: list[int] = gates.Match(views[0].text) or []  # None when nothing matches
        return sorted({*awake, *(gates.Match(views[1].text) or ())}) if len(views) > 1 else awake

    def _matches(self, index: int, window: Window, views: list[View], alive: int) -> list[tuple[Match, int]]:
        probe = self.matcher.probes[index]
        origin = window.origin
        rows: list[tuple[Match, int]] = []
        at = max(window.low, self.done.get(index, 0) - origin, self.told - origin)
        while True:
            found = [c for view in views if (c := _next(probe, window, view, at)) is not None]
            if not found:
                return rows
            best = min(found, key=lambda c: (c.start, -c.end))
            if best.start + origin >= alive:
                return rows
            start, end = best.hidden
            rows.append((Match(start + origin, end + origin, probe.shape.entity, probe.placeholder), probe.guard))
            at = best.end
            self.done[index] = at + origin


def _next(probe: Probe, window: Window, view: View, at: int) -> Candidate | None:
    """The first valid match of one view at or after index `at` of the window."""
    if view.offsets is not None and not probe.folded:
        return None
    k = view.at(at)
    while (hit := probe.search(view.text, k)) is not None:
        start, end = hit.span()
        if probe.shape.valid is None or probe.shape.valid(hit.group(probe.group)):
            low, high = view.span(start, end)
            if view.offsets is None or genuine(window.text[low:high]):
                return Candidate(low, high, view.span(*hit.span(probe.group)))
        k = start + 1
    return None
