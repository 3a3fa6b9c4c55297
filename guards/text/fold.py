"""The normalised view of a text: what a reader sees, without the tricks that hide it from a matcher.

Folding goes character by character, so it commutes with every way of cutting a stream: compatibility forms (NFKD, UAX
#15) lose their dress, combining marks and invisible characters vanish, tag characters become the ASCII that they
smuggle, and look-alikes of Latin letters (after Unicode TR39's confusables) become those letters.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

LOOK_ALIKES = dict(
    zip(
        "авеёкмнорстухіјѕһԁԛԝҽгԍѵѡАВЕЁКМНОРСТУХІЈЅҺԌԚԜѴЗ"
        + "αβγεζηικνορτυχωΑΒΕΖΗΙΚΜΝΟΡΤΥΧ"
        + "ıɩɑɡƖӏӀᴀᴄᴅᴇᴊᴋᴍᴏᴘᴛᴜᴠᴡᴢꜱʀɴʜʟɪ",
        "abeekmhopctyxijshdqwerguwABEEKMHOPCTYXIJSHGQWV3"
        + "abyeznikvoptuxwABEZHIKMNOPTYX"
        + "iiagIlIacdejkmoptuvwzsrnhli",
        strict=True,
    )
)
"""Letters that look like an ASCII letter in common fonts: Cyrillic, Greek, and Latin extensions."""

TAGS = range(0xE0020, 0xE007F)
CACHED = 70_000
"""Characters a table remembers at most."""


class _Table(dict[int, str]):
    """Code point -> what it folds to; filled on demand, as `str.translate` asks."""

    def __init__(self, *, lower: bool) -> None:
        super().__init__()
        self.lower = lower

    def __missing__(self, point: int) -> str:
        folded = _fold(chr(point))
        if self.lower:
            folded = folded.casefold()
        if len(self) < CACHED:
            self[point] = folded
        return folded


def _fold(c: str) -> str:
    if c.isascii():
        return c
    if ord(c) in TAGS:
        return chr(ord(c) - 0xE0000)
    plain = unicodedata.normalize("NFKD", c)
    kept = (x for x in plain if unicodedata.category(x) not in ("Mn", "Me", "Cf") or ord(x) in TAGS)
    return "".join(LOOK_ALIKES.get(x, x) for x in kept)


@dataclass(slots=True)
class Folder:
    """Folds texts, and remembers what each character folds to."""

    table: _Table

    @classmethod
    def new(cls, *, lower: bool = False) -> Folder:
        """`lower` folds case too (Unicode's full case folding, character by character)."""
        return cls(_Table(lower=lower))

    def fold(self, text: str) -> str:
        if text.isascii():
            return text.lower() if self.table.lower else text
        return text.translate(self.table)

    def offsets(self, text: str) -> list[int]:
        """For each character of `fold(text)` the index in `text` that it came from, and `len(text)` at the end."""
        out: list[int] = []
        for i, c in enumerate(text):
            out += [i] * len(self.table[ord(c)])
        out.append(len(text))
        return out


def genuine(raw: str) -> bool:
    """Whether a match found in the folded view is one to a reader: text all in another script merely resembles it."""
    if raw.isascii() or not any(c in LOOK_ALIKES for c in raw):
        return True
    return any(c.isascii() and c.isalnum() for c in raw)
