"""Guards of tool calls. They judge a call that is complete, by its name and its arguments, before any of it leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

from guards.guard import Failure, check_all
from guards.lane import Duty

Offered = Mapping[str, Sequence[Any]]
"""Name of a tool that the request offers -> the JSON Schemas that it gives for the arguments; none: anything goes."""


class ToolCall(NamedTuple):
    name: str
    arguments: str
    """As the model wrote them; nothing at all counts as an empty object."""
    free: bool = False
    """The tool takes free text, not JSON."""


class Fault(NamedTuple):
    """What is wrong with a call. Never holds a text of it."""

    entity: str
    category: str


class CallGuard(Protocol):
    def check(self, call: ToolCall, offered: Offered) -> Sequence[Fault]:
        """Everything that is wrong with the call. Raises where the guard cannot tell: `on_error`."""


@dataclass(frozen=True, slots=True)
class CallLane:
    """The rules of a policy that judge calls, each with its guard."""

    rules: tuple[Duty, ...] = ()
    guards: tuple[CallGuard, ...] = ()

    @property
    def idle(self) -> bool:
        return not self.rules

    def check(self, call: ToolCall, offered: Offered) -> tuple[list[tuple[int, Fault]], list[Failure]]:
        """What each rule, told by its index, finds in the call, and the rules that failed."""
        checks: list[tuple[int, Callable[[ToolCall], Sequence[Fault]]]] = [
            (i, partial(guard.check, offered=offered)) for i, guard in enumerate(self.guards)
        ]
        results, failures = check_all(checks, call)
        return [(i, fault) for i, faults in results for fault in faults], failures
