"""What a request asks the mock to write: `[carrier=refusal marker=word gap=1000]` anywhere in its text.

Gateways rewrite headers, names and whole bodies, but must hand the prompt on.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

WORD = "ZQXJVKWQZJXKV"
SECRET = "QXZ" + "".join(random.Random(7).choices("JKVW", k=393)) + "ZXQ"
PATTERN = "Z[K.Z.X.Q.V.J.W]{11}V|Q[X]Z[J-K.V-W]{20,400}Z[X]Q"
"""Denies both. No two letters of theirs stand side by side in it, nor anywhere else: two in a row have leaked, and an
error that quotes the pattern does not count."""
DENIED = f"FORBIDDENWORD|SECRETPROJECT|rm -rf /|SKLONGx{{20,400}}END|{PATTERN}"
"""What every target of the leak tables denies: this mock's markers and those of upstream.c."""
MARKERS = {"none": "", "word": WORD, "secret": SECRET}
PIECES = {"none": 1, "word": 7, "secret": 80}

OPENING = "opening"
"""The first word of the carrier that is looked at, and of no other."""
OTHER = " other"
"""All that the other choice says."""
WORDS = (" the", " model", " answers", " with", " plain", " text", " so", " that", " a", " guard", " can", " read")
BEFORE, AFTER = 180, 40
TOOL = "lookup"
NEEDS = {"choice_1": "n", "arguments": "tools", "tool_name": "tools"}
"""A model gives these to those alone who ask for them."""
ASKED = re.compile(r"\[carrier=(\w+) marker=(\w+) gap=(\d+)\]")


class Plan(NamedTuple):
    carrier: str
    marker: str
    parts: Sequence[str]
    """The carrier's text, cut as it is streamed."""
    gap: float
    """Seconds between two of them."""

    @property
    def text(self) -> str:
        return "".join(self.parts)

    @property
    def name(self) -> str:
        """Of the tool that is called."""
        return (self.marker or TOOL) if self.carrier == "tool_name" else TOOL

    @property
    def arguments(self) -> Sequence[str]:
        parts = ["a town"] if self.carrier == "tool_name" else self.parts
        return ['{"city": "', *parts, '"}']


def asked(carrier: str, marker: str, gap_us: int) -> str:
    return f"Tell me of it. [carrier={carrier} marker={marker} gap={gap_us}]"


def read(body: bytes) -> Plan:
    """A plain answer where the request asks for nothing, or the gateway has lost what the carrier needs."""
    found = ASKED.search(body.decode(errors="replace"))
    carrier, marker, gap = found.groups() if found else ("content", "none", "0")
    need = NEEDS.get(carrier)
    if need and not decoded(body).get(need):
        return Plan("content", "", (OTHER,), 0)
    text = MARKERS.get(marker, "")
    return Plan(carrier, text, tuple(parts(text, PIECES.get(marker, 1))), int(gap) / 1e6)


def parts(marker: str, count: int) -> list[str]:
    before = [OPENING, *(WORDS[i % len(WORDS)] for i in range(BEFORE)), " "]
    cuts = [len(marker) * i // count for i in range(count + 1)]
    planted = [marker[a:b] for a, b in pairwise(cuts) if a < b]
    return [*before, *planted, *(WORDS[i % len(WORDS)] for i in range(AFTER))]


def streamed(body: bytes) -> bool:
    return decoded(body).get("stream") is True


def decoded(body: bytes) -> dict[str, object]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
