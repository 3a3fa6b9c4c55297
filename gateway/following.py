"""A text that a model is writing, as the guards that score follow it: when it is judged next, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gateway.wire.arguments import Arguments
from gateway.wire.surface import Track
from guards.scored import Text

STEP = 64
"""Characters of new text, some sixteen tokens, that are judged at once."""
SENTENCE = 24
"""Characters of new text that are judged at once where a sentence ends in them."""
ENDS = frozenset(".!?\n。！？।")
CAP = 0.2
"""Seconds after which new text is judged, however little it is."""
OVERLAP = 240
"""Characters of judged text that a window shows before the new text."""


class Window(NamedTuple):
    followed: Followed
    start: int
    end: int


@dataclass(slots=True)
class Followed:
    """A text under judgement, in characters."""

    track: Track
    judged: int = 0
    sent: int = 0
    since: float | None = None
    """Loop time at which the oldest unjudged character came."""
    whole: bool = True
    """All that was judged was seen at once."""
    gone: bool = False
    """Its choice was refused: nothing of it matters any more."""

    @property
    def unjudged(self) -> int:
        return self.track.written.size - self.judged

    def due(self, now: float) -> bool:
        fresh = self.unjudged
        if self.gone or fresh <= 0:
            return False
        if self.judged == 0 or fresh >= STEP or (self.since is not None and now - self.since >= CAP):
            return True
        return fresh >= SENTENCE and not ENDS.isdisjoint(self.track.written.tail(fresh))

    def window(self, *, whole: bool) -> Window:
        end = self.track.written.size
        return Window(self, 0 if whole else max(0, self.judged - OVERLAP), end)


def text_of(window: Window, question: str) -> Text:
    """What the guards get to see. Arguments are read with their escapes undone."""
    track = window.followed.track
    text = track.written.tail(window.end - window.start)
    if track.field.endswith("arguments"):
        text = Arguments.read(text).text
    return Text(text, track.field, "response", question, track.choice)
