"""The strings of a JSON value, wherever they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

DEPTH = 100
"""Levels of nesting that are followed."""
NAME = re.compile(r"[\w.:/+=-]{0,256}", re.ASCII)
"""What names and ids look like. A text under a name's key is a text."""
Node = dict[str, Any] | list[Any]
Opaque = Callable[[Node, Any], bool]
"""Whether what an object or array holds at a key or index is to be left out, with all below it."""


class TooDeep(Exception):
    """There is more below `DEPTH` levels."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class Leaf(NamedTuple):
    """A string, and where it stands."""

    holder: Node
    key: Any
    path: str
    text: str


def leaves(node: Node, path: str, opaque: Opaque, depth: int = 0) -> Iterator[Leaf]:
    """Every string that is not empty, but for those in what is `opaque`."""
    if depth > DEPTH:
        raise TooDeep(path)
    for key, value in list(node.items()) if isinstance(node, dict) else list(enumerate(node)):
        if not isinstance(value, str | dict | list) or not value or opaque(node, key):
            continue
        where = f"[{key}]" if isinstance(key, int) else f".{key}" if path else key
        if isinstance(value, str):
            yield Leaf(node, key, path + where, value)
        else:
            yield from leaves(value, path + where, opaque, depth + 1)


def strings(node: object, depth: int = 0) -> Iterator[str]:
    """Every string, keys too."""
    if depth > DEPTH:
        raise TooDeep("")
    if isinstance(node, str):
        yield node
    for value in (*node, *node.values()) if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from strings(value, depth + 1)


def named(value: object) -> bool:
    """Whether a value looks like a name."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None
