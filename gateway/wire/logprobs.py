"""Logprobs repeat an answer token by token. A row leaves only where the text that it spells has left.

Guards judge the text, not the tokens: tokenizers lose blanks and cut characters in two, so that tokens may read
otherwise. Therefore each row is placed in the text. It leaves no sooner than its place, and not at all where the text
was redacted there; a row that does not spell the text is withheld. Whatever leaves is thus text that has left anyway.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.errors import UpstreamBroken
from gateway.wire.spelling import Spelling, is_blank
from gateway.wire.written import Written
from guards.stream import Decision, TextFilter

PARTS = ("content", "refusal")
SPECIAL = re.compile(r"<[|/｜]?[a-z][a-z0-9_▁]{0,31}[|｜]?>")
"""Tokens that frame an answer and are no part of its text: `</s>`, `<|im_end|>`, `<think>`."""
ENTRY = frozenset({"token", "logprob", "bytes", "top_logprobs"})


class Hidden(NamedTuple):
    """A stretch of the text that a placeholder replaced."""

    start: int
    end: int
    size: int
    """Characters of the placeholder."""


@dataclass(slots=True)
class Spoken:
    """A text that tokens may spell, and how far it has left."""

    written: Written
    sent: TextFilter
    redactions: Sequence[Decision]
    """What was redacted in it so far; grows."""
    heard: int = 0
    """Pieces of it that were read."""
    size: int = 0
    """Their characters."""
    told: int = 0
    """Redactions that were read."""
    hidden: deque[Hidden] = field(default_factory=deque)
    """Those that may still cover rows."""
    edge: int = 0
    shift: int = 0
    """By how much the text before is longer than the model wrote it."""

    def fresh(self) -> str:
        """What was written since the last call."""
        new = self.written.pieces[self.heard :]
        self.heard += len(new)
        self.size += sum(map(len, new))
        for match, _ in self.redactions[self.told :]:
            start = max(match.start, self.edge)
            if match.end > start:
                self.hidden.append(Hidden(start, match.end, len(match.placeholder)))
                self.edge = match.end
        self.told = len(self.redactions)
        return "".join(new)

    def left(self, end: int) -> bool:
        return self.sent.cursor >= end and not self.sent.blocked

    def hides(self, start: int, end: int) -> bool:
        """Whether a redaction covers any of it. To be asked in the order of the text."""
        while self.hidden and self.hidden[0].end <= start:
            gone = self.hidden.popleft()
            self.shift += gone.size - (gone.end - gone.start)
        return bool(self.hidden) and self.hidden[0].start < max(end, start + 1)


class Stretch(NamedTuple):
    """A piece of what is spelt: where it stands in its text."""

    at: int
    """In all that is spelt."""
    end: int
    text: Spoken
    start: int
    """In the text."""


@dataclass(slots=True)
class Row:
    """One token."""

    token: str
    data: Any
    """The row as it leaves; the caller's own."""
    start: int = -1
    """Where it stands in all that is spelt; -1: not known yet."""
    end: int = -1
    shift: int = 0
    """How much further its text stands in what has left than in what the model wrote."""

    @property
    def placed(self) -> bool:
        return self.start >= 0


