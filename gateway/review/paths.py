"""Places in a JSON value, as fields are named: `choices[0].message.content`."""

from __future__ import annotations

import re
from typing import Any

STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


def steps(path: str) -> list[str | int]:
    return [int(index) if index else name for name, index in STEP.findall(path)]


def put(root: Any, path: str, text: str) -> bool:
    """Write a text where another stands, in place; whether there was one."""
    *way, last = steps(path) or [""]
    node = root
    try:
        for step in way:
            node = node[step]
        if not isinstance(node[last], str):
            return False
        node[last] = text
    except (KeyError, IndexError, TypeError):
        return False
    return True


def swap(node: Any, old: str, new: str) -> Any:
    """The value with one string in the place of another, wherever it stands."""
    if isinstance(node, dict):
        return {key: swap(value, old, new) for key, value in node.items()}
    if isinstance(node, list):
        return [swap(value, old, new) for value in node]
    return new if node == old else node
