"""Anthropic's content blocks: which of their strings are text (https://docs.anthropic.com/en/api/messages)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from gateway.errors import InvalidRequest
from gateway.wire.prompt import TextSlot
from gateway.wire.tree import DEPTH, Node, named

CALLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
"""Blocks whose `input` is JSON by a model."""
RESULTS = frozenset(
    {
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "mcp_tool_result",
    }
)
"""What tools that run on the model's side gave it."""
UNTRUSTED = RESULTS | {"tool_result", "document", "search_result"}
"""Blocks that somebody else than the user wrote."""
NAMES = frozenset({"type", "role", "id", "tool_use_id", "tool_id", "media_type", "file_id"})
"""Keys whose strings are names and ids, as long as they look like it."""
SCHEMA_NAMES = frozenset({"type"})
"""The same in the definition of a tool, all of which the model reads."""
SEALED = frozenset({"data", "signature", "encrypted_content", "encrypted_index", "encrypted_stdout"})
"""Keys whose strings only the model's side can read: ciphers, and media in base64."""
PLAIN = " @.,:;<'\"\\"
"""Characters of texts that no base64 has."""


class InputSlot(TextSlot):
    """The input of a tool call: an object, shown as the JSON that the model wrote."""

    __slots__ = ()

    def put(self, text: str) -> None:
        self.holder[self.key] = read_input(text)


def read_input(text: str) -> Any:
    """The input that redacted JSON says. Empty, should the redaction have broken it."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}


def walk(
    node: Node,
    path: str,
    role: str,
    *,
    names: frozenset[str] = NAMES,
    skip: frozenset[str] = frozenset(),
    depth: int = 0,
) -> Iterator[TextSlot]:
    """Every text in `node` and below. `skip`: keys of `node` itself that are left out."""
    if depth > DEPTH:
        raise InvalidRequest(f"The request is nested more than {DEPTH} levels deep.", param=path)
    kind = node.get("type") if isinstance(node, dict) else None
    role = "tool" if isinstance(kind, str) and kind in UNTRUSTED else role
    for key, value in list(node.items()) if isinstance(node, dict) else list(enumerate(node)):
        if key in skip:
            continue
        where = f"[{key}]" if isinstance(key, int) else f".{key}" if path else key
        if isinstance(value, str):
            if value and not (isinstance(node, dict) and nameless(node, str(key), value, names)):
                yield TextSlot(node, key, path + where, value, role)
        elif key == "input" and kind in CALLS and isinstance(value, dict | list):
            if value:
                yield InputSlot(node, key, path + where, as_json(value, path + where), role, json=True)
        elif isinstance(value, dict | list):
            yield from walk(value, path + where, role, names=names, depth=depth + 1)


def as_json(value: dict[str, Any] | list[Any], path: str) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        raise InvalidRequest("The input of the tool call is nested too deeply.", param=path) from None


def nameless(node: dict[str, Any], key: str, value: str, names: frozenset[str]) -> bool:
    """Whether the string at `key` is no text."""
    kind = node.get("type")
    if key in SEALED:  # `data` is plain in a source of type `text`, and what reads like prose is no cipher
        return kind != "text" and value.isascii() and not any(c in value for c in PLAIN)
    return (key in names and named(value)) or (key == "url" and kind == "url")
