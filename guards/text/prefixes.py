"""Which tail of a text could still become a match? A reverse, bit-parallel position automaton over bounded expressions.

Glushkov's construction (V. M. Glushkov, 1961) gives one position per character of the expanded expression. The tail
`text[k:]` is a strict prefix of a match iff reading it backwards from any position that has a follower ends in a first
position. Sets of positions are Python integers, so one character costs a shift and a few masks whatever the expression.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # the parser behind `re` under its old name, by which type checkers know it
    import sre_constants as op
    import sre_parse as sre
else:
    import re._constants as op
    import re._parser as sre

MAX_LENGTH = 8192
MAX_POSITIONS = 20_000
CACHED = 50_000
"""Characters remembered at most: hostile text may use every one there is."""
Accepts = Callable[[str], bool]


class BoundsError(ValueError):
    """An expression that a stream filter cannot hold to: unbounded, empty, or beyond the linear-time subset."""


class Fragment(NamedTuple):
    """A piece of an expression: may it be empty, and the masks of its first and last positions."""

    nullable: bool
    first: int
    last: int


EMPTY = Fragment(True, 0, 0)


def parse(pattern: str, flags: int = 0) -> sre.SubPattern:
    """The syntax tree of a bounded expression; BoundsError says what to write instead."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tree = sre.parse(pattern, flags | re.ASCII)
    except (re.error, FutureWarning, DeprecationWarning, OverflowError, RecursionError) as error:
        raise BoundsError(f"not understood: {error}; write it with plain classes such as [A-Za-z]") from None
    low, high = tree.getwidth()
    if high >= MAX_LENGTH:
        raise BoundsError(f"can match more than {MAX_LENGTH - 1} characters; bound it: {{1,64}} instead of + or *")
    if low == 0:
        raise BoundsError("can match the empty text; let it need at least one character")
    return tree


def _category(which: object) -> Accepts:
    table: dict[object, Accepts] = {
        op.CATEGORY_DIGIT: lambda c: c in "0123456789",
        op.CATEGORY_NOT_DIGIT: lambda c: c not in "0123456789",
        op.CATEGORY_SPACE: lambda c: c in " \t\n\r\f\v",
        op.CATEGORY_NOT_SPACE: lambda c: c not in " \t\n\r\f",
        op.CATEGORY_WORD: is_word,
        op.CATEGORY_NOT_WORD: lambda c: not is_word(c),
    }
    return table[which]


def is_word(c: str) -> bool:
    """ASCII `\\w`, as RE2 has it."""
    return c == "_" or (c.isascii() and c.isalnum())


def _members(items: Sequence[tuple[object, object]]) -> Accepts:
    negate = bool(items) and items[0][0] is op.NEGATE
    tests = [_atom(code, value) for code, value in (items[1:] if negate else items)]
    return (lambda c: not any(t(c) for t in tests)) if negate else (lambda c: any(t(c) for t in tests))


def _atom(code: object, value: object) -> Accepts:
    """The predicate of one single-character item."""
    if code is op.LITERAL and isinstance(value, int):
        return chr(value).__eq__
    if code is op.NOT_LITERAL and isinstance(value, int):
        return chr(value).__ne__
    if code is op.RANGE and isinstance(value, tuple):
        low, high = chr(value[0]), chr(value[1])
        return lambda c: low <= c <= high
    if code is op.CATEGORY:
        return _category(value)
    if code is op.ANY:
        return lambda c: True
    if code is op.IN and isinstance(value, list):
        return _members(value)
    raise BoundsError(f"{code} is not supported; use classes, groups, | and bounded repeats")


def _folded(accepts: Accepts) -> Accepts:
    return lambda c: any(len(v) == 1 and accepts(v) for v in {c, c.lower(), c.upper(), c.casefold(), c.swapcase()})


class LeftCheck(dict[str, bool]):
    """(character before, first character), as a string of two -> whether a match may begin between them."""

    def __init__(self, key: str, test: Callable[[str], bool]) -> None:
        super().__init__()
        self.key = key
        self.test = test

    def __missing__(self, pair: str) -> bool:
        answer = self.test(pair)
        if len(self) < CACHED:
            self[pair] = answer
        return answer


