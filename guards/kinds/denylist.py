"""Kind `denylist`: terms that must not appear as words, whatever their case, accents or look-alike letters."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import ahocorasick

from guards.guard import Found, Match, Window
from guards.text.fold import Folder, genuine
from guards.text.view import View, folded_view

WORD = re.compile(r"\w+")
MAX_TERM = 512
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Scripts that write without spaces between words, where a word boundary cannot be asked for."""


def _worded(c: str) -> bool:
    return (c.isalnum() or c == "_") and not UNSPACED.match(c)


@dataclass(frozen=True, slots=True)
class Terms:
    """Folded terms. Those that begin with a word are looked up by that word; the rest go through Aho-Corasick."""

    folder: Folder
    placeholder: str
    by_word: dict[str, list[str]]
    """First word -> folded terms that begin with it, longest first."""
    ordered: list[str]
    """All folded terms in order, for prefix look-ups."""
    loose: ahocorasick.Automaton | None
    longest: int
    listed: frozenset[str]
    """The terms as written, but for case."""
    plain: frozenset[str]
    """Folded terms that are listed in Latin letters, or in none that resemble them."""

    @classmethod
    def build(cls, terms: Iterable[str], placeholder: str) -> Terms:
        folder = Folder.new(lower=True)
        listed = frozenset(" ".join(t.casefold().split()) for t in terms)
        folded = {folder.fold(t) for t in listed} - {""}
        by_word: dict[str, list[str]] = {}
        loose = ahocorasick.Automaton()
        for term in sorted(folded, key=len, reverse=True):
            head = WORD.match(term)
            if head and not UNSPACED.match(term):
                by_word.setdefault(head[0], []).append(term)
            else:
                loose.add_word(term, term)
        if loose:
            loose.make_automaton()
        plain = frozenset(folder.fold(t) for t in listed if genuine(t))
        longest = max(map(len, folded), default=1)
        return cls(folder, placeholder, by_word, sorted(folded), loose if loose else None, longest, listed, plain)

    def track(self) -> DenylistTracker:
        return DenylistTracker(self)

    def candidates(self, view: View) -> Iterable[tuple[int, int]]:
        """Spans of terms that stand as words in the view, in no order."""
        text = view.text
        if not self.by_word.keys().isdisjoint(WORD.findall(text)):
            for word in WORD.finditer(text):
                for term in self.by_word.get(word[0], ()):
                    end = word.start() + len(term)
                    if text.startswith(term, word.start()) and self._ends(text, end):
                        yield word.start(), end
        if self.loose is not None:
            for last, term in self.loose.iter(text):
                start = last + 1 - len(term)
                if self._starts(text, start) and self._ends(text, last + 1):
                    yield start, last + 1

    def _ends(self, text: str, end: int) -> bool:
        return end >= len(text) or not (_worded(text[end - 1]) and _worded(text[end]))

    def _starts(self, text: str, start: int) -> bool:
        return start == 0 or not (_worded(text[start]) and _worded(text[start - 1]))

    def begins(self, tail: str) -> bool:
        """Whether some term is `tail`, or begins with it."""
        i = bisect_left(self.ordered, tail)
        return i < len(self.ordered) and self.ordered[i].startswith(tail)

    def first_alive(self, view: View) -> int:
        """The first index of the view whose tail is the beginning of a term."""
        text, end = view.text, len(view.text)
        low = max(view.low, end - self.longest)
        if self.loose is None:
            starts: Iterable[int] = [w.start() for w in WORD.finditer(text, max(0, low - 1)) if w.start() >= low]
        else:
            starts = range(low, end)
        return next((k for k in starts if self._starts(text, k) and self.begins(text[k:])), end)


@dataclass(slots=True)
class DenylistTracker:
    terms: Terms
    told: int = 0
    done: int = 0

    def scan(self, window: Window) -> Found:
        view = folded_view(window, self.terms.folder)
        alive = len(window.text)
        if not window.final and (k := self.terms.first_alive(view)) < len(view.text):
            alive = view.raw(k)
        alive += window.origin
        matches = self._matches(window, view, alive)
        self.told = alive
        return Found(matches, alive)

    def _matches(self, window: Window, view: View, alive: int) -> Sequence[Match]:
        spans = [view.span(*c) for c in self.terms.candidates(view) if c[0] >= view.low]
        matches: list[Match] = []
        for low, high in sorted(spans, key=lambda s: (s[0], -s[1])):
            start, end = low + window.origin, high + window.origin
            if max(self.told, self.done) <= start < alive and self._meant(window.text[low:high]):
                matches.append(Match(start, end, "term", self.terms.placeholder))
                self.done = end
        return matches

    def _meant(self, raw: str) -> bool:
        """A term of another script may resemble a Latin one; it counts only if it is listed as it stands."""
        folded = self.terms.folder.fold(raw)
        return raw.casefold() in self.terms.listed or (genuine(raw) and folded in self.terms.plain)
