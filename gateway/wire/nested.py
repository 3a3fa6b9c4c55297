"""Every string of an answer that stands where no surface has a carrier: all are judged, but for what names things."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from gateway.errors import UpstreamBroken
from gateway.wire.prompt import DEPTH, TextSlot

NAMES = frozenset({"role", "type", "id", "index", "tool_call_id", "file_id", "object"})
"""Keys whose strings are names and ids, as long as they look like it."""
NAME = re.compile(r"[\w.:/+=-]{0,256}", re.ASCII)
KEY = re.compile(r"[A-Za-z0-9_-]{1,40}")
"""A key that a program has chosen."""


def texts_below(node: dict[str, Any] | list[Any], path: str, depth: int = 0) -> Iterator[TextSlot]:
    """Every text in it, those in parts that hold media too."""
    if depth > DEPTH:
        raise UpstreamBroken("The upstream's answer is nested too deeply.")
    for key, value in list(node.items()) if isinstance(node, dict) else list(enumerate(node)):
        where = f"{path}.{key}" if isinstance(key, str) else f"{path}[{key}]"
        if isinstance(value, str):
            if value and not is_name(key, value):
                yield TextSlot(node, key, where, value, "assistant")
        elif isinstance(value, dict | list):
            yield from texts_below(value, where, depth + 1)


def is_name(key: object, value: str) -> bool:
    return key in NAMES and NAME.fullmatch(value) is not None


def misnamed(key: str, value: object) -> bool:
    """A name that looks like a text."""
    return key in NAMES and isinstance(value, str) and NAME.fullmatch(value) is None


def check_keys(node: object, acts: Callable[[str], bool]) -> None:
    """Keys cannot be redacted: UpstreamBroken where a guard would act on one."""
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        check_keys(value, acts)
    if isinstance(node, dict):
        strange = [key for key in node if not KEY.fullmatch(key)]
        if strange and acts("\n".join(strange)):
            raise UpstreamBroken("The upstream sent an answer with a key that no guard lets through.")
