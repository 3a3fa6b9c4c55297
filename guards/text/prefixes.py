"""Which tail of a text could still become a match? A position automaton, made deterministic as texts need it.

Glushkov's construction (V. M. Glushkov, 1961) gives one position per character of the expanded expression. `text[k:]`
is a strict prefix of a match iff reading it from the first positions leaves one that a further character may follow.
All expressions of a lane share one automaton; its states are sets of a few positions, made when a text first needs
them, so that one character costs a look-up.
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
MAX_POSITIONS = 100_000
CACHED = 50_000
"""Characters remembered at most: hostile text may use every one there is."""
Accepts = Callable[[str], bool]


class BoundsError(ValueError):
    """An expression that a stream filter cannot hold to: unbounded, empty, or beyond the linear-time subset."""


COMPOUND = (op.AT, op.ASSERT, op.ASSERT_NOT, op.SUBPATTERN, op.BRANCH, op.MAX_REPEAT, op.MIN_REPEAT)


class Fragment(NamedTuple):
    """A piece of an expression: may it be empty, and its first and last positions."""

    nullable: bool
    first: tuple[int, ...]
    last: tuple[int, ...]


EMPTY = Fragment(True, (), ())


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


class Test(dict[str, bool]):
    """Character -> whether one kind of position accepts it."""

    def __init__(self, accepts: Accepts) -> None:
        super().__init__()
        self.accepts = accepts

    def __missing__(self, c: str) -> bool:
        answer = self.accepts(c)
        if len(self) < CACHED:
            self[c] = answer
        return answer


class State:
    """A set of positions. `live`: more text may follow; `next`: where a character leads, None being nowhere."""

    __slots__ = ("live", "next", "positions")

    def __init__(self, positions: tuple[int, ...], *, live: bool) -> None:
        self.positions = positions
        self.live = live
        self.next: dict[str, State | None] = {}


class Alive(NamedTuple):
    """Where the undecided tail begins, and the state that reading it leads to."""

    start: int
    state: State | None


@dataclass(slots=True)
class Prefixes:
    """The union of many expressions. `add` them first, then ask `first_alive`."""

    follow: list[list[int]] = field(default_factory=list)
    """Position -> positions that may come right after it."""
    tests: list[Test] = field(default_factory=list)
    """Position -> the characters it accepts."""
    open_ended: set[int] = field(default_factory=set)
    """Last positions whose match depends on the character after it."""
    starts: list[tuple[tuple[int, ...], LeftCheck | None]] = field(default_factory=list)
    """First positions, and what may stand before them."""
    known: dict[tuple[str, str, bool], Test] = field(default_factory=dict)
    roots: dict[str, State | None] = field(default_factory=dict)
    """(character before, first character) -> the state after the first; one character at the beginning of a text."""
    states: dict[tuple[int, ...], State] = field(default_factory=dict)

    def add(self, pattern: str, flags: int = 0) -> None:
        """Add one expression. Assertions inside it count as true: the answer may only be too cautious."""
        tree = parse(pattern, flags)
        items = list(tree.data)
        left = _left_check(items[0]) if items else None
        rest = items[1:] if left else items
        fragment = self._sequence(rest, bool((flags | tree.state.flags) & re.IGNORECASE))
        self.starts.append((fragment.first, left))
        if _has_assertion(rest):
            self.open_ended.update(fragment.last)

    @property
    def size(self) -> int:
        return len(self.follow)

    def first_alive(self, text: str, low: int) -> Alive:
        """The first index >= `low` from which the tail could still become a match; `len(text)` when there is none."""
        roots = self.roots
        end = len(text)
        for k in range(low, end):
            pair = text[k - 1 : k + 1] if k else text[0]
            state = roots[pair] if pair in roots else self._root(pair)
            if state is not None:
                state = self.read(state, text[k + 1 :])
                if state is not None and state.live:
                    return Alive(k, state)
        return Alive(end, None)

    def read(self, state: State | None, text: str) -> State | None:
        """The state after more text."""
        for c in text:
            if state is None:
                return None
            known = state.next
            state = known[c] if c in known else self._step(state, c)
        return state

    def _root(self, pair: str) -> State | None:
        c = pair[-1]
        firsts = [first for first, left in self.starts if left is None or len(pair) == 1 or left[pair]]
        state = self._state({p for first in firsts for p in first if self.tests[p][c]})
        if len(self.roots) > CACHED:
            self.roots.clear()
        self.roots[pair] = state
        return state

    def _step(self, state: State, c: str) -> State | None:
        found = self._state({q for p in state.positions for q in self.follow[p] if self.tests[q][c]})
        if len(state.next) < CACHED:
            state.next[c] = found
        return found

    def _state(self, positions: set[int]) -> State | None:
        if not positions:
            return None
        key = tuple(sorted(positions))
        state = self.states.get(key)
        if state is None:
            state = State(key, live=any(self.follow[p] or p in self.open_ended for p in key))
            if len(self.states) > CACHED:  # states in use stay valid; they only lose their namesakes
                self.states.clear()
                self.roots.clear()
            self.states[key] = state
        return state

    def _test(self, code: object, value: object, fold: bool) -> Test:
        key = (str(code), str(value), fold)
        if key not in self.known:
            accepts = _atom(code, value)
            self.known[key] = Test(_folded(accepts) if fold else accepts)
        return self.known[key]

    def _position(self, test: Test) -> Fragment:
        if len(self.follow) >= MAX_POSITIONS:
            raise BoundsError("too large once its repeats are written out; lower the counts")
        here = (len(self.follow),)
        self.follow.append([])
        self.tests.append(test)
        return Fragment(False, here, here)

    def _link(self, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        for p in before:
            self.follow[p] += after

    def _concat(self, a: Fragment, b: Fragment) -> Fragment:
        self._link(a.last, b.first)
        return Fragment(
            a.nullable and b.nullable,
            a.first + (b.first if a.nullable else ()),
            b.last + (a.last if b.nullable else ()),
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
            first = tuple(p for part in parts for p in part.first)
            last = tuple(p for part in parts for p in part.last)
            return Fragment(any(p.nullable for p in parts), first, last)
        if code in (op.MAX_REPEAT, op.MIN_REPEAT) and isinstance(value, tuple):
            low, high, inner = value
            return self._repeat(int(low), int(high), list(inner), fold)
        return self._position(self._test(code, value, fold))

    def _repeat(self, low: int, high: int, items: Sequence[tuple[object, object]], fold: bool) -> Fragment:
        """`x{2,4}` as `xx(x(x)?)?`: each copy follows the one before it alone, so a count stays a chain."""
        atom = len(items) == 1 and items[0][0] not in COMPOUND
        test = self._test(*items[0], fold) if atom else None
        nullable, first, before = True, EMPTY.first, EMPTY
        last: list[int] = []
        for count in range(high):
            part = self._position(test) if test is not None else self._sequence(items, fold)
            self._link(before.last, part.first)
            if count == 0 or (nullable and before.nullable):
                first += part.first
            if count < low and not part.nullable:
                nullable = False
                last.clear()
            last += part.last
            before = part._replace(last=part.last + (before.last if part.nullable else ()))
        return Fragment(nullable or low == 0, first, tuple(last))


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
