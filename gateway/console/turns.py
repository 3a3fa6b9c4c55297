"""A request of any surface as a conversation, and each text of it as a page shows it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from gateway.console.marked import UNSEEN, Mark, Piece, left_out, pieces
from gateway.wire.prompt import TextSlot, is_wordless, walk
from guards.text.decode import english, readings
from guards.text.fold import LOOK_ALIKES, Folder
from guards.verdict import RANK

EXPANDED = 6
"""Last turns that are open when the page is."""
MOST = 200
"""Turns on a page, and texts in a turn."""
READINGS = 4
READING = 8_000
"""Characters of a decoded reading that are shown."""
LISTS = ("messages", "input", "prompt")
OWNERS = ("system", "instructions")
TOOLS = ("tools", "functions", "documents", "chat_template")
Marks = Mapping[str, Sequence[Mark]]


@dataclass(frozen=True, slots=True)
class Shown:
    """One text."""

    path: str
    raw: str
    pieces: list[Piece]
    left_out: int
    """Characters that the page does not show."""
    decoded: list[list[Piece]]
    """Other readings of it: encodings undone, disguises taken off."""
    judged: bool
    """A guard found something in it."""


@dataclass(frozen=True, slots=True)
class Turn:
    role: str
    texts: list[Shown]
    open: bool = True

    @property
    def judged(self) -> bool:
        return any(text.judged for text in self.texts)


class Reader:
    """Makes texts fit to look at."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def turns(self, request: Mapping[str, Any], marks: Marks) -> list[Turn]:
        """The conversation, oldest first; the early ones are closed, unless a guard found something in them."""
        said = [(role, slots[:MOST]) for role, slots in _roles(request) if slots]
        first = len(said) - EXPANDED
        kept = [(i, *s) for i, s in enumerate(said) if i >= len(said) - MOST or any(t.path in marks for t in s[1])]
        turns = [Turn(r, [self.shown(s.path, s.text, marks) for s in slots], i >= first) for i, r, slots in kept]
        turns = [replace(turn, open=turn.open or turn.judged) for turn in turns]
        left = len(said) - len(turns)
        return [Turn(f"{left:,} earlier turns, not shown here", [], open=False), *turns] if left else turns

    def shown(self, path: str, text: str, marks: Marks) -> Shown:
        mine = marks.get(path, ())
        decoded = [pieces(r[:READING]) for r in islice(self._decoded(text), READINGS)]
        return Shown(path, text, pieces(text, mine), left_out(text), decoded, path in marks)

    def _decoded(self, text: str) -> Iterator[str]:
        """Those that tell a person something; classifiers are also shown `cafe` for `café`, and `sl` for `s1`."""
        folded = self._folder.fold(text)
        said = english(folded)
        disguised = UNSEEN.search(text) is not None or any(c in LOOK_ALIKES for c in text)
        for reading in readings(text, self._folder):
            if reading == folded:
                if disguised:
                    yield reading
            elif len(reading) != len(folded) or english(reading) > said:
                yield reading


def marks_of(verdicts: Iterable[Mapping[str, Any]]) -> dict[str, list[Mark]]:
    """Field -> what guards found there; a field that was found wanting as a whole has an empty list."""
    out: defaultdict[str, list[Mark]] = defaultdict(list)
    for verdict in verdicts:
        if not RANK.get(str(verdict.get("would") or verdict.get("action")), 0):
            continue
        why = f"{verdict.get('entity') or verdict.get('category')} (guard {verdict.get('guard')})".replace("_", " ")
        spans = verdict.get("spans") or ([verdict["span"]] if verdict.get("span") else [])
        out[str(verdict.get("field", ""))] += [Mark(int(s[0]), int(s[1]), why) for s in spans]
    return dict(out)


def _roles(request: Mapping[str, Any]) -> Iterator[tuple[str, list[TextSlot]]]:
    for name in OWNERS:
        if request.get(name):
            yield "system", _slots(request[name], name, "system")
    for name in TOOLS:
        if request.get(name):
            yield name, _slots(request[name], name, "tool")
    for name in LISTS:
        value = request.get(name)
        items = value if isinstance(value, list) and any(isinstance(v, dict) for v in value) else None
        if items is not None:
            yield from ((_role(v), _slots(v, f"{name}[{i}]", _role(v))) for i, v in enumerate(items))
        elif value:
            yield "user", _slots(value, name, "user")


def _role(item: Any) -> str:
    known = (item.get("role") or item.get("type")) if isinstance(item, dict) else None
    return str(known or "user")


def _slots(value: Any, path: str, role: str) -> list[TextSlot]:
    if isinstance(value, str):
        return [TextSlot({}, path, path, value, role)]
    return list(walk(value, path, role, is_wordless)) if isinstance(value, list | dict) else []
