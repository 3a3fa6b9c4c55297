"""What shapes find in a text, by `re` alone, and what every shape must keep to."""

from __future__ import annotations

import re
from collections.abc import Sequence

import re2

from guards.shape import Shape
from guards.text.prefixes import Prefixes

ENGLISH = (
    "The committee met on Tuesday to discuss how the new library should be financed. Several members said that the old "
    "building, with its leaking roof and cold reading room, could not be repaired for a sensible price; others asked "
    "whether readers would travel. In 1999 the town had 12,400 readers, and a budget of 3.5 million was enough: now it "
    "is not. Ask anyone who used to add a book or two to the shelves -- the secret of the place was its token fee. "
) * 8
LEADING = re.compile(r"\(\?<!\[[^\]]*(?:\\.[^\]]*)*\]\)")
TRAILING = re.compile(r"\(\?!\[(?:[^\]\\]|\\.)*\]\)\Z")


def found(shapes: Sequence[Shape], text: str) -> list[tuple[str, str]]:
    """Entity and hidden text of every match; a candidate that fails its check gives way to one that starts later."""
    rows = []
    for shape in shapes:
        engine = re.compile(shape.pattern, shape.flags | re.ASCII)
        group: int | str = "secret" if "secret" in engine.groupindex else 0
        at = 0
        while (hit := engine.search(text, at)) is not None:
            good = shape.valid is None or shape.valid(hit[group])
            if good:
                rows.append((shape.entity, hit[group]))
            at = hit.end() if good else hit.start() + 1
    return list(dict.fromkeys(rows))


def candidates(shape: Shape, text: str) -> list[str]:
    """What the expression matches, before any check."""
    return [hit[0] for hit in re.finditer(shape.pattern, text, shape.flags | re.ASCII)]


def gate_opens(shape: Shape, text: str) -> bool:
    gate = re2.compile(f"(?i){shape.gate}" if shape.flags & re.IGNORECASE else shape.gate)
    return gate.search(text) is not None


def assert_bounded(shape: Shape) -> None:
    """A stream filter can hold to it: bounded, with look-arounds at its ends alone, and RE2 between."""
    Prefixes().add(shape.pattern, shape.flags)
    core = TRAILING.sub("", LEADING.sub("", shape.pattern, count=1))
    assert not re.search(r"\(\?[=!<](?!P)", core.replace("(?P<", "(")), core
    assert not re.search(r"(?<!\\)[*+](?![^\[]*\])|\{\d+,\}", re.sub(r"\[(?:[^\]\\]|\\.)*\]", "x", core)), core
    options = re2.Options()
    options.max_mem = 64 << 20
    re2.compile(core, options)


def gates(shapes: Sequence[Shape]) -> re2.Set:
    every = re2.Set.SearchSet(re2.Options())
    for shape in shapes:
        every.Add(f"(?i){shape.gate}" if shape.flags & re.IGNORECASE else shape.gate)
    every.Compile()
    return every
