"""Kind `unicode`: characters that hide text from readers or matchers (Unicode TR36, TR39; CVE-2021-42574).

Invisible characters that scripts and emoji need are no findings: joiners after Arabic, Indic and emoji characters,
variation selectors after a symbol, tag characters in a flag.
"""

from __future__ import annotations

from collections.abc import Sequence

from guards.shape import Shape
from guards.text.fold import LOOK_ALIKES

JOINED = (
    "\u0600-\u08ff\u0900-\u0dff\u0e00-\u0fff\u1000-\u109f\u1780-\u18af"
    "\u2600-\u27bf\u2b00-\u2bff\ufe0f\U0001f000-\U0001faff"
)
ZERO_WIDTH = "\u200b\u2060-\u2064\ufeff\u00ad\u180e\u115f\u1160\u3164\uffa0"
JOINERS = "\u200c\u200d"
BIDI = "\u202a-\u202e\u2066-\u2069"
TAGS = "\U000e0000-\U000e007f"
SELECTORS = "\U000e0100-\U000e01ef"
CYRILLIC_GREEK = "".join(sorted(c for c in LOOK_ALIKES if "\u0370" <= c <= "\u052f"))
RUN = 256


def shapes(entities: Sequence[str]) -> list[Shape]:
    """The shapes of the entities asked for."""
    return [shape for name in entities for shape in ENTITIES[name]]


def _run(entity: str, chars: str, left: str = "") -> Shape:
    return Shape(entity, f"{left}[{chars}]{{1,{RUN}}}", f"[{chars}]")


ENTITIES: dict[str, tuple[Shape, ...]] = {
    "zero_width": (
        _run("zero_width", ZERO_WIDTH),
        _run("zero_width", JOINERS, f"(?<![{JOINED}])"),
    ),
    "bidi": (_run("bidi", BIDI),),
    "tag": (_run("tag", TAGS + SELECTORS, "(?<![\U0001f3f4" + TAGS + "])"),),
    "homoglyph": (
        Shape("homoglyph", f"[A-Za-z]{{1,32}}[{CYRILLIC_GREEK}]{{1,32}}", f"[A-Za-z][{CYRILLIC_GREEK}]"),
        Shape("homoglyph", f"[{CYRILLIC_GREEK}]{{1,32}}[A-Za-z]{{1,32}}", f"[{CYRILLIC_GREEK}][A-Za-z]"),
    ),
}
DEFAULT = ("zero_width", "bidi", "tag", "homoglyph")
