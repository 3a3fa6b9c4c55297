"""Places in a JSON value, as fields are named: `choices[0].message.content`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


def steps(path: str) -> list[str | int]:
    return [int(index) if index else name for name, index in STEP.findall(path)]


def put(root: Any, path: str, text: str) -> bool:
    """Write a text where another stands, or the value that it spells where a value does; whether there was one."""
    *way, last = steps(path) or [""]
    node = root
    try:
        for step in way:
            node = node[step]
        if not isinstance(node[last], str | dict | list):
            return False
        node[last] = text if isinstance(node[last], str) else orjson.loads(text)
    except (KeyError, IndexError, TypeError, ValueError):
        return False
    return True


def above(root: Any, path: str) -> Iterator[dict[str, Any]]:
    """The objects in which a place lies, the outermost first."""
    node = root
    for step in steps(path):
        if isinstance(node, dict):
            yield node
        node = node[step]


def swap(node: Any, old: str, new: str) -> Any:
    """The value with one string in the place of another, wherever it stands."""
    if isinstance(node, dict):
        return {key: swap(value, old, new) for key, value in node.items()}
    if isinstance(node, list):
        return [swap(value, old, new) for value in node]
    return new if node == old else node
