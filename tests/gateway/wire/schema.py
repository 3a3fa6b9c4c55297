"""Which texts a published schema lets an answer carry: JSON Schema in, paths like `choices[].message.content` out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]


def text_paths(schema: Schema) -> set[str]:
    """Every place that may hold a string which the schema does not fix to a few values."""
    return set(_walk(schema, schema.get("$defs", {}), "", ()))


def _walk(node: object, defs: Schema, path: str, seen: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(node, Mapping):
        return
    ref = node.get("$ref")
    if isinstance(ref, str):
        name = ref.rsplit("/", 1)[-1]
        if seen.count(name) < 2:  # a type that holds itself is walked once more, and no further
            yield from _walk(defs.get(name), defs, path, (*seen, name))
        return
    for key in ("anyOf", "oneOf", "allOf"):
        for option in node.get(key, ()):
            yield from _walk(option, defs, path, seen)
    if node.get("type") == "string" and not {"enum", "const"} & set(node):
        yield path
    for name, inner in node.get("properties", {}).items():
        yield from _walk(inner, defs, f"{path}.{name}".lstrip("."), seen)
    yield from _walk(node.get("items"), defs, f"{path}[]", seen)
    yield from _walk(node.get("additionalProperties"), defs, f"{path}.*", seen)
