"""Problems as they are found, each at its place in the source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from guards.problem import Problem
from guards.reading.source import Data, Place, Source


@dataclass(slots=True)
class Report:
    source: Source
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def add(self, place: Place, message: str, remedy: str) -> None:
        """Keep a problem, unless it is the echo of one that the source has there already."""
        if not self.spoiled(place):
            self.problems.append(Problem(self.source.line(place), message, remedy))

    def warn(self, place: Place, message: str, remedy: str) -> None:
        self.warnings.append(Problem(self.source.line(place), message, remedy))

    def quote(self, place: Place) -> str:
        return self.source.quote(place)

    def spoiled(self, place: Place) -> bool:
        return id(self.source.node(place)) in self.source.spoiled

    def failed(self) -> list[Problem]:
        """Everything that is wrong, in the order of the lines, each once."""
        return in_order([*self.source.problems, *self.problems])


def in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(dict.fromkeys(problems), key=lambda p: p.line)


def members(data: Data, place: Place) -> Iterator[tuple[Place, dict[str, Data]]]:
    """The mappings in the list at `place[-1]` of the mapping `data`; what has another form is told of elsewhere."""
    items = data.get(str(place[-1])) if isinstance(data, dict) else None
    for i, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict):
            yield (*place, i), item


def shown(place: Place) -> str:
    """`policies[0].guards[2].action`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return f"`{text.lstrip('.')}`" if place else "the document"
