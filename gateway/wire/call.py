"""A tool call of a chat answer, whose pieces are gathered until it is complete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.errors import UpstreamBroken

CALL_TEXT = {"function": "arguments", "custom": "input"}
"""Where a tool call keeps what the tool is to get: JSON, or free text."""


@dataclass(slots=True)
class Call:
    """A tool call being gathered: released whole, once it has been judged."""

    entry: dict[str, Any]
    function: dict[str, Any]
    name: str = ""
    arguments: str | None = None
    kind: str = "function"
    """Key of `CALL_TEXT`."""

    @property
    def free(self) -> bool:
        """The tool takes text, not JSON."""
        return self.kind == "custom"

    def add(self, entry: dict[str, Any]) -> None:
        for key, value in entry.items():
            if key not in CALL_TEXT and value is not None:
                self.entry[key] = value
            elif isinstance(value, dict):
                self._add(key, value)

    def _add(self, kind: str, function: dict[str, Any]) -> None:
        if kind != self.kind and (self.name or self.arguments is not None):
            raise UpstreamBroken("The upstream sent a tool call of two kinds.")
        self.kind = kind
        for key, value in function.items():
            if key == "name" and isinstance(value, str):
                self.name += value
            elif key == CALL_TEXT[kind] and isinstance(value, str):
                self.arguments = (self.arguments or "") + value
            elif key not in ("name", CALL_TEXT[kind]):
                self.function[key] = value

    def entry_with(self, name: str, arguments: str | None) -> dict[str, Any]:
        text = {} if arguments is None else {CALL_TEXT[self.kind]: arguments}
        return {**self.entry, self.kind: {**({"name": name} if name else {}), **text, **self.function}}
