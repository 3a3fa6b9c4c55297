"""Every string of an answer that stands where no surface has a carrier: all are judged, but for what names things."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import UpstreamBroken
from gateway.wire.prompt import TextSlot
from gateway.wire.tree import DEPTH, Node, TooDeep, leaves, named, strings

NAMES = frozenset({"role", "type", "id", "index", "tool_call_id", "file_id", "object"})
"""Keys whose strings are names and ids, as long as they look like it."""
KEY = re.compile(r"[A-Za-z0-9_-]{1,40}")
"""A key that a program has chosen."""
ENTRY = re.compile(r"\[\d+\]")
TAIL = 512
"""Characters of a text that are kept, to be read with what comes after."""


def texts_below(node: Node, path: str) -> Iterator[TextSlot]:
    """Every text in it, those in parts that hold media too."""
    try:
        for leaf in leaves(node, path, is_name):
            yield TextSlot(leaf.holder, leaf.key, leaf.path, leaf.text, "assistant")
    except TooDeep:
        raise too_deep() from None


def strings_below(node: object) -> Iterator[str]:
    """Every string in it, keys too."""
    try:
        yield from strings(node)
    except TooDeep:
        raise too_deep() from None


def is_name(holder: Node, key: Any) -> bool:
    return key in NAMES and named(holder[key])


def misnamed(key: str, value: object) -> bool:
    """A name that looks like a text."""
    return (key in NAMES or key == "name") and isinstance(value, str) and not named(value)


def check_keys(node: object, acts: Callable[[str], bool], depth: int = 0) -> None:
    """Keys cannot be redacted: UpstreamBroken where a guard would act on one."""
    if depth > DEPTH:
        raise too_deep()
    if isinstance(node, dict):
        strange = [key for key in node if not KEY.fullmatch(key)]
        if strange and acts("\n".join(strange)):
            raise UpstreamBroken("The upstream sent an answer with a key that no guard lets through.")
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        if isinstance(value, dict | list):
            check_keys(value, acts, depth + 1)


def too_deep() -> UpstreamBroken:
    return UpstreamBroken("The upstream's answer is nested too deeply.")


@dataclass(slots=True)
class Nested:
    """What stands deeper in the chunks of a choice. It is held until the choice ends: any text in it may go on."""

    values: dict[str, Any] = field(default_factory=dict)
    grown: set[str] = field(default_factory=set)
    """Names that more than one chunk spoke of."""

    def take(self, name: str, value: Any) -> None:
        if name in self.values:
            self.grown.add(name)
            value = merged(self.values[name], value, name)
        self.values[name] = value

    def groups(self) -> Iterator[list[TextSlot]]:
        """The texts; those that may be pieces of one stand together."""
        for name, value in self.values.items():
            found: dict[str, list[TextSlot]] = {}
            slots = [TextSlot(self.values, name, f".{name}", value, "assistant")] if isinstance(value, str) else None
            for slot in texts_below(value, f".{name}") if slots is None else slots:
                place = ENTRY.sub("[]", slot.path) if name in self.grown else slot.path
                found.setdefault(place, []).append(slot)
            yield from found.values()


def merged(known: Any, more: Any, key: str = "", depth: int = 0) -> Any:
    """As SDKs put the chunks of an answer together."""
    if depth > DEPTH:
        raise too_deep()
    if isinstance(known, dict) and isinstance(more, dict):
        both = {name: merged(known[name], more[name], name, depth + 1) for name in known.keys() & more.keys()}
        return {**known, **more, **both}
    if isinstance(known, list) and isinstance(more, list):
        return [*known, *more]
    if isinstance(known, str) and isinstance(more, str):
        return more if key in NAMES else known + more
    return more


@dataclass(slots=True)
class Asides:
    """Texts that come again and again beside an answer, in one place: what one says may go on in the next."""

    acts: Callable[[str], bool]
    before: dict[str, str] = field(default_factory=dict)
    last: dict[str, tuple[str, bool]] = field(default_factory=dict)

    def goes_on(self, path: str, text: str) -> bool:
        """Whether a guard would act on the text together with what stood there before."""
        before, (last, acted) = self.before.get(path, ""), self.last.get(path, ("", False))
        if text != last:
            acted = bool(before) and self.acts(before + text)
            self.last[path], self.before[path] = (text, acted), (before + text)[-TAIL:]
        return acted
