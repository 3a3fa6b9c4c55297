"""Kind `tool_call`: what a model may call, and with what."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.calls import Offered, ToolCall
from guards.catalog import KINDS, build_lanes
from guards.document import DocumentError, load
from guards.kinds import tool_arguments
from guards.kinds.tool_arguments import Malformed
from guards.kinds.tool_call import ToolCalls
from guards.kinds.tool_schema import Schemas, SchemaUnusable
from guards.policy import Policy, Rule
from tests.guards.lanes import FOLDER

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city"],
    "additionalProperties": False,
}
OFFERED: Offered = {"weather": [SCHEMA], "free": [], "fetch": [], "read_file": [], "query": []}


def guard(**keys: object) -> ToolCalls:
    return ToolCalls.of(Rule.model_validate({"name": "tools", "kind": "tool_call", **keys}))


def found(call: ToolCall, offered: Offered = OFFERED, **keys: object) -> list[str]:
    return [fault.entity for fault in guard(**keys).check(call, offered)]


def argument(value: object, offered: Offered = OFFERED, **rule: object) -> list[str]:
    """What one argument rule says of the argument `x` of `fetch`."""
    return found(ToolCall("fetch", json.dumps({"x": value})), offered, arguments=[{"path": "x", **rule}])


def test_a_call_of_an_offered_tool_with_fitting_arguments_is_fine() -> None:
    assert found(ToolCall("weather", '{"city": "Bern", "days": 2}')) == []


def test_a_tool_that_the_request_never_offered_is_a_finding() -> None:
    assert found(ToolCall("delete_all", "{}")) == ["tool_not_offered"]


def test_a_name_that_only_looks_like_an_offered_one_is_a_finding() -> None:
    assert found(ToolCall("wеather", '{"city": "Bern"}')) == ["tool_not_offered"]
    assert found(ToolCall("weather\u200b", '{"city": "Bern"}')) == ["tool_not_offered"]


@pytest.mark.parametrize(
    ("allowed", "names"),
    [(["weather"], []), (["wea*"], []), (["fetch"], ["tool_not_allowed"]), ([], ["tool_not_allowed"])],
)
def test_allowed_tools_are_names_and_globs(allowed: list[str], names: list[str]) -> None:
    assert found(ToolCall("weather", '{"city": "Bern"}'), allowed_tools=allowed) == names


@pytest.mark.parametrize(
    "text",
    [
        '{"city": "Bern"',
        "{'city': 'Bern'}",
        '["Bern"]',
        '"Bern"',
        "null",
        '{"city": "Bern"} {"city": "Rome"}',
        '{"city": "Bern", "city": "Rome"}',
        '{"a": {"b": 1, "b": 2}}',
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": "\\ud800"}',
        "\u00a0{}",
        "[" * 5000 + "]" * 5000,
        '{"a":' * 3000 + "1" + "}" * 3000,
        '{"a": ' + "9" * 10_000 + "}",
    ],
    ids=str.__len__,
)
def test_arguments_that_parsers_read_differently_or_not_at_all_are_malformed(text: str) -> None:
    assert found(ToolCall("free", text)) == ["arguments_malformed"]


@pytest.mark.parametrize("text", ["", "  ", "{}"])
def test_no_arguments_are_an_empty_object(text: str) -> None:
    assert found(ToolCall("free", text)) == []
    assert found(ToolCall("weather", text)) == ["arguments_schema"]


@pytest.mark.parametrize("text", ['{"city": 5}', '{"days": 1}', '{"city": "a", "days": 0}', '{"city": "a", "x": 1}'])
def test_arguments_must_fit_the_schema_of_the_request(text: str) -> None:
    assert found(ToolCall("weather", text)) == ["arguments_schema"]
    assert found(ToolCall("weather", text), schemas="off") == []


def test_of_two_tools_with_one_name_either_schema_will_do() -> None:
    offered = {"weather": [SCHEMA, {"required": ["place"]}]}
    assert found(ToolCall("weather", '{"place": "Bern"}'), offered) == []
    assert found(ToolCall("weather", '{"spot": "Bern"}'), offered) == ["arguments_schema"]


def test_findings_say_whether_a_call_is_foreign_or_only_misshapen() -> None:
    faults = guard().check(ToolCall("gone", "{"), OFFERED)
    assert [f.category for f in faults] == ["injection", "format"]
    assert {f.category for f in guard(category="off_topic").check(ToolCall("gone", "{"), OFFERED)} == {"off_topic"}


# -- schemas


def test_a_reference_of_a_schema_is_never_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/schema.json"
        for schema in ({"$ref": url}, {"$schema": url}, {"properties": {"a": {"$ref": url}}}, {"$dynamicRef": url}):
            with pytest.raises(SchemaUnusable):
                Schemas().fits(schema, {})
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "file:///etc/passwd"},
        {"$ref": "other.json#/a"},
        {"$ref": "#/$defs/none/at/all"},
        {"type": "nonsense"},
        {"properties": {"a": {"pattern": "("}}},
        {"description": "x" * 300_000},
        [],
        "string",
    ],
)
def test_a_schema_that_cannot_be_used_is_an_error_of_the_guard(schema: object) -> None:
    with pytest.raises(SchemaUnusable):
        Schemas().fits(schema, {})


def test_a_schema_whose_references_multiply_is_refused_before_it_costs_anything() -> None:
    doubling = {f"a{i}": {"allOf": [{"$ref": f"#/d/a{i + 1}"}, {"$ref": f"#/d/a{i + 1}"}]} for i in range(60)}
    with pytest.raises(SchemaUnusable):
        Schemas().fits({"d": doubling | {"a60": {}}, "$ref": "#/d/a0"}, {})


def test_a_schema_within_a_schema_cannot_move_where_references_lead() -> None:
    doubling = {f"a{i}": {"allOf": [{"$ref": f"#/d/a{i + 1}"}] * 2} for i in range(60)}
    inner = {"d": doubling | {"a60": {}}, "$ref": "#/d/a0"}
    for root, key in (({}, "$id"), ({"$schema": "http://json-schema.org/draft-04/schema#"}, "id")):
        with pytest.raises(SchemaUnusable):
            Schemas().fits({**root, "d": {"a0": {}}, "properties": {"q": {key: "http://a.test/b", **inner}}}, {"q": {}})


def test_an_argument_may_be_named_like_a_keyword() -> None:
    schema = {"$id": "http://a.test/tool", "properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}}
    assert Schemas().fits(schema, {"$ref": "a", "$id": "b"})


def test_a_schema_that_refers_to_itself_works() -> None:
    tree = {"properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}, "required": ["n"]}
    assert Schemas().fits(tree, {"n": 1, "next": {"n": 2, "next": {"n": 3}}})
    assert not Schemas().fits(tree, {"n": 1, "next": {"n": 2, "next": {"n": "3"}}})


def test_a_pattern_that_backtracks_forever_ends_soon() -> None:
    Schemas().fits({"properties": {"a": {"pattern": "^(?=(a+)+$)(a|aa)+$"}}}, {"a": "a" * 5000 + "!"})


def test_compiled_schemas_are_kept_and_bounded() -> None:
    schemas = Schemas(size=3)
    for n in (1, 2, 3, 1, 4):
        schemas.fits({"minProperties": n}, {})
    first = list(schemas.known.values())
    schemas.fits({"minProperties": 1}, {})
    assert len(schemas.known) == 3
    assert set(map(id, schemas.known.values())) == set(map(id, first))


# -- argument rules


@pytest.mark.parametrize(
    ("path", "value", "wrong"),
    [
        ("url", {"url": "evil"}, True),
        ("url", {"other": "evil"}, False),
        ("a.b", {"a": {"b": "evil"}}, True),
        ("/a/b", {"a": {"b": "evil"}}, True),
        ("/a~1b", {"a/b": "evil"}, True),
        ("list.*.u", {"list": [{"u": "good"}, {"u": "evil"}]}, True),
        ("list.0", {"list": ["good", "evil"]}, False),
        ("list", {"list": ["good", {"deep": ["evil"]}]}, True),
        ("*", {"anything": "evil"}, True),
        ("url", {"url": None}, False),
        ("url", {"url": "good"}, False),
    ],
)
def test_a_path_leads_to_every_value_at_or_below_it(path: str, value: dict[str, Any], wrong: bool) -> None:
    keys: dict[str, Any] = {"arguments": [{"tool": "fetch", "path": path, "one_of": ["good"]}]}
    assert found(ToolCall("fetch", json.dumps(value)), **keys) == ["argument_value"] * wrong
    assert found(ToolCall("query", json.dumps(value)), **keys) == []


def test_a_pattern_must_match_the_whole_value() -> None:
    assert argument("select 1", pattern="select [0-9]+") == []
    assert argument("select 1; drop table x", pattern="select [0-9]+") == ["argument_pattern"]
    assert argument("select 1\ndrop", pattern="select [0-9]+") == ["argument_pattern"]
    assert argument(12, pattern="[0-9]+") == []


def test_values_are_compared_as_json_compares_them() -> None:
    assert argument(1.0, one_of=[1]) == []
    assert argument(True, one_of=[1]) == ["argument_value"]
    assert argument("1", one_of=[1]) == ["argument_value"]


def test_hosts_and_paths_are_for_text_alone() -> None:
    assert argument("https://example.org/a?b", hosts=["example.org"]) == []
    assert argument("example.org", hosts=["example.org"]) == []
    assert argument("https://example.org@evil.test/", hosts=["example.org"]) == ["argument_host"]
    assert argument(2130706433, hosts=["127.0.0.1"]) == ["argument_host"]
    assert argument("/srv/data/x", paths=["/srv/data"]) == []
    assert argument(["/srv/data/x", "/srv/data/../../etc/passwd"], paths=["/srv/data"]) == ["argument_path"]


def test_free_text_for_a_tool_whose_arguments_are_limited_is_a_finding() -> None:
    rule: dict[str, Any] = {"arguments": [{"tool": "fetch", "path": "url", "hosts": ["example.org"]}]}
    assert found(ToolCall("fetch", "https://evil.test", free=True), **rule) == ["argument_host"]
    assert found(ToolCall("free", "anything at {all", free=True), **rule) == []


@given(
    st.text()
    | st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(
        json.dumps
    )
)
def test_whatever_is_read_is_one_object_and_nothing_else_escapes(text: str) -> None:
    try:
        value = tool_arguments.read(text)
    except Malformed:
        return
    assert isinstance(value, dict)


@given(st.text())
def test_no_call_makes_the_guard_crash(text: str) -> None:
    guard(arguments=[{"path": "*", "hosts": ["a.org"]}, {"path": "*", "paths": ["/a"]}]).check(
        ToolCall("fetch", json.dumps({"x": text})), OFFERED
    )


# -- config


def problems(tmp_path: Path, **keys: object) -> str:
    rule = {"name": "tools", "kind": "tool_call", **keys}
    document = {
        "version": 1,
        "upstreams": [{"name": "v", "base_urls": ["http://127.0.0.1:1/v1"]}],
        "models": [{"name": "m", "upstream": "v", "policy": "p"}],
        "policies": [{"name": "p", "guards": [rule]}],
    }
    try:
        load(json.dumps(document), KINDS, {}, tmp_path)
    except DocumentError as error:
        return str(error)
    return ""


def test_a_rule_without_stages_judges_answers(tmp_path: Path) -> None:
    rule = Rule.model_validate({"name": "tools", "kind": "tool_call"})
    assert rule.stages == ("output",)
    assert problems(tmp_path) == ""
    policy = Policy(name="p", guards=(rule,))
    assert build_lanes(policy, "input", FOLDER).calls.idle
    assert not build_lanes(policy, "output", FOLDER).exact_idle


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"action": "redact"}, "a call cannot be redacted"),
        ({"stages": ["input", "output"]}, "write `stages: [output]`"),
        ({"arguments": [{"path": "url"}]}, "says nothing of the value"),
        ({"arguments": [{"path": "url", "hosts": ["a.org"], "pattern": "a"}]}, "more than one thing"),
        ({"arguments": [{"path": "url", "pattern": "(?=a)b"}]}, "not valid RE2"),
        ({"arguments": [{"path": "url", "hosts": ["https://a.org/"]}]}, "is not a host"),
        ({"arguments": [{"path": "url", "paths": ["../up"]}]}, "is not a folder"),
        ({"arguments": [{"path": ".", "one_of": [1]}]}, "leads nowhere"),
        ({"arguments": [{"path": "url", "host": ["a.org"]}]}, "did you mean `hosts`"),
        ({"pattern": "a"}, "`pattern` belongs to kind pattern"),
        ({"schemas": "on"}, "must be enforce or off"),
    ],
)
def test_a_rule_that_cannot_work_is_told_of(keys: dict[str, object], said: str, tmp_path: Path) -> None:
    assert said in problems(tmp_path, **keys)


def test_off_may_be_written_without_quotes(tmp_path: Path) -> None:
    text = """
version: 1
upstreams: [{name: v, base_urls: [http://127.0.0.1:1/v1]}]
models: [{name: m, upstream: v, policy: p}]
policies:
  - {name: p, spotlight: off, guards: [{name: tools, kind: tool_call, schemas: off}]}
"""
    policy = load(text, KINDS, {}, tmp_path).document.policies[0]
    assert policy.spotlight == policy.guards[0].schemas == "off"
