"""A YAML text as plain data that knows its lines, with `${NAME}` read from the environment.

The data never goes into a message: what is quoted is what the file says, `${NAME}` and not its value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import yaml

from guards.problem import Problem

Place = tuple[str | int, ...]
"""Keys and list indices from the root."""
Data = str | int | float | bool | None | list["Data"] | dict[str, "Data"]
Pair = tuple[yaml.Node, yaml.Node]

VARIABLE = re.compile(r"\$(\$?)\{([^{}\n]*)\}")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TYPED = frozenset(f"tag:yaml.org,2002:{t}" for t in ("null", "bool", "int", "float"))
TEXT = frozenset(f"tag:yaml.org,2002:{t}" for t in ("str", "timestamp", "value"))
MERGE = "tag:yaml.org,2002:merge"
MAX_QUOTE = 80
TOO_DEEP = Problem(1, "the document is nested too deeply", "flatten it")


class SourceError(Exception):
    """The text is no YAML document at all; nothing more can be said of it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(slots=True)
class Source:
    """A composed document. Reading its data fills `problems`."""

    text: str
    root: yaml.Node
    environ: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    spoiled: set[int] = field(default_factory=set)
    """Ids of nodes that have a problem of their own; any other that is found there is its echo."""
    filled: set[int] = field(default_factory=set)
    """Ids of scalars that hold a value of the environment."""
    _data: dict[int, Data] = field(default_factory=dict)
    _pairs: dict[int, dict[str, Pair]] = field(default_factory=dict)
    _open: set[int] = field(default_factory=set)

    @classmethod
    def parse(cls, text: str, environ: Mapping[str, str]) -> Source:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            raise SourceError(_syntax_problem(error)) from None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise SourceError(Problem(line, "this character has no place in YAML", "remove it")) from None
        except RecursionError:
            raise SourceError(TOO_DEEP) from None
        if root is None:
            raise SourceError(Problem(1, "the document is empty", "begin with `version: 1`"))
        return cls(text, root, environ)

    def data(self) -> Data:
        try:
            return self._read(self.root)
        except RecursionError:
            raise SourceError(TOO_DEEP) from None

    def node(self, place: Place) -> yaml.Node:
        """The node at the place, or the deepest one on the way."""
        return self._walk(place)[0]

    def line(self, place: Place) -> int:
        """Where the place's key stands, or its value in a list, or what should hold it."""
        return self._walk(place)[1]

    def quote(self, place: Place) -> str:
        """The scalar at the place as the file has it, in backticks."""
        node = self.node(place)
        text = str(node.value) if isinstance(node, yaml.ScalarNode) else "…"
        return f"`{text if len(text) <= MAX_QUOTE else text[:MAX_QUOTE] + '…'}`"

    def has_variables(self, place: Place) -> bool:
        """Whether a value of the environment is part of what stands at the place."""
        return bool(self.filled) and any(id(n) in self.filled for n in _below(self.node(place)))

    def _walk(self, place: Place) -> tuple[yaml.Node, int]:
        node, line = self.root, _line(self.root)
        for step in place:
            if isinstance(node, yaml.MappingNode) and isinstance(step, str) and step in self._members(node):
                key, node = self._members(node)[step]
                line = _line(key)
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = _line(node)
            else:
                break
        return node, line

    def _read(self, node: yaml.Node) -> Data:
        if id(node) not in self._data:
            if id(node) in self._open:
                raise SourceError(Problem(_line(node), "an alias stands inside its own anchor", "write the value out"))
            self._open.add(id(node))
            self._data[id(node)] = self._construct(node)
            self._open.discard(id(node))
        return self._data[id(node)]

    def _construct(self, node: yaml.Node) -> Data:
        if isinstance(node, yaml.MappingNode):
            return {key: self._read(value) for key, (_, value) in self._members(node).items()}
        if isinstance(node, yaml.SequenceNode):
            return [self._read(item) for item in node.value]
        return self._scalar(node)

    def _members(self, node: yaml.MappingNode) -> dict[str, Pair]:
        """Key -> its nodes, with `<<` merged in."""
        if id(node) not in self._pairs:
            self._pairs[id(node)] = {}
            own: dict[str, Pair] = {}
            merged: dict[str, Pair] = {}
            for key, value in node.value:
                if key.tag == MERGE:
                    merged = {**self._merge(value), **merged}
                else:
                    self._add(own, key, value)
            self._pairs[id(node)] = {**merged, **own}
        return self._pairs[id(node)]

    def _add(self, own: dict[str, Pair], key: yaml.Node, value: yaml.Node) -> None:
        if not isinstance(key, yaml.ScalarNode):
            self._complain(key, "a key must be a plain word", "write `key: value`")
        elif key.value in own:
            first = _line(own[key.value][0])
            self._complain(
                key, f"`{key.value}` stands twice here, first on line {first}", "keep one of them", spoil=False
            )
        else:
            own[key.value] = (key, value)

    def _merge(self, node: yaml.Node) -> dict[str, Pair]:
        nodes: Sequence[yaml.Node] = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Pair] = {}
        for part in reversed(nodes):
            if isinstance(part, yaml.MappingNode):
                merged.update(self._members(part))
            else:
                self._complain(part, "`<<` merges mappings only", "name the anchor of a mapping, or a list of such")
        return merged

    def _scalar(self, node: yaml.Node) -> Data:
        text = self._substituted(node)
        if id(node) in self.filled or id(node) in self.spoiled or node.tag in TEXT:
            return text
        if node.tag not in TYPED:
            self._complain(node, f"the tag `{node.tag}` means nothing here", "write the plain value")
            return text
        try:
            value = yaml.constructor.SafeConstructor().construct_object(node)
        except (ValueError, KeyError, OverflowError):
            self._complain(node, "this is not the value that its tag says", "remove the tag, or quote the value")
            return text
        return value if isinstance(value, bool | int | float) else None

    def _substituted(self, node: yaml.Node) -> str:
        raw = str(node.value)
        return VARIABLE.sub(lambda match: self._variable(match, node), raw) if "${" in raw else raw

    def _variable(self, match: re.Match[str], node: yaml.Node) -> str:
        escaped, name = match.groups()
        if escaped:
            return match[0][1:]
        if not VARIABLE_NAME.fullmatch(name):
            self._complain(
                node, f"`{match[0]}` names no variable", "write ${NAME}, or $${…} for the characters themselves", name
            )
        elif name not in self.environ:
            self._complain(
                node,
                f"`{match[0]}`: the environment variable {name} is not set",
                f"set {name}, or remove the key; $${{{name}}} writes the characters themselves",
                name,
            )
        else:
            self.filled.add(id(node))
            return self.environ[name]
        return match[0]

    def _complain(self, node: yaml.Node, message: str, remedy: str, inside: str = "", *, spoil: bool = True) -> None:
        line = _line(node)
        if inside:
            at = self.text.find(f"${{{inside}}}", node.start_mark.index, node.end_mark.index)
            line += self.text.count("\n", node.start_mark.index, at) if at > 0 else 0
        if spoil:
            self.spoiled.add(id(node))
        self.problems.append(Problem(line, message, remedy))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _below(top: yaml.Node) -> list[yaml.Node]:
    """The node and everything in it, each once."""
    seen: dict[int, yaml.Node] = {}
    waiting = [top]
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            if isinstance(node, yaml.MappingNode):
                waiting += [n for pair in node.value for n in pair]
            elif isinstance(node, yaml.SequenceNode):
                waiting += node.value
    return list(seen.values())


def _syntax_problem(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    what = error.problem or error.context or "this is not YAML"
    remedies = {
        "cannot start any token": "indent with spaces, never tabs; quote values that begin with a sign such as @ or `",
        "mapping values are not allowed": "quote a value that holds `: `, and check the indentation",
        "undefined alias": "define the anchor before, or quote a value that begins with *",
        "another document": "keep one document in the file: remove the `---` between them",
        "unexpected end of stream": "close the quotes or brackets that are open",
    }
    remedy = next((r for part, r in remedies.items() if part in what), "check indentation, quotes and brackets here")
    return Problem(line, f"not valid YAML: {what}", remedy)
