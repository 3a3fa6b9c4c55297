"""Guards: what decides. Exact ones track one text at a time; `check_all` is the one place that catches a failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar


class Match(NamedTuple):
    """Something an exact guard found: absolute, half-open indices into the raw text."""

    start: int
    end: int
    entity: str
    placeholder: str


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a text that is not decided yet, with one decided character before it for look-behinds."""

    text: str
    low: int
    """Index in `text` of the first undecided character: 0 at the beginning of the text, else 1."""
    origin: int
    """Absolute index of `text[0]`."""
    final: bool
    """No more text will come."""
    shown: str = ""
    """The last decided character that is still there once the text is folded."""


class Found(NamedTuple):
    """A tracker's word on a window: its matches in order, and the absolute index from which more text could change it.

    Matches that start before `alive` are final; nothing else will ever start before it.
    """

    matches: Sequence[Match]
    alive: int


class Tracker(Protocol):
    """Follows one text, window by window. Windows overlap: each begins where the last one was still undecided."""

    def scan(self, window: Window) -> Found: ...


class ExactGuard(Protocol):
    """A guard whose findings are facts of the text, decided as it streams by."""

    def track(self) -> Tracker:
        """A tracker for a new text."""
        ...


class Failure(NamedTuple):
    """A guard that did not answer: its index, and the kind of failure (an exception's class name, or `timeout`)."""

    guard: int
    error: str


Judged = TypeVar("Judged")
Result = TypeVar("Result")


def check_all(
    checks: Sequence[tuple[int, Callable[[Judged], Result]]], judged: Judged
) -> tuple[list[tuple[int, Result]], list[Failure]]:
    """Run every check on a window, or a call. A crash becomes a Failure, never an exception and never silence."""
    found: list[tuple[int, Result]] = []
    failures: list[Failure] = []
    for index, check in checks:
        try:
            found.append((index, check(judged)))
        except Exception as error:  # whatever a guard does wrong is a verdict; this is the one place that says so
            failures.append(Failure(index, type(error).__name__))
    return found, failures
