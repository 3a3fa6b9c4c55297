"""Other readings of a text that hides what it says: encodings undone, letters pulled together, disguises taken off.

For classifiers, which read words. Each reading is scored beside the text itself; one that says nothing new is left out.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Iterator
from urllib.parse import unquote

from guards.text.fold import Folder

LONGEST = 20_000
"""Characters of a text that are searched for encodings; attacks are short, documents are long."""
RUNS = 20
"""Encoded runs that are undone in one text."""
BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
HEX = re.compile(r"(?:[0-9A-Fa-f]{2}[\s:]?){10,}")
BINARY = re.compile(r"(?:[01]{8}[\s]?){6,}")
PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2}){4,}")
LEET = str.maketrans("4@31!05$7", "aaeiiosst")
LEET_WORD = re.compile(r"\b(?=\w*[a-zA-Z])(?=\w*[013457@$!])[\w@$!]{3,}")
SPACED = re.compile(r"(?:\b\w[ \-._*]){4,}\w\b")
COMMON = frozenset(
    [
        *(
            "the",
            "a",
            "an",
            "and",
            "or",
            "to",
            "of",
            "in",
            "is",
            "it",
            "you",
            "i",
            "that",
            "how",
            "what",
            "for",
            "with",
        ),
        *(
            "on",
            "my",
            "me",
            "do",
            "not",
            "are",
            "this",
            "be",
            "as",
            "at",
            "your",
            "can",
            "make",
            "from",
            "have",
            "will",
        ),
        *(
            "all",
            "who",
            "when",
            "about",
            "tell",
            "write",
            "give",
            "without",
            "if",
            "they",
            "we",
            "no",
            "so",
            "by",
            "but",
        ),
    ]
)
"""Words by which English is told from noise."""


def readings(text: str, folder: Folder) -> Iterator[str]:
    """Every reading that differs from the text, each once."""
    seen = {text, ""}
    for reading in _readings(text[:LONGEST], folder):
        if reading.strip() and reading not in seen:
            seen.add(reading)
            yield reading


def _readings(text: str, folder: Folder) -> Iterator[str]:
    if not text.isascii():
        yield folder.fold(text)
    plain = folder.fold(text)
    yield from _decoded(plain)
    if LEET_WORD.search(plain):
        yield LEET_WORD.sub(lambda m: m[0].translate(LEET), plain)
    if SPACED.search(plain):
        yield SPACED.sub(lambda m: re.sub(r"[ \-._*]", "", m[0]), plain)
    yield from _turned(plain)


def _decoded(text: str) -> Iterator[str]:
    """The text with its encoded runs undone, in their place, so that what stands around them is read with them."""
    if PERCENT.search(text):
        yield unquote(text)
    for pattern, decode in ((BASE64, _base64), (HEX, _hex), (BINARY, _binary)):
        count = 0
        out: list[str] = []
        at = 0
        for run in pattern.finditer(text):
            said = decode(run[0]) if count < RUNS else None
            if said is not None:
                out += [text[at : run.start()], said]
                at = run.end()
                count += 1
        if count:
            yield "".join([*out, text[at:]])


def _base64(run: str) -> str | None:
    if not (re.search("[a-z]", run) and re.search("[A-Z]", run)):
        return None
    try:
        data = base64.b64decode(run.replace("-", "+").replace("_", "/").rstrip("=") + "==")
    except binascii.Error:
        return None
    return _text(data)


def _hex(run: str) -> str | None:
    digits = re.sub(r"[\s:]", "", run)
    return _text(bytes.fromhex(digits[: len(digits) & ~1]))


def _binary(run: str) -> str | None:
    return _text(bytes(int(b, 2) for b in re.findall("[01]{8}", run)))


def _text(data: bytes) -> str | None:
    """What the bytes say, where they are text."""
    try:
        said = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    printable = sum(c.isprintable() or c in "\n\t" for c in said)
    return said if said and printable == len(said) and any(c.isalpha() for c in said) else None


def _turned(text: str) -> Iterator[str]:
    """rot13 and text written backwards, where that makes English of what was none, sentence by sentence."""
    for turn in (lambda s: codecs.encode(s, "rot13"), lambda s: s[::-1]):
        parts = re.split(r"([.!?:\n]+)", text)
        turned = [turn(p) if english(turn(p)) > english(p) + 1 else p for p in parts]
        if turned != parts:
            yield "".join(turned)


def english(text: str) -> int:
    """Common words in it."""
    return sum(word in COMMON for word in re.findall(r"[a-z]+", text.lower()))
