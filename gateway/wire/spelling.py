"""Finds one token after the other in the text that they spell, blanks aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

SENTENCE_PIECE = "\N{LOWER ONE EIGHTH BLOCK}"
"""How SentencePiece writes a blank."""
BROKEN = "\N{REPLACEMENT CHARACTER}"
"""Stands in a token for bytes that are a character only together with those of its neighbours."""
BYTES = "bytes:"
"""How OpenAI writes such a token."""
LAG = 4096
"""Characters that tokens may be behind the text; what is older they will not spell any more."""
SPREAD = 4
"""Characters that a token of broken ones may have stood for."""


class Place(NamedTuple):
    """Half-open, in all the text that was added."""

    start: int
    end: int


def is_blank(c: str) -> bool:
    return c.isspace() or c == SENTENCE_PIECE


@dataclass(slots=True)
class Spelling:
    """Each place is found once, and the next is sought behind it. What a place spells is always the token itself."""

    text: str = ""
    low: int = 0
    """Where the text that no token has spelt begins in `text`."""
    origin: int = 0
    mark: int = 0
    """Where the newest text begins in `text`: with it a token may stand that is not found where the last one ended."""
    torn: int = 0
    """Characters beyond ASCII that may be passed over: tokens were lost that may have stood for them."""
    short: bool = False
    """The last token was not found, but may be once there is more text."""

    @property
    def at(self) -> int:
        return self.origin + self.low

    def turn(self) -> None:
        """What is added from now on is the newest."""
        self.mark = len(self.text)

    def add(self, text: str) -> int:
        """Where it begins."""
        gone = max(self.low, len(self.text) - LAG)
        if gone:
            self.text, self.origin = self.text[gone:], self.origin + gone
            self.low, self.mark = self.low - min(self.low, gone), max(0, self.mark - gone)
        self.text += text
        return self.origin + len(self.text) - len(text)

    def lose(self, token: str) -> None:
        """The token is not in the text."""
        if BROKEN in token or token.startswith(BYTES):
            self.torn += SPREAD

    def place(self, token: str) -> Place | None:
        """None: the text has not come so far (`short`), or the token is not there."""
        letters = [c for c in token if not is_blank(c)]
        self.short = False
        if not letters:
            return Place(self.at, self.at)
        found = self._match(letters, self.low)
        if found is None and self.torn:
            found = self._beyond(letters)
        if found is None and self.low < self.mark:
            found = self._match(letters, self.mark)
        if found is None:
            return None
        self.low, self.torn, self.short = found.end, 0, False
        return Place(self.origin + found.start, self.origin + found.end)

    def _match(self, letters: list[str], here: int) -> Place | None:
        text, start = self.text, -1
        for c in letters:
            while here < len(text) and text[here] != c and is_blank(text[here]):
                here += 1
            if here == len(text):
                self.short = True
                return None
            if text[here] != c:
                return None
            start = here if start < 0 else start
            here += 1
        return Place(start, here)

    def _beyond(self, letters: list[str]) -> Place | None:
        """The token behind characters that lost tokens may have stood for."""
        here, passed = self.low, 0
        while here < len(self.text) and passed < self.torn:
            c = self.text[here]
            if c.isascii() and not is_blank(c):
                return None
            passed += not is_blank(c)
            here += 1
            if (found := self._match(letters, here)) is not None:
                return found
        return None
