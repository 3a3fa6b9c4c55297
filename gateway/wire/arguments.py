"""Tool-call arguments: JSON by a model. Guards read it with escapes undone, and redact it without breaking it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from guards.stream import Decision

PAIR = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
"""Two escapes that spell one character (RFC 8259, section 7)."""
TOKEN = re.compile(PAIR + r'|\\u[0-9a-fA-F]{4}|\\.|"|[^"\\]+', re.DOTALL)
SIMPLE = {"u": "\\u", "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", "\\": "\\", '"': '"'}
"""What escapes say; a `\\u` without its digits is cut off, and stands for itself."""
SCALAR = re.compile(r"[-+.\w]+")


class Piece(NamedTuple):
    """A stretch of raw JSON and what it says."""

    start: int
    end: int
    text: str
    string: int
    """Number of the string that it stands in, counted from 1; 0 outside strings."""


@dataclass(slots=True)
class Arguments:
    """The decoded view of raw arguments. Works on any text: broken JSON is judged as far as it goes."""

    raw: str
    text: str = ""
    """Escapes undone, quotes and punctuation kept."""
    pieces: list[Piece] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """Index in `text` where each piece begins."""

    @classmethod
    def read(cls, raw: str) -> Arguments:
        self = cls(raw)
        if "\\" not in raw and '"' not in raw:
            self._add(0, len(raw), raw, 0)
            self.text = raw
            return self
        string, count = 0, 0
        for token in TOKEN.finditer(raw):
            part = token[0]
            if part == '"':
                count, string = (count, 0) if string else (count + 1, count + 1)
                self._add(token.start(), token.end(), part, 0)
            else:
                self._add(token.start(), token.end(), _decode(part), string)
        self.text = _paired("".join(p.text for p in self.pieces))
        return self

    def _add(self, start: int, end: int, text: str, string: int) -> None:
        self.starts.append((self.starts[-1] + len(self.pieces[-1].text)) if self.pieces else 0)
        self.pieces.append(Piece(start, end, text, string))

    def redact(self, decisions: Sequence[Decision], redacts: Callable[[Decision], bool]) -> str:
        """The raw arguments with the found spans replaced inside their strings; numbers become strings."""
        edits: list[tuple[int, int, str]] = []
        done = 0
        for decision in decisions:  # in order: of two that overlap, the first leaves the other what lies beyond it
            match = decision.match
            if redacts(decision) and match.end > done:
                edits += self._edits(max(match.start, done), match.end, match.placeholder)
                done = match.end
        out: list[str] = []
        at = 0
        for start, end, text in sorted(edits):
            if end <= at:
                continue
            out += [self.raw[at : max(at, start)], text]
            at = end
        return "".join([*out, self.raw[at:]])

    def _edits(self, start: int, end: int, placeholder: str) -> list[tuple[int, int, str]]:
        edits: list[tuple[int, int, str]] = []
        done: set[int] = set()
        for at, piece in zip(self.starts, self.pieces, strict=True):
            low, high = max(start, at), min(end, at + len(piece.text))
            if low >= high or (piece.text == '"' and not piece.string):
                continue
            if piece.string:
                raw_low, raw_high = _inside(piece, low - at, high - at)
                edits.append((raw_low, raw_high, "" if piece.string in done else placeholder))
                done.add(piece.string)
            else:
                edits += _scalars(piece, low - at, high - at, placeholder)
        return edits


def _inside(piece: Piece, low: int, high: int) -> tuple[int, int]:
    if piece.end - piece.start == len(piece.text):
        return piece.start + low, piece.start + high
    return piece.start, piece.end


def _scalars(piece: Piece, low: int, high: int, placeholder: str) -> list[tuple[int, int, str]]:
    """Numbers and words outside strings are replaced whole, by a string, so that JSON stays JSON."""
    return [
        (piece.start + m.start(), piece.start + m.end(), f'"{placeholder}"')
        for m in SCALAR.finditer(piece.text)
        if m.start() < high and m.end() > low
    ]


def _decode(part: str) -> str:
    if part.startswith("\\u") and len(part) > 2:
        high, low = int(part[2:6], 16), int(part[8:] or "0", 16)
        return chr(0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF)) if low else chr(high)
    if part.startswith("\\"):
        return SIMPLE.get(part[1:], part[1:])
    return part


def _paired(text: str) -> str:
    """Half a pair cannot be encoded."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)
