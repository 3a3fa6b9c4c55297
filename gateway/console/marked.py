"""Hostile text made fit to look at: what a guard found is marked, and what no eye can see has a visible name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

LONGEST = 200_000
"""Characters of one text that a page shows."""
MOST = 1_000
"""Marks in one text; how long a text takes to cut grows with their square."""
UNSEEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, but for tab and line feed
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\ud800-\udfff\ue000-\uf8ff"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff\U000f0000-\U0010ffff"
    "]"
)
"""Characters that are drawn as nothing, change the order of others, or have no meaning that fonts agree upon."""
TAG = 0xE0000
"""Tag characters are ASCII moved up by this."""
SHORT = {
    0x00AD: "SHY",
    0x061C: "ALM",
    0x200B: "ZWSP",
    0x200C: "ZWNJ",
    0x200D: "ZWJ",
    0x200E: "LRM",
    0x200F: "RLM",
    0x2028: "LS",
    0x2029: "PS",
    0x202A: "LRE",
    0x202B: "RLE",
    0x202C: "PDF",
    0x202D: "LRO",
    0x202E: "RLO",
    0x2060: "WJ",
    0x2066: "LRI",
    0x2067: "RLI",
    0x2068: "FSI",
    0x2069: "PDI",
    0xFEFF: "BOM",
    0x07: "BEL",
    0x08: "BS",
    0x0D: "CR",
    0x1B: "ESC",
    0x7F: "DEL",
    0x9B: "CSI",
}
"""Names as editors and Unicode's charts give them."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Characters `start` to `end` of the raw text, and why they are marked."""

    start: int
    end: int
    why: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text that is drawn alike."""

    text: str
    why: str = ""
    """Not empty: it is marked."""
    unseen: str = ""
    """Not empty: `text` is a name that stands for this many or such invisible characters."""


def pieces(text: str, marks: Iterable[Mark] = ()) -> list[Piece]:
    """The text in order; characters past `LONGEST` are left out, see `left_out`."""
    shown = text[:LONGEST]
    out: list[Piece] = []
    for start, end, why in _stretches(shown, list(islice(marks, MOST))):
        out += _seen(shown[start:end], why)
    return out


def left_out(text: str) -> int:
    """Characters that `pieces` does not show."""
    return max(0, len(text) - LONGEST)


def _stretches(text: str, marks: Sequence[Mark]) -> Iterator[tuple[int, int, str]]:
    """The text cut wherever a mark begins or ends; marks may overlap."""
    inside = [m for m in marks if 0 <= m.start < m.end and m.start < len(text)]
    cuts = sorted({0, len(text), *(m.start for m in inside), *(min(m.end, len(text)) for m in inside)})
    for start, end in pairwise(cuts):
        whys = dict.fromkeys(m.why for m in inside if m.start <= start and end <= m.end)
        yield start, end, "; ".join(whys)


def _seen(text: str, why: str) -> Iterator[Piece]:
    at = 0
    while found := UNSEEN.search(text, at):
        if found.start() > at:
            yield Piece(text[at : found.start()], why)
        at = _run_end(text, found.start())
        yield _named(text[found.start() : at], why)
    if at < len(text):
        yield Piece(text[at:], why)


def _run_end(text: str, start: int) -> int:
    """Where the run of the same character, or of tag characters, is over."""
    tags = is_tag(text[start])
    end = start + 1
    while end < len(text) and (is_tag(text[end]) if tags else text[end] == text[start]):
        end += 1
    return end


def _named(run: str, why: str) -> Piece:
    if is_tag(run[0]):
        said = "".join(chr(ord(c) - TAG) for c in run)
        return Piece(f"tags: {said}", why, f"{len(run)} invisible tag characters")
    name = short(run[0]) + (f"×{len(run)}" if len(run) > 1 else "")
    return Piece(name, why, f"U+{ord(run[0]):04X} {unicodedata.name(run[0], 'control character')}")


def is_tag(c: str) -> bool:
    return TAG + 0x20 <= ord(c) < TAG + 0x7F


def short(c: str) -> str:
    return SHORT.get(ord(c), f"U+{ord(c):04X}")