@dataclass(slots=True)
class Rows:
    """The rows of one choice, or of one text, that have not left."""

    acts: Callable[[str], bool]
    """Whether a guard would act on a text that stands alone."""
    spelling: Spelling = field(default_factory=Spelling)
    stretches: deque[Stretch] = field(default_factory=deque)
    unplaced: deque[Row] = field(default_factory=deque)
    waiting: deque[Row] = field(default_factory=deque)

    def hear(self, *texts: Spoken) -> None:
        """What is new in the texts, in the order in which the model wrote it. Of two that say the same, one counts."""
        said: set[str] = set()
        self.spelling.turn()
        while self.stretches and self.stretches[0].end < self.spelling.origin and not self.waiting:
            self.stretches.popleft()
        for text in texts:
            start = text.size
            fresh = text.fresh()
            if fresh and fresh not in said:
                at = self.spelling.add(fresh)
                self.stretches.append(Stretch(at, at + len(fresh), text, start))
            said.add(fresh)

    def add(self, token: str, data: Any) -> None:
        self.unplaced.append(Row(token, data))

    def leaving(self, *, final: bool) -> list[Row]:
        """The rows that may leave now."""
        self._place(final=final)
        kept: list[Row] = []
        while self.waiting and self._has_left(row := self.waiting[0]):
            self.waiting.popleft()
            if not self._hidden(row):
                kept.append(row)
        return kept

    def _place(self, *, final: bool) -> None:
        while self.unplaced:
            row = self.unplaced[0]
            found = self.spelling.place(row.token)
            if found is None and not final and self.spelling.short:
                return
            self.unplaced.popleft()
            if found is not None:
                row.start, row.end = found
            elif SPECIAL.fullmatch(row.token) and not self.acts(row.token):
                row.start = row.end = self.spelling.at
            else:  # it is no part of the text: nobody has judged it
                self.spelling.lose(row.token)
                continue
            self.waiting.append(row)

    def _over(self, row: Row) -> Iterator[tuple[Spoken, int, int]]:
        """The stretches of texts that a row spells, or that it stands between where it spells nothing."""
        while len(self.stretches) > 1 and self.stretches[0].end < row.start:
            self.stretches.popleft()
        for at, end, text, start in self.stretches:
            if at > row.end:
                return
            low, high = max(at, row.start), min(end, row.end)
            if low < high or (low == high and row.start == row.end):
                yield text, start + low - at, start + high - at

    def _has_left(self, row: Row) -> bool:
        return all(text.left(end) for text, _, end in self._over(row))

    def _hidden(self, row: Row) -> bool:
        covered = False
        for text, start, end in self._over(row):
            covered |= text.hides(start, end)
            row.shift = text.shift
        return covered


@dataclass(slots=True)
class Logprobs:
    """Rows as chat and responses have them: a list of entries, in one part or two."""

    rows: Rows

    @classmethod
    def new(cls, acts: Callable[[str], bool]) -> Logprobs:
        return cls(Rows(acts))

    def feed(self, node: dict[str, Any] | None, *texts: Spoken, final: bool) -> dict[str, Any] | None:
        """The logprobs that may leave with this chunk. `texts` hold what it says already."""
        self.rows.hear(*texts)
        for part in PARTS:
            for given in listed((node or {}).get(part)):
                entry = entry_of(given, self.rows.acts)
                self.rows.add(entry["token"], (part, entry))
        kept: dict[str, list[Any]] = {}
        for row in self.rows.leaving(final=final):
            part, entry = row.data
            kept.setdefault(part, []).append(entry)
        if node is None and not kept:
            return None
        names = [n for n in PARTS if n in kept or (node is not None and n in node)]
        return {n: kept.get(n, [] if (node or {}).get(n) else (node or {}).get(n)) for n in names}


def listed(value: object) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise unknown_shape()
    return value or []


def entry_of(given: object, acts: Callable[[str], bool]) -> dict[str, Any]:
    """The entry, with what it must not show left out; the same object where that is nothing."""
    if not isinstance(given, dict):
        raise unknown_shape()
    token, others = given.get("token"), listed(given.get("top_logprobs"))
    if not isinstance(token, str) or not is_number(given.get("logprob")):
        raise unknown_shape()
    kept = {name: value for name, value in given.items() if name in ENTRY}
    if "bytes" in kept and not spells(kept["bytes"], token):
        kept["bytes"] = None
    if others:
        kept["top_logprobs"] = alternatives(others, acts)
    return given if kept == given else kept


def alternatives(given: Sequence[object], acts: Callable[[str], bool]) -> list[dict[str, Any]]:
    """Alternatives are text too: one that a guard would act on by itself is left out."""
    if any(isinstance(each, dict) and each.get("top_logprobs") for each in given):
        raise unknown_shape()
    kept = [entry_of(each, acts) for each in given]
    if acts("\n".join(each["token"] for each in kept)):
        kept = [each for each in kept if not acts(each["token"])]
    return kept


def spells(octets: object, token: str) -> bool:
    """Whether the bytes say what the token says, blanks aside."""
    if octets is None:
        return True
    if not isinstance(octets, list) or not all(type(b) is int and 0 <= b < 256 for b in octets):
        raise unknown_shape()
    said = bytes(octets).decode(errors="replace")
    return said == token or bare(said) == bare(token)


def bare(text: str) -> str:
    return "".join(c for c in text if not is_blank(c))


def is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def unknown_shape() -> UpstreamBroken:
    return UpstreamBroken("The upstream sent logprobs of unknown shape.")
