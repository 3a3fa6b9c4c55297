"""Which texts a published schema lets an answer carry: JSON Schema in; paths, and answers that hold one text, out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Schema = Mapping[str, Any]
NOTHING = "x"
"""Stands in texts that are not asked for."""


class Sample(NamedTuple):
    """An instance of a schema that holds one text at one place, and little else."""

    path: str
    """`choices[].message.content`."""
    value: Any


@dataclass(frozen=True)
class Texts:
    """Finds every place of a schema that may hold a string which the schema does not fix to a few values."""

    defs: Schema
    mark: str

    @classmethod
    def of(cls, schema: Schema, mark: str) -> Iterator[Sample]:
        return cls(schema.get("$defs", {}), mark).samples(schema, "", ())

    def samples(self, node: object, path: str, seen: tuple[str, ...]) -> Iterator[Sample]:
        if not isinstance(node, Mapping):
            return
        if "$ref" in node:
            name = node["$ref"].rsplit("/", 1)[-1]
            if seen.count(name) < 2:  # a type that holds itself is walked once more, and no further
                yield from self.samples(self.defs[name], path, (*seen, name))
        for option in self.options(node):
            yield from self.samples(option, path, seen)
        if node.get("type") == "string" and not {"enum", "const"} & set(node):
            yield Sample(path, self.mark)
        yield from self.inside(node, path, seen)

    def inside(self, node: Schema, path: str, seen: tuple[str, ...]) -> Iterator[Sample]:
        for name, inner in node.get("properties", {}).items():
            for where, value in self.samples(inner, f"{path}.{name}".lstrip("."), seen):
                yield Sample(where, {**self.least(node), name: value})
        for where, value in self.samples(node.get("items"), f"{path}[]", seen):
            yield Sample(where, [value])
        for where, value in self.samples(node.get("additionalProperties"), f"{path}.*", seen):
            yield Sample(where, {**self.least(node), "key": value})

    @staticmethod
    def options(node: Schema) -> Iterator[Schema]:
        for key in ("anyOf", "oneOf", "allOf"):
            yield from node.get(key, ())

    def least(self, node: Schema) -> Any:
        """The smallest instance."""
        if "$ref" in node:
            return self.least(self.defs[node["$ref"].rsplit("/", 1)[-1]])
        if "const" in node or "enum" in node:
            return node.get("const", next(iter(node.get("enum", [None]))))
        for option in self.options(node):
            return self.least(option)
        if node.get("type") == "object":
            needed = {"type", *node.get("required", ())} & set(node.get("properties", {}))
            return {name: self.least(node["properties"][name]) for name in sorted(needed)}
        return {"string": NOTHING, "integer": 0, "number": 0, "boolean": False, "array": []}.get(node.get("type", ""))
