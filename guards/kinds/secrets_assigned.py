"""Values of telling names: `password = "…"`, `API_KEY=…`, `"token": "…"`, told from code by their entropy."""

from __future__ import annotations

import math
import re
from collections import Counter
from string import hexdigits

from guards.shape import Shape

NAMES = (
    r"(?i:pass(?:word|wd|phrase)|pwd|secret|token|credentials?|auth(?:orization)?"
    r"|(?:api|access|auth|private|encryption|signing|account|master)[_\-. ]?key)"
    r"(?:[_\-.][A-Za-z0-9_\-.]{1,24}|(?i:key|value|access_?key|s))?"
)
CAMEL_NAMES = (
    r"(?:Pass(?:word|wd|phrase)|Pwd|Secret|Token|Credentials?|(?:A(?:pi|PI)|Access|Auth|Private|Signing)Key)"
    r"(?:[_\-.][A-Za-z0-9_\-.]{1,24}|Key|Value|AccessKey|s)?"
)
ASSIGN = r"\\?[\"'`]?\]?[ \t]{0,4}(?::[ ]?(?:str|string)[ ])?[ \t]{0,2}(?:=>|:=|[:=])[ \t]{0,4}"
SCHEME = r"(?:(?:[Bb]earer|[Bb]asic|[Tt]oken)[ ])?"
VALUE = r"A-Za-z0-9+/=_\-.~!@#$%^&*"
QUOTED = rf"[bBrRuU]?\\?[\"'`]{SCHEME}(?P<secret>[{VALUE}]{{12,128}})\\?[\"'`]"
BARE = rf"{SCHEME}(?P<secret>[A-Za-z0-9+/_~!#$@%^][{VALUE}]{{11,127}})(?![{VALUE}(\[{{<])"

PLACEHOLDER = re.compile(
    r"your|example|placeholder|change_?me|dummy|redacted|replace|insert|x{4}|\*{4}|\.{3}|<|\$\{|todo|fixme|"
    r"\$[a-z_]+[0-9]{0,2}$|[0-9]{4}-[0-9]{2}-[0-9]{2}",
    re.IGNORECASE,
)
WORDLIKE = re.compile(
    r"(?:[A-Z]?[a-z]+|[A-Z]+)(?:[A-Z][a-z]{2,20}){0,9}[0-9]{0,2}|[0-9]{1,6}|[A-Za-z]?[0-9]{1,2}[A-Za-z]?"
)
IDENTIFIER = re.compile(r"[a-z]+(?:[A-Z][a-z]{2,20}){1,9}[0-9]{0,2}")

BITS = 3.5
HEX_BITS = 3.0
WORDY = 0.8
"""Share of letters from which joined words are a name and no key."""


def shapes() -> list[Shape]:
    """Lower, upper and snake case by one pair of shapes; the tail of a camelCase name by another."""
    gate = r"[A-Za-z0-9_\-. ]*[\\\"'`\]]*[ \t]*[:=]"
    found = []
    for names, left in ((NAMES, "(?<![A-Za-z])"), (CAMEL_NAMES, "(?<![^a-z])")):
        for value, valid in ((QUOTED, _random), (BARE, _random_bare)):
            found.append(Shape("secret", f"{left}{names}{ASSIGN}{value}", f"{names}{gate}", valid))
    return found


def entropy(text: str) -> float:
    """Shannon's, in bits a character."""
    size = len(text)
    return -sum(n / size * math.log2(n / size) for n in Counter(text).values())


def _random(text: str) -> bool:
    mixed = any(c.isdigit() for c in text) and any(c.isalpha() for c in text)
    if not mixed or PLACEHOLDER.search(text) or _names_something(text):
        return False
    return entropy(text) >= (HEX_BITS if set(text) <= {*hexdigits, "-"} else BITS)


def _random_bare(text: str) -> bool:
    """Without quotes it may also be an expression of a program."""
    return IDENTIFIER.fullmatch(text) is None and _random(text)


def _names_something(text: str) -> bool:
    """A path, a dotted or dashed name, a version: words joined, with few digits."""
    parts = [p for p in re.split(r"[^A-Za-z0-9]+", text) if p]
    if len(parts) == 1 or not all(WORDLIKE.fullmatch(p) for p in parts):
        return False
    return sum(c.isalpha() for c in text) >= WORDY * sum(map(len, parts))
