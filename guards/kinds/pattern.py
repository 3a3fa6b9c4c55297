"""Kind `pattern`: an operator's regular expression, matched in linear time (RE2) and bounded for streams."""

from __future__ import annotations

import re

import re2

from guards.shape import Shape
from guards.text.prefixes import BoundsError, Prefixes, parse

ANCHORS = re.compile(r"(?<!\\)(?:\\\\)*(?:\^|\$|\\A|\\z|\\Z)")


def shape(pattern: str, *, ignore_case: bool = False) -> Shape:
    return Shape("pattern", pattern, pattern, None, re.IGNORECASE if ignore_case else re.NOFLAG)


def problem(pattern: str) -> tuple[str, str] | None:
    """What is wrong with a pattern and what to write instead, or None when a stream can be filtered by it."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        text = reason.decode() if isinstance(reason, bytes) else str(reason)
        return (
            f"pattern is not valid RE2: {text}",
            "look-arounds and back-references have no linear-time form; use classes, groups and \\b",
        )
    try:
        parse(pattern)
        Prefixes().add(pattern)
    except BoundsError as error:
        return f"pattern {error}", r"bound every repeat, e.g. \w{1,64} instead of \w+"
    if _anchored(pattern):
        return "pattern uses ^ or $, which mean nothing in a stream", r"use \b, or the words around it"
    return None


def _anchored(pattern: str) -> bool:
    """Anchors outside character classes."""
    bare = re.sub(r"\\.", lambda m: m[0] if m[0] in (r"\A", r"\z", r"\Z") else "", pattern)
    bare = re.sub(r"\[\^?\]?[^\]]*\]", "", bare)
    return bool(re.search(r"\^|\$|\\[AzZ]", bare))