@dataclass(slots=True)
class Prefixes:
    """The union of many expressions. `add` them first, then ask `first_alive`."""

    size: int = 0
    preds: list[int] = field(default_factory=list)
    """Position -> mask of the positions that may stand right before it."""
    accepts: dict[object, tuple[Accepts, int]] = field(default_factory=dict)
    starts: list[tuple[int, LeftCheck | None]] = field(default_factory=list)
    """Mask of first positions, and what may stand before them."""
    live: int = 0
    """Positions after which a match needs, or may take, at least one more character."""
    masks: dict[str, int] = field(default_factory=dict)
    chain: int = 0
    special: int = 0

    def add(self, pattern: str, flags: int = 0) -> None:
        """Add one expression. Assertions inside it count as true: the answer may only be too cautious."""
        tree = parse(pattern, flags)
        items = list(tree.data)
        left = _left_check(items[0]) if items else None
        rest = items[1:] if left else items
        fragment = self._sequence(rest, bool((flags | tree.state.flags) & re.IGNORECASE))
        self._start(fragment.first, left)
        self.live |= self._followed(fragment, _has_assertion(rest))
        self.chain = sum(1 << p for p in range(1, self.size) if self.preds[p] == 1 << (p - 1))
        self.special = sum(1 << p for p in range(self.size) if self.preds[p] and not self.chain >> p & 1)

    def first_alive(self, text: str, low: int) -> int:
        """The first index >= `low` from which the tail could still become a match; `len(text)` when there is none."""
        found = k = len(text)
        cand = self.live
        masks, chain, special = self.masks, self.chain, self.special
        while k > low and cand:
            k -= 1
            c = text[k]
            here = masks.get(c)
            if here is None:
                here = self._mask(c)
            state = cand & here
            if not state:
                break
            for mask, left in self.starts:
                if state & mask and (left is None or k == 0 or left[text[k - 1] + c]):
                    found = k
                    break
            cand = state >> 1 & chain >> 1
            extra = state & special
            while extra:
                bit = extra & -extra
                cand |= self.preds[bit.bit_length() - 1]
                extra ^= bit
        return found

    def _start(self, first: int, left: LeftCheck | None) -> None:
        """Expressions with the same left side share one test."""
        for i, (mask, known) in enumerate(self.starts):
            if known is left or (known is not None and left is not None and known.key == left.key):
                self.starts[i] = (mask | first, known)
                return
        self.starts.append((first, left))

    def _mask(self, c: str) -> int:
        mask = 0
        for accepts, where in self.accepts.values():
            if accepts(c):
                mask |= where
        if len(self.masks) > CACHED:
            self.masks.clear()
        self.masks[c] = mask
        return mask

    def _followed(self, fragment: Fragment, asserts: bool) -> int:
        mask = 0
        for before in self.preds:
            mask |= before
        return mask | (fragment.last if asserts else 0)

    def _position(self, key: object, accepts: Accepts) -> Fragment:
        if self.size >= MAX_POSITIONS:
            raise BoundsError("too large once its repeats are written out; lower the counts")
        bit = 1 << self.size
        self.size += 1
        self.preds.append(0)
        known = self.accepts.get(key)
        self.accepts[key] = (known[0], known[1] | bit) if known else (accepts, bit)
        return Fragment(False, bit, bit)

    def _link(self, before: int, after: int) -> None:
        while after:
            bit = after & -after
            self.preds[bit.bit_length() - 1] |= before
            after ^= bit

    def _concat(self, a: Fragment, b: Fragment) -> Fragment:
        self._link(a.last, b.first)
        return Fragment(
            a.nullable and b.nullable,
            a.first | (b.first if a.nullable else 0),
            b.last | (a.last if b.nullable else 0),
        )

    def _sequence(self, items: Sequence[tuple[object, object]], fold: bool) -> Fragment:
        whole = EMPTY
        for code, value in items:
            whole = self._concat(whole, self._node(code, value, fold))
        return whole

    def _node(self, code: object, value: object, fold: bool) -> Fragment:
        if code in (op.AT, op.ASSERT, op.ASSERT_NOT):
            return EMPTY
        if code is op.SUBPATTERN and isinstance(value, tuple):
            _, add, drop, inner = value
            return self._sequence(list(inner), (fold or bool(add & re.IGNORECASE)) and not drop & re.IGNORECASE)
        if code is op.BRANCH and isinstance(value, tuple):
            parts = [self._sequence(list(branch), fold) for branch in value[1]]
            first = last = 0
            for part in parts:
                first, last = first | part.first, last | part.last
            return Fragment(any(p.nullable for p in parts), first, last)
        if code in (op.MAX_REPEAT, op.MIN_REPEAT) and isinstance(value, tuple):
            low, high, inner = value
            return self._repeat(int(low), int(high), list(inner), fold)
        accepts = _atom(code, value)
        return self._position((str(code), str(value), fold), _folded(accepts) if fold else accepts)

    def _repeat(self, low: int, high: int, items: Sequence[tuple[object, object]], fold: bool) -> Fragment:
        """`x{2,4}` as `xx(x(x)?)?`: each copy follows the one before it alone, so a count stays a chain."""
        whole, before = EMPTY, EMPTY
        for count in range(high):
            part = self._sequence(items, fold)
            self._link(before.last, part.first)
            optional = count >= low or part.nullable
            whole = Fragment(
                whole.nullable and optional,
                whole.first | (part.first if whole.nullable and (count == 0 or before.nullable) else 0),
                part.last | (whole.last if optional else 0),
            )
            before = part._replace(last=part.last | (before.last if part.nullable else 0))
        return whole if low else whole._replace(nullable=True)


def _has_assertion(items: object) -> bool:
    if isinstance(items, sre.SubPattern):
        items = items.data
    if isinstance(items, list | tuple):
        return any(item in (op.AT, op.ASSERT, op.ASSERT_NOT) or _has_assertion(item) for item in items)
    return False


def _left_check(item: tuple[object, object]) -> LeftCheck | None:
    """The test that a leading word boundary or one-class look-behind sets on the character before a match."""
    code, value = item
    if code is op.AT and value is op.AT_BOUNDARY:
        return LeftCheck("boundary", lambda pair: is_word(pair[0]) != is_word(pair[1]))
    if code is op.ASSERT_NOT and isinstance(value, tuple) and value[0] == -1 and len(value[1]) == 1:
        accepts = _atom(*value[1][0])
        return LeftCheck(str(value[1]), lambda pair: not accepts(pair[0]))
    return None
