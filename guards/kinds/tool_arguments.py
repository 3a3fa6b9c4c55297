"""Arguments of tool calls: read as strictly as the strictest tool would, and compared with lists of what is allowed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NoReturn

import orjson
import re2

from guards.hosts import HostError, HostList
from guards.paths import PathError, PathList
from guards.problem import Complaint
from guards.tools import ArgumentRule, Scalar

FORMS = ("pattern", "one_of", "hosts", "paths")
KEY = "arguments"
ENTITY = {form: f"argument_{name}" for form, name in zip(FORMS, ("pattern", "value", "host", "path"), strict=True)}


class Malformed(ValueError):
    """Not one JSON object that every parser reads alike."""


def read(text: str) -> dict[str, Any]:
    """The arguments. A name that stands twice in one object is refused: parsers differ in which of the two counts."""
    if not text.strip():
        return {}
    try:
        orjson.loads(text)  # the strict one: no NaN, no lone surrogates, no blanks of other alphabets
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Malformed("arguments are not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("arguments are not an object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refuse(_: str) -> NoReturn:
    raise ValueError("not a JSON number")


@dataclass(frozen=True, slots=True)
class Allowed:
    """One argument rule, ready."""

    tool: str
    steps: tuple[str, ...]
    holds: Callable[[Any], bool]
    entity: str

    @classmethod
    def of(cls, rule: ArgumentRule) -> Allowed:
        form = next(f for f in FORMS if getattr(rule, f) is not None)
        return cls(rule.tool, steps_of(rule.path), _test(rule), ENTITY[form])

    def concerns(self, name: str) -> bool:
        return fnmatchcase(name, self.tool)

    def passes(self, arguments: object) -> bool:
        """Every value at the path is allowed; a path that leads to nothing is for the schema to mind."""
        return all(self.holds(value) for found in select(arguments, self.steps) for value in leaves(found))


def steps_of(path: str) -> tuple[str, ...]:
    """Of a JSON pointer, `/a/b`, or a dotted path, `a.b`; `*` is every member."""
    if path.startswith("/"):
        return tuple(s.replace("~1", "/").replace("~0", "~") for s in path.split("/")[1:])
    return tuple(s for s in path.split(".") if s)


def select(value: object, steps: Sequence[str]) -> Iterator[object]:
    if not steps:
        yield value
    elif isinstance(value, dict):
        step = steps[0]
        for found in value.values() if step == "*" else [value[step]] if step in value else []:
            yield from select(found, steps[1:])
    elif isinstance(value, list):
        for at, found in enumerate(value):
            if steps[0] in ("*", str(at)):
                yield from select(found, steps[1:])


def leaves(value: object) -> Iterator[object]:
    """Every scalar in a value; null is no value."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)
    elif value is not None:
        yield value


def _test(rule: ArgumentRule) -> Callable[[Any], bool]:
    if rule.hosts is not None:
        hosts = HostList.of(rule.hosts)
        return lambda value: isinstance(value, str) and hosts.allows(value, bare=True)
    if rule.paths is not None:
        paths = PathList.of(rule.paths)
        return lambda value: isinstance(value, str) and paths.allows(value)
    if rule.one_of is not None:
        known = rule.one_of
        return lambda value: any(_same(value, k) for k in known)
    compiled = _compile(rule.pattern or "")
    return lambda value: compiled.fullmatch(value if isinstance(value, str) else json.dumps(value)) is not None


def _same(value: object, known: Scalar) -> bool:
    """As JSON compares: `true` is not 1, and 1.0 is."""
    return isinstance(value, bool) == isinstance(known, bool) and value == known


def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def complaints(rules: Iterable[ArgumentRule]) -> list[Complaint]:
    """What is wrong with the argument rules of a guard."""
    return [c for i, rule in enumerate(rules) for c in _complaints(rule, f"`{KEY}[{i}]`")]


def _complaints(rule: ArgumentRule, where: str) -> Iterator[Complaint]:
    forms = [f for f in FORMS if getattr(rule, f) is not None]
    if len(forms) != 1:
        remedy = f"write exactly one of {', '.join(FORMS)}"
        yield Complaint(KEY, f"{where} says {'nothing' if not forms else 'more than one thing'} of the value", remedy)
        return
    if not steps_of(rule.path):
        yield Complaint(KEY, f"{where} has a `path` that leads nowhere", "write e.g. `path: url` or `path: /files/*`")
    try:
        _test(rule)
    except re2.error:
        yield Complaint(
            KEY, f"{where} has a `pattern` that is not valid RE2", "leave out look-arounds and back-references"
        )
    except (HostError, PathError) as error:
        yield Complaint(KEY, f"{where} lists something in `{forms[0]}` that {error}", "correct it, or leave it out")
