"""Kind `tool_call`: which tools a model may call, and with what.

A call that nobody asked for is what an injection looks like when it works, so it has the category `injection`.
Arguments that are not what the tool takes have `format`. A rule's own `category` stands for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from guards.calls import Fault, Offered, ToolCall
from guards.kinds import tool_arguments
from guards.kinds.tool_arguments import Allowed, Malformed
from guards.kinds.tool_schema import Schemas
from guards.policy import Rule
from guards.problem import Complaint

ENTITIES = {
    "tool_not_offered": "the request offers no tool of that name",
    "tool_not_allowed": "the name is not among `allowed_tools`",
    "arguments_malformed": "the arguments are not one JSON object, or name a key twice",
    "arguments_schema": "the arguments do not fit the schema that the request gives for them",
    "argument_pattern": "an argument does not match its `pattern`",
    "argument_value": "an argument is not among its `one_of`",
    "argument_host": "an argument leads to a host that is not among its `hosts`",
    "argument_path": "an argument leads to a file that is not in its `paths`",
}
LURED = "injection"
SHAPE = "format"


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """Implements `CallGuard`."""

    allowed: tuple[str, ...] | None
    """Names and globs; None: whatever the request offers. None of them: nothing may be called."""
    arguments: tuple[Allowed, ...]
    enforce_schemas: bool
    category: str | None = None
    """In the place of the findings' own."""
    schemas: Schemas = field(default_factory=Schemas)

    @classmethod
    def of(cls, rule: Rule) -> ToolCalls:
        arguments = tuple(Allowed.of(r) for r in rule.arguments)
        return cls(rule.allowed_tools, arguments, rule.schemas == "enforce", rule.category)

    def check(self, call: ToolCall, offered: Offered) -> list[Fault]:
        return list(dict.fromkeys(self._faults(call, offered)))

    def _faults(self, call: ToolCall, offered: Offered) -> Iterator[Fault]:
        if call.name not in offered:
            yield self._fault("tool_not_offered", LURED)
        if self.allowed is not None and not any(fnmatchcase(call.name, glob) for glob in self.allowed):
            yield self._fault("tool_not_allowed", LURED)
        try:
            arguments: Any = call.arguments if call.free else tool_arguments.read(call.arguments)
        except Malformed:
            yield self._fault("arguments_malformed", SHAPE)
            return
        for rule in self.arguments:
            if rule.concerns(call.name) and (call.free or not rule.passes(arguments)):
                yield self._fault(rule.entity, LURED)
        if self.enforce_schemas and not call.free and not self._fits(arguments, offered.get(call.name, ())):
            yield self._fault("arguments_schema", SHAPE)

    def _fits(self, arguments: dict[str, Any], schemas: Any) -> bool:
        return not schemas or any(self.schemas.fits(schema, arguments) for schema in schemas)

    def _fault(self, entity: str, category: str) -> Fault:
        return Fault(entity, self.category or category)


def complaints(rule: Rule) -> list[Complaint]:
    found = tool_arguments.complaints(rule.arguments)
    if "input" in rule.stages:
        message = "kind tool_call judges the calls that a model makes, and a prompt has none"
        found.append(Complaint("stages", message, "write `stages: [output]`, or leave it out"))
    if rule.action == "redact":
        message = "a call cannot be redacted: it is made as it stands, or not at all"
        found.append(Complaint("action", message, "use flag or block"))
    return found
