from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from guards.document import DocumentError
from tests.guards.documents import GOOD, SECRET, changed, line_of, problems, read

SYNTAX = [
    ("version: 1\nupstreams: [a, b\nmodels: x\n", 3, "not valid YAML", "brackets"),
    ("version: 1\n\tupstreams: []\n", 2, "not valid YAML", "spaces"),
    ("version: 1\nmodels: a: b\n", 2, "mapping values are not allowed", "quote"),
    ("version: 1\nmodels: *none\n", 2, "undefined alias", "quote"),
    ("version: 1\n---\nversion: 1\n", 2, "another document", "one document"),
    ("version: 1\nmodels: \x01\n", 2, "no place in YAML", "remove it"),
    ("", 1, "is empty", "version: 1"),
    ("# only this\n", 1, "is empty", "version: 1"),
    ("- version: 1\n", 1, "must be a mapping", "version: 1"),
    ("version: 1\nversion: 1\n", 2, "`version` stands twice here, first on line 1", "keep one"),
    ("version: 1\n? [a]\n: b\n", 2, "a key must be a plain word", "key: value"),
    ("version: !!int x\n", 1, "not the value that its tag says", "quote"),
    ("version: 1\nmodels: !!python/name:os.system x\n", 2, "means nothing here", "plain value"),
    ("version: 1\nmodels: &a [*a]\n", 2, "inside its own anchor", "write the value out"),
    ("[" * 5000, 1, "nested too deeply", "flatten"),
]


@pytest.mark.parametrize(("text", "line", "message", "remedy"), SYNTAX)
def test_what_is_no_document_is_told_with_its_line(text: str, line: int, message: str, remedy: str) -> None:
    found = problems(text)
    assert any(p.line == line and message in p.message and remedy in p.remedy for p in found), found


def test_an_unset_variable_is_told_once_and_nothing_else_of_its_place() -> None:
    text = changed("base_urls: [http://127.0.0.1:8000/v1]", "base_urls: ['${NO_URL}'] #!")
    (found,) = problems(text)
    assert found.line == line_of(text)
    assert "NO_URL is not set" in found.message
    assert "set NO_URL" in found.remedy


def test_an_unset_variable_in_a_long_text_has_the_line_it_stands_on() -> None:
    text = changed(
        "system_prompt: {text: You help., mode: prepend}", "system_prompt:\n      text: |\n        a\n        ${B} #!"
    )
    assert [p.line for p in problems(text)] == [line_of(text)]


def test_a_malformed_variable_is_told() -> None:
    (found,) = problems(changed("You help.", "'You ${user name}'"))
    assert "names no variable" in found.message
    assert "$${" in found.remedy


def test_a_doubled_dollar_writes_the_characters_themselves() -> None:
    document = read(changed("You help.", "'cost $${X} or $5, ${API_KEY}'")).document
    prompt = document.policies[0].system_prompt
    assert prompt is not None
    assert prompt.text == f"cost ${{X}} or $5, {SECRET}"


def test_numbers_may_come_from_the_environment() -> None:
    text = changed("requests_per_minute: 600", "requests_per_minute: '${RPM}'").replace("flag: 0.4", "flag: ${LOW}")
    document = read(text, {"API_KEY": "12345", "RPM": "60", "LOW": "0.3"}).document
    assert document.tenants[0].limits.requests_per_minute == 60
    assert document.policies[0].guards[1].thresholds == {"flag": 0.3, "block": 0.9}
    key = document.upstreams[0].api_key
    assert key is not None
    assert key.get_secret_value() == "12345"


def value_ends(node: yaml.Node) -> Iterator[tuple[int, int]]:
    """Where the scalars that are values begin and end."""
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from value_ends(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from value_ends(item)
    else:
        yield node.start_mark.index, node.end_mark.index


def test_no_message_ever_holds_a_value_of_the_environment() -> None:
    root = yaml.compose(GOOD, Loader=yaml.SafeLoader)
    assert root is not None
    ends = list(value_ends(root))
    for start, end in ends:
        text = GOOD[:start] + '"${SECRET}"' + GOOD[end:]
        try:
            told = str(read(text, {"API_KEY": "k", "SECRET": f"{SECRET}* \t"}).warnings)
        except DocumentError as error:
            told = f"{error} {error!r} {error.warnings}"
        assert SECRET not in told
    assert len(ends) > 30


def test_anchors_and_merges_work_and_keep_their_lines() -> None:
    text = changed("tenants:\n", "      - &g {name: a, kind: pii}\n      - {<<: *g, name: b, region: DE}\ntenants:\n")
    rules = read(text).document.policies[0].guards
    assert [(r.name, r.kind, r.region) for r in rules[2:]] == [("a", "pii", None), ("b", "pii", "DE")]
    broken = text.replace("region: DE", "region: 5 #!\n        ")
    assert [p.line for p in problems(broken)] == [line_of(broken)]


def test_many_aliases_of_aliases_cost_nothing() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))
    assert problems(bomb)
    merges = "a0: &a0 {x: 1}\n" + "".join(
        f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 40)
    )
    assert problems(merges)
