"""The tool calls of an answer, judged whole; and the tools that a request offers, whichever surface it came by.

A surface holds the pieces of a call until it is complete, and then asks once, before any of it leaves:

    if judge.call(ToolCall(name, arguments), "output[0]", choice):
        ...  # blocked: nothing of this choice may leave any more, its other calls neither

`arguments` is the JSON text as the model wrote it, before anything in it was redacted (a surface whose calls carry an
object, as `tool_use.input` of `/v1/messages` does in a whole answer, writes it out first). `free=True` is for tools
that take plain text (`custom`). The verdicts go with the judge's others. Each parallel call is asked for by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from guards.calls import CallLane, Offered, ToolCall
from guards.lane import Duty
from guards.verdict import Stage, Verdict

WRAPPERS = ("function", "custom")
"""Under which chat keeps what is flat in other surfaces."""
SCHEMAS = ("parameters", "input_schema")
NO_TOOLS = "none"


def offered_tools(request: dict[str, Any]) -> Offered:
    """The tools that a request lets the model call, with the schemas of their arguments.

    Reads `tools` of chat (`function` inside), responses (flat) and messages (`input_schema`), and chat's old
    `functions`. A tool that a server runs by itself goes by its type where it has no name. Of a name that stands twice
    any schema may fit. `tool_choice: none` offers nothing.
    """
    found: dict[str, list[Any]] = {}
    for tool in _tools(request):
        name = tool.get("name") or tool.get("type")
        if isinstance(name, str):
            schemas = found.setdefault(name, [])
            schemas += [tool[key] for key in SCHEMAS if tool.get(key) is not None]
    return found


def _tools(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for key, choice in (("tools", "tool_choice"), ("functions", "function_call")):
        tools = request.get(key)
        if not isinstance(tools, list) or _forbids(request.get(choice)):
            continue
        for tool in tools:
            if isinstance(tool, dict):
                yield next((tool[w] for w in WRAPPERS if isinstance(tool.get(w), dict)), tool)


def _forbids(choice: object) -> bool:
    return choice == NO_TOOLS or (isinstance(choice, dict) and choice.get("type") == NO_TOOLS)


@dataclass(slots=True)
class CallJudge:
    """Of one answer: the guards that judge calls, and what the request offers."""

    lane: CallLane = field(default_factory=CallLane)
    request: dict[str, Any] = field(default_factory=dict)
    offered: Offered | None = None
    """Read with the first call."""

    def verdicts(self, call: ToolCall, stage: Stage, where: str, choice: int | None) -> list[Verdict]:
        """Everything that the guards say of a call; nothing where they find nothing."""
        if self.lane.idle:
            return []
        if self.offered is None:
            self.offered = offered_tools(self.request)
        faults, failures = self.lane.check(call, self.offered)
        found = [
            _verdict(self.lane.rules[rule], stage, where, choice, category=fault.category, entity=fault.entity)
            for rule, fault in faults
        ]
        return found + [_failed(self.lane.rules[f.guard], stage, where, choice, f.error) for f in failures]


def _verdict(duty: Duty, stage: Stage, where: str, choice: int | None, *, category: str, entity: str) -> Verdict:
    return Verdict(
        guard=duty.name,
        stage=stage,
        field=where,
        category=category,
        action=duty.enforced,
        would=duty.action,
        choice=choice,
        entity=entity,
        version=duty.version,
    )


def _failed(duty: Duty, stage: Stage, where: str, choice: int | None, error: str) -> Verdict:
    return Verdict(
        guard=duty.name,
        stage=stage,
        field=where,
        category=duty.category,
        action=duty.failing,
        would=duty.on_error,
        score=0.0,
        choice=choice,
        version=duty.version,
        error=error,
    )
