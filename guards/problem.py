"""What is wrong with a config document, where, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Problem(NamedTuple):
    line: int
    """Counted from 1."""
    message: str
    """What is wrong."""
    remedy: str
    """What to write instead."""

    def render(self, file: str) -> str:
        return f"{file}:{self.line}: {self.message}\n    fix: {self.remedy}"


class Complaint(NamedTuple):
    """A guard kind's own objection to a rule, before anybody knows its line."""

    key: str
    """The rule's key that is at fault."""
    message: str
    remedy: str


class DocumentError(ValueError):
    """A document that cannot be served. Holds every problem, in the order of the lines."""

    def __init__(self, file: str, problems: Sequence[Problem], warnings: Sequence[Problem] = ()) -> None:
        super().__init__(file, problems)
        self.file = file
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)

    def __str__(self) -> str:
        return "\n".join(problem.render(self.file) for problem in self.problems)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    by_fold = {k.casefold(): k for k in known}
    close = difflib.get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.6)
    return by_fold[close[0]] if close else None


def one_of(known: Iterable[str]) -> str:
    """`a, b or c`."""
    *most, last = [str(k) for k in known] or ["nothing"]
    return f"{', '.join(most)} or {last}" if most else last
