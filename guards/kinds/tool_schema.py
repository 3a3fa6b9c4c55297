"""Arguments of tool calls against the JSON Schema that the request gives for them. Nothing is ever fetched."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import jsonschema_rs
import orjson

MAX_SCHEMA = 256 << 10
"""Bytes of one schema."""
MAX_UNFOLDED = 50_000
"""Subschemas, each counted as often as references lead to it: what one look at an argument may cost."""
BACKTRACKS = 10_000
"""Steps back that a `pattern` may take."""
DYNAMIC = ("$dynamicRef", "$recursiveRef")


class SchemaUnusable(ValueError):
    """Not a schema, too large, or one that refers to something outside itself. The message quotes nothing of it."""


@dataclass(slots=True)
class Schemas:
    """Compiled schemas, those used last; the request's own words for them are the key."""

    size: int = 256
    known: OrderedDict[bytes, jsonschema_rs.Validator] = field(default_factory=OrderedDict)

    def fits(self, schema: object, arguments: dict[str, Any]) -> bool:
        return self._validator(schema).is_valid(arguments)

    def _validator(self, schema: object) -> jsonschema_rs.Validator:
        raw = _written(schema)
        key = hashlib.sha256(raw).digest()
        found = self.known.pop(key, None) or compiled(schema)
        self.known[key] = found
        while len(self.known) > self.size:
            self.known.popitem(last=False)
        return found


def _written(schema: object) -> bytes:
    try:
        raw = orjson.dumps(schema)
    except (orjson.JSONEncodeError, RecursionError):
        raise SchemaUnusable("the schema is nested too deeply") from None
    if len(raw) > MAX_SCHEMA:
        raise SchemaUnusable("the schema is too large")
    return raw


def compiled(schema: object) -> jsonschema_rs.Validator:
    """SchemaUnusable where it cannot be used."""
    if not isinstance(schema, dict | bool):
        raise SchemaUnusable("a schema must be an object")
    try:
        if Unfolding(schema).cost(schema) > MAX_UNFOLDED:
            raise SchemaUnusable("the schema's references unfold into too much")
        limits = jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS)
        return jsonschema_rs.validator_for(schema, offline=True, pattern_options=limits)
    except (ValueError, RecursionError) as error:
        raise SchemaUnusable("the schema cannot be compiled") from error


@dataclass(slots=True)
class Unfolding:
    """How large a schema is once each reference is replaced by what it leads to. A circle counts once."""

    root: object
    known: dict[int, int] = field(default_factory=dict)

    def cost(self, node: object) -> int:
        if not isinstance(node, dict | list):
            return 0
        if id(node) not in self.known:
            self.known[id(node)] = 1
            self.known[id(node)] = 1 + self._inside(node)
        return self.known[id(node)]

    def _inside(self, node: dict[str, Any] | list[Any]) -> int:
        total = sum(map(self.cost, node.values() if isinstance(node, dict) else node))
        if isinstance(node, dict):
            if any(isinstance(node.get(name), str) for name in self._foreign(node)):
                raise SchemaUnusable("what the schema's references lead to is not plain")
            if isinstance(reference := node.get("$ref"), str):
                total += self.cost(self._target(reference))
        return min(total, MAX_UNFOLDED + 1)

    def _foreign(self, node: dict[str, Any]) -> tuple[str, ...]:
        """Keys that change where references lead. The root may have a name of its own, no other schema."""
        if node is self.root:
            return DYNAMIC
        old = isinstance(self.root, dict) and "draft-04" in str(self.root.get("$schema"))
        return (*DYNAMIC, "$id", "id") if old else (*DYNAMIC, "$id")

    def _target(self, reference: str) -> object:
        if reference != "#" and not reference.startswith("#/"):
            raise SchemaUnusable("the schema refers to something outside itself")
        node = self.root
        for step in reference.split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict):
                node = node.get(name)
            elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
                node = node[int(name)]
            else:
                raise SchemaUnusable("a reference of the schema leads nowhere")
        return node
