"""Logprobs as `/v1/completions` has them: columns with a row for each token. They leave as all logprobs do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.wire.logprobs import Rows, Spoken, is_number, unknown_shape

COLUMNS = ("tokens", "token_logprobs", "top_logprobs", "text_offset")


class Cells(NamedTuple):
    """A row of the columns."""

    token: str
    logprob: float | None
    others: dict[str, float | None] | None
    """Alternatives, and the token itself; None: the upstream told none."""
    offset: int | None


@dataclass(slots=True)
class LegacyLogprobs:
    """Of one choice."""

    rows: Rows
    from_zero: bool
    """Offsets that begin with the length of the prompt tell how long the owner's is: they begin with 0."""
    base: int | None = None

    def feed(self, node: dict[str, Any], text: Spoken, *, final: bool) -> dict[str, Any] | None:
        """The columns that may leave with this chunk. `text` holds what it says already."""
        self.rows.hear(text)
        for row in rows_of(node):
            others = row.others and self._harmless(row.others)
            self.rows.add(row.token, row._replace(others=others, offset=self._rebased(row.offset)))
        left = [(row.data, row.shift) for row in self.rows.leaving(final=final)]
        return columns(node, [moved(cells, shift) for cells, shift in left])

    def _harmless(self, others: dict[str, float | None]) -> dict[str, float | None]:
        """Alternatives are text too: one that a guard would act on by itself is left out."""
        if not self.rows.acts("\n".join(others)):
            return others
        return {token: logprob for token, logprob in others.items() if not self.rows.acts(token)}

    def _rebased(self, offset: int | None) -> int | None:
        if offset is None:
            return None
        if self.base is None:
            self.base = offset if self.from_zero else 0
        return max(0, offset - self.base)


def moved(cells: Cells, shift: int) -> Cells:
    return cells if cells.offset is None else cells._replace(offset=max(0, cells.offset + shift))


def columns(node: dict[str, Any], rows: Sequence[Cells]) -> dict[str, Any] | None:
    """The rows as columns; those that the upstream left out stay out."""
    if not node and not rows:
        return None
    found = {name: list(column) for name, column in zip(COLUMNS, zip(*rows, strict=True), strict=False)}
    names = node or dict.fromkeys(COLUMNS, ())
    return {name: None if names[name] is None else found.get(name, []) for name in names}


def rows_of(node: dict[str, Any]) -> Iterator[Cells]:
    """The rows of the columns, each checked."""
    tokens = node.get("tokens") or []
    if not isinstance(tokens, list) or any(v is not None and k not in COLUMNS for k, v in node.items()):
        raise unknown_shape()
    found = [[None] * len(tokens) if node.get(name) is None else node[name] for name in COLUMNS]
    if any(not isinstance(c, list) or len(c) != len(tokens) for c in found):
        raise unknown_shape()
    for token, logprob, others, offset in zip(*found, strict=True):
        numbers = (logprob, offset, *(others.values() if isinstance(others, dict) else ()))
        known = isinstance(token, str) and isinstance(others, dict | None) and isinstance(offset, int | None)
        if not known or not all(map(is_number, numbers)):
            raise unknown_shape()
        yield Cells(token, logprob, others, offset)
